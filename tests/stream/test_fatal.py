"""What fails in a task is told once, to whoever ends the process, and not again by the loop."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

from monitor.stream.fatal import guarded_task


async def test_a_failure_is_told_once():
    told: list[BaseException] = []
    said: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: said.append(context))
    failure = ValueError("no")

    async def fail() -> None:
        raise failure

    task = guarded_task(fail, told.append)
    await asyncio.wait([task])
    assert told == [failure]
    del task
    gc.collect()
    assert said == []


async def test_a_cancelled_task_failed_in_nothing():
    told: list[BaseException] = []
    begun = asyncio.Event()

    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    task = guarded_task(wait, told.append)
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert told == []
