"""A task that swallows a cancellation ends all the same."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from monitor.observe import ending
from monitor.observe.ending import end_tasks

if TYPE_CHECKING:
    import pytest


async def test_a_cancellation_that_is_swallowed_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "_CANCEL_SECONDS", 0.01)
    swallowed = []

    async def stubborn() -> None:
        for turn in range(3):
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            swallowed.append(turn)
        await asyncio.Event().wait()

    tasks = [asyncio.create_task(stubborn()), asyncio.create_task(asyncio.sleep(60))]
    await asyncio.sleep(0)
    await end_tasks(tasks)
    assert [task.cancelled() for task in tasks] == [True, True]
    assert swallowed == [0, 1, 2]


async def test_what_has_ended_is_left_alone():
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    await end_tasks([task])
    assert not task.cancelled()
