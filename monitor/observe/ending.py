"""How tasks are ended, by whatever runs some."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Until a task that has not ended is cancelled again, in seconds.
_CANCEL_SECONDS: Final = 1.0


async def end_tasks(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until all have ended.

    Once is not enough: a client that is being opened or closed, or whose own time is over just then, may swallow a
    cancellation, and whoever waits for its task would wait for ever.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_CANCEL_SECONDS)
