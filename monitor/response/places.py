"""The places of one gateway: how many calls are under way, and how many attempts are noted ahead of them.

A place is held for the call alone, not while the ledger takes the note of the attempt before it or of the
answer after it: a transaction takes longer than most gateways do. So a few attempts are noted ahead, while
the calls before them are under way; but none ahead of calls that take long, since a note is for a call soon.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

#: A call that is under way for longer is not waited for: nothing is noted ahead of it. In seconds.
LONG_CALL_SECONDS: Final = 0.5


class Turn:
    """The way of one credential through its gateway's places: its note, then its call. `retry` is for good.

    `alone` is whether nothing else may be noted or called beside it, since the gateway is taken for dead.
    """

    __slots__ = ("alone", "retry")

    def __init__(self, *, retry: bool, alone: bool) -> None:
        self.retry = retry
        self.alone = alone


class Places:
    """Counts turns; `changed` is called where there may be room for another one."""

    def __init__(self, count: int, changed: Callable[[], None]) -> None:
        self._count = count
        self._changed = changed
        self._free = asyncio.Semaphore(count)
        self._noted: set[Turn] = set()
        #: Turns in a call, and since when, in the loop's time.
        self._calling: dict[Turn, float] = {}

    def room(self, now: float, *, alone: bool) -> bool:
        """Return whether another turn may begin; it can only come to be so where `changed` is called."""
        if alone:
            return not self._noted and not self._calling
        long = sum(now - since > LONG_CALL_SECONDS for since in self._calling.values())
        return len(self._noted) < self._count - long

    def room_for_retry(self, *, alone: bool) -> bool:
        """Return whether a turn that begins may be a retry: they have half of the places at most."""
        retries = sum(turn.retry for turn in (*self._noted, *self._calling))
        return retries < (1 if alone else max(1, self._count // 2))

    def begin(self, turn: Turn) -> None:
        """Begin a turn with its note; `end` it, or hold a place in it."""
        self._noted.add(turn)

    def end(self, turn: Turn) -> None:
        """End a turn, if it is not at its end already."""
        self._noted.discard(turn)
        self._calling.pop(turn, None)
        self._changed()

    @asynccontextmanager
    async def hold(self, turn: Turn) -> AsyncIterator[None]:
        """Hold a place within, once one is free: those that were noted first have it first. Ends the turn."""
        async with self._free:
            self._noted.discard(turn)
            self._calling[turn] = asyncio.get_running_loop().time()
            self._changed()
            try:
                yield
            finally:
                self.end(turn)
