"""What all windows share: times, sorted and packed, and the form of their snapshots."""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from typing import ClassVar, Final

#: Earlier than any time.
NEVER: Final = -(1 << 62)
#: The version of snapshots, and the one before.
FORMAT: Final = 2
FORMAT_BEFORE: Final = 1
#: The kinds of windows in snapshots.
EVENTS: Final = 0
VALUES: Final = 1
SUMS: Final = 2
#: Dropped entries that may wait at the front of a small window before memory is moved.
SLACK: Final = 32


class TimeWindow:
    """Sorted packed times, of which those before `_start` are dropped."""

    __slots__ = ("_start", "_times", "capacity", "last", "lost")
    #: What an entry takes, in bytes.
    ENTRY_BYTES: ClassVar = 8

    def __init__(self, capacity: int) -> None:
        #: How much is kept, the latest of it: entries, or what their amounts add up to.
        self.capacity = capacity
        #: `L`: the latest time of any event added; `NEVER` before the first.
        self.last = NEVER
        #: The latest time that was dropped for want of room; `NEVER` where nothing was.
        self.lost = NEVER
        self._times = array("q")
        self._start = 0

    def __len__(self) -> int:
        return len(self._times) - self._start

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} of {self.capacity})"

    @property
    def packed_bytes(self) -> int:
        """What the entries take, in bytes, without ids of events and what finds values."""
        return len(self) * self.ENTRY_BYTES

    def reached(self, threshold: int, timespan_ms: int) -> bool:
        """Return whether at least `threshold` lies in ``(L - timespan_ms, L]``.

        `threshold` is between 1 and the capacity.
        """
        times = self._times
        at = len(times) - threshold
        return at >= self._start and times[at] > self.last - timespan_ms

    def nth_latest(self, rank: int) -> int:
        """Return the time of the `rank`-th most recent entry, from 1 to the number of entries."""
        return self._times[len(self._times) - rank]

    def count_after(self, after_ms: int) -> int:
        """Return how much of what is kept lies after a time (exclusive)."""
        times = self._times
        return len(times) - bisect_right(times, after_ms, self._start)

    def trim(self, until_ms: int) -> None:
        """Forget entries up to a time (inclusive) that no rule looks back to; at least one is kept."""
        at = bisect_right(self._times, until_ms, self._start, max(len(self._times) - 1, self._start))
        while self._start < at:
            self._discard()
        self._compact()
        if self.lost <= until_ms:
            # Whether it was dropped or trimmed is a matter of when that was.
            self.lost = NEVER

    def forget(self, until_ms: int) -> None:
        """Forget all entries up to a time (inclusive); `L` stays."""
        at = bisect_right(self._times, until_ms, self._start)
        while self._start < at:
            self._discard()
        self._compact()
        if not self._times:
            self._empty()

    def _empty(self) -> None:
        """Be as if nothing had ever been added, but for `L`: a snapshot cannot tell either."""

    def _discard(self) -> None:
        """Drop the oldest entry."""
        self._start += 1

    def _drop(self) -> None:
        """Drop the oldest entry for want of room."""
        start = self._start
        dropped = self._times[start]
        if dropped > self.lost:
            self.lost = dropped
        self._discard()
        if start > SLACK and start > len(self._times) >> 1:
            self._compact()

    def _compact(self) -> None:
        del self._times[: self._start]
        self._start = 0


def packed(numbers: array[int], start: int = 0) -> bytes:
    """Return the bytes of numbers from the one at `start` on, 8 each, little-endian."""
    if start or sys.byteorder == "big":
        numbers = numbers[start:]
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def unpacked(code: str, content: bytes) -> array[int]:
    """Return the numbers of `packed`, as an array of a type code of 8 bytes."""
    numbers: array[int] = array(code)
    numbers.frombytes(content)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
