"""A part that fails ends the process: a dead task in a living worker is a blind monitor."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    OnFatal = Callable[[BaseException], None]


async def guarded(work: Callable[[], Awaitable[None]], on_fatal: OnFatal) -> None:
    """Run `work`; whatever fails in it, but for being cancelled, goes to `on_fatal` and is raised."""
    try:
        await work()
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        on_fatal(error)
        raise
