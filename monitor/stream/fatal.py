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


def guarded_task(work: Callable[[], Awaitable[None]], on_fatal: OnFatal) -> asyncio.Task[None]:
    """Begin `work` as a task of its own, guarded; what fails in it is told once, to `on_fatal`."""
    task = asyncio.create_task(guarded(work, on_fatal))
    task.add_done_callback(_heard)
    return task


def _heard(task: asyncio.Task[None]) -> None:
    # The loop would log what nobody has asked for, with a traceback, beside what `on_fatal` makes of it.
    if not task.cancelled():
        task.exception()
