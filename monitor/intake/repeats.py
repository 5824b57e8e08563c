"""Records that came before: noticed by their bytes, where no id of the gateway's tells a repeat from a new one.

A shipper that crashed sends its last lines again. Detect counts an event once that the gateway gave an id; one
without counts twice, and all that can be done is to say so.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Protocol

from monitor import engine

#: Different records of a partition that are remembered: at most 2 MB, and more than a shipper sends again.
REMEMBERED: Final = 10_000


class Repeats(Protocol):
    """The last different records of one partition."""

    def note(self, value: bytes, /) -> bool:
        """Remember a record; return whether it is one of the last different ones."""


def new_repeats(limit: int = REMEMBERED) -> Repeats:
    """Return those of a partition of which nothing is known yet: native where that can be."""
    return PythonRepeats(limit) if engine.router is None else engine.router.Repeats(limit)


class PythonRepeats:
    """The last different records of one partition, each as a hash of 64 bits.

    It forgets them with its partition: after a move or a restart the first repeats pass unnoticed. The
    hash is Python's, keyed by chance for each process, so that nobody can make two records that look alike.
    """

    __slots__ = ("_limit", "_seen")

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        #: In the order in which they were seen last.
        self._seen: OrderedDict[int, None] = OrderedDict()

    def note(self, value: bytes, /) -> bool:
        """Remember a record; return whether it is one of the last `limit` different ones."""
        seen, mark = self._seen, hash(value)
        if mark in seen:
            seen.move_to_end(mark)
            return True
        if len(seen) >= self._limit:
            seen.popitem(last=False)
        seen[mark] = None
        return False
