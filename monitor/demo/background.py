"""What goes on beside an attack."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from monitor.demo.stack import PARTNERS
from monitor.demo.traffic import work_normally

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator

    from monitor.demo.stack import Stack

_PRACTICES_EACH: Final = 2


def partners_at_work(stack: Stack, open_hours: asyncio.Event) -> Iterator[Coroutine[Any, Any, None]]:
    """Yield the work of each partner, in practices of its own; it pauses while `open_hours` is not set."""
    rng = random.Random(stack.options.seed)
    practices = [practice.id for practice in stack.register.practices]
    for index, partner in enumerate(PARTNERS):
        own = practices[_PRACTICES_EACH * index : _PRACTICES_EACH * (index + 1)]
        yield work_normally(stack.clients[partner], own, random.Random(rng.random()), open_hours)


@asynccontextmanager
async def beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work` beside the body; the first failure of it ends the body and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in work]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
