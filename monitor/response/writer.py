"""The one writer of the enforcer: what has queued up becomes durable together, in order.

A change is a function of what the changes before it left; nothing that it implies happens before it is
durable. If the commit fails the process ends, and what is in memory with it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from monitor.response.states import Step

    Change = Callable[[], Step]


class Writer:
    """Makes changes and commits them.

    `take` puts a step into the book, `commit` makes steps durable, `follow` does what they imply.
    """

    def __init__(
        self,
        take: Callable[[Step], None],
        commit: Callable[[Sequence[Step]], Awaitable[None]],
        follow: Callable[[Sequence[Step]], None],
    ) -> None:
        self._take = take
        self._commit = commit
        self._follow = follow
        self._changes: asyncio.Queue[tuple[Change, asyncio.Future[None]]] = asyncio.Queue()
        #: What callers wait for.
        self._undone: set[asyncio.Future[None]] = set()
        self._settled = False

    def put(self, change: Change) -> asyncio.Future[None]:
        """Queue a change; the future ends when it is durable, or when the enforcer stands down.

        After that it is not made any more, and the future is at its end already.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._settled:
            done.set_result(None)
            return done
        self._undone.add(done)
        done.add_done_callback(self._undone.discard)
        self._changes.put_nowait((change, done))
        return done

    async def change(self, change: Change) -> None:
        """Make a change; it is durable when this returns."""
        await self.put(change)

    async def run(self) -> None:
        """Write without end."""
        try:
            while True:
                await self._write()
        except Exception as error:
            self.settle(error)
            raise

    def settle(self, error: Exception | None) -> None:
        """End every wait for a change; nothing is changed any more."""
        self._settled = True
        for done in list(self._undone):
            if done.done():
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)
                done.exception()  # seen: not every one of them is waited for

    async def _write(self) -> None:
        queued = [await self._changes.get()]
        while not self._changes.empty():
            queued.append(self._changes.get_nowait())
        steps: list[Step] = []
        for change, _ in queued:
            # A change sees those before it.
            step = change()
            self._take(step)
            steps += step.parts()
        await self._commit(steps)
        self._follow(steps)
        for _, done in queued:
            if not done.done():
                done.set_result(None)


class Backlog:
    """Changes that were queued and are not durable yet, for whoever queues without waiting for each."""

    def __init__(self) -> None:
        self._waits: deque[asyncio.Future[None]] = deque()

    def add(self, wait: asyncio.Future[None]) -> None:
        """Add what `Writer.put` returned."""
        self._waits.append(wait)

    async def at_most(self, count: int) -> None:
        """Return once no more than so many are under way; raises what ended the writer."""
        waits = self._waits
        while waits and (len(waits) > count or waits[0].done()):
            first = waits[0]
            await asyncio.wait([first])  # several may wait, and one that is cancelled cancels no change
            first.result()
            if waits and waits[0] is first:
                waits.popleft()
