"""A window that adds up amounts."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from monitor.core.window_base import FORMAT, SUMS, TimeWindow, packed, unpacked

if TYPE_CHECKING:
    from collections.abc import Sequence

#: An amount above it counts as it: no threshold is as large.
LARGEST_AMOUNT: Final = 1 << 20


class SumWindow(TimeWindow):
    """Adds up amounts: it keeps the most recent ones that reach the capacity together."""

    __slots__ = ("_before", "_ids", "_totals")
    ENTRY_BYTES = 16

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        # Beside `_times`: what all amounts up to and including this one add up to; before the first
        # there was `_before`.
        self._totals = array("q")
        self._before = 0
        self._ids: array[int] | None = None

    def reached(self, threshold: int, timespan_ms: int) -> bool:
        """Return whether the amounts in ``(L - timespan_ms, L]`` add up to at least `threshold`.

        `threshold` is between 1 and the capacity.
        """
        at = self._reaching(threshold)
        return at >= 0 and self._times[at] > self.last - timespan_ms

    def nth_latest(self, rank: int) -> int:
        """Return the time of the entry that reaches a sum, counted back from the latest."""
        return self._times[self._reaching(rank)]

    def count_after(self, after_ms: int) -> int:
        """Return what the amounts kept after a time (exclusive) add up to."""
        at = bisect_right(self._times, after_ms, self._start)
        return self._total() - self._until(at)

    def add(self, time_ms: int, values: Sequence[int]) -> int:
        """Add an amount from 1 on (none: only `L` moves), with its event's id where there is one."""
        if not values:
            if time_ms > self.last:
                self.last = time_ms
            return 0
        amount = min(LARGEST_AMOUNT, values[0])
        times, totals = self._times, self._totals
        at = bisect_right(times, time_ms, self._start)
        if (len(values) > 1 or self._ids is not None) and not self._is_new(time_ms, values, at):
            return 0
        if time_ms > self.last:
            self.last = time_ms
        if at == len(times):
            times.append(time_ms)
            totals.append(self._total() + amount)
        else:
            later = totals[at:]
            times.insert(at, time_ms)
            totals[at:] = array("q", [self._until(at) + amount, *(total + amount for total in later)])
        self._fit()
        return amount

    def extend(self, last_ms: int, entries: Sequence[tuple[int, int]]) -> int:
        """Add (time, amount) pairs in order of time, none of them before one added already, without ids.

        `last_ms` is the time of the last event, which need not have an amount.
        """
        self.last = last_ms
        return sum([self.add(time_ms, (amount,)) for time_ms, amount in entries])

    def _is_new(self, time_ms: int, values: Sequence[int], at: int) -> bool:
        number = values[1] if len(values) > 1 else 0
        ids = self._ids
        if ids is None:
            ids = self._ids = array("Q", bytes(8 * len(self._times)))
        if number and number in ids[bisect_left(self._times, time_ms, self._start, at) : at]:
            return False
        ids.insert(at, number)
        return True

    def resize(self, capacity: int) -> None:
        """Keep more from now on, or less at once."""
        self.capacity = capacity
        self._fit()

    def snapshot(self) -> list[Any]:
        """Return a plain form that `restore_window` reads."""
        self._compact()
        ids = b"" if self._ids is None else packed(self._ids)
        amounts = array("q", self._amounts())
        kept = [packed(self._times), packed(amounts), ids]
        return [FORMAT, SUMS, self.capacity, self.last, self.lost, *kept]

    def _restore(self, times: bytes, amounts: bytes, ids: bytes) -> None:
        self._times = unpacked("q", times)
        self._totals = array("q", accumulate(unpacked("q", amounts)))
        self._ids = unpacked("Q", ids) if ids else None

    def _amounts(self) -> list[int]:
        before, amounts = self._before, []
        for total in self._totals:
            amounts.append(total - before)
            before = total
        return amounts

    def _reaching(self, threshold: int) -> int:
        """Return the index of the latest entry from which on a sum is reached, or -1."""
        rest = self._total() - threshold
        if self._until(self._start) > rest:
            return -1
        return bisect_right(self._totals, rest, self._start)

    def _total(self) -> int:
        return self._totals[-1] if self._totals else self._before

    def _until(self, at: int) -> int:
        """Return what everything before an index adds up to."""
        return self._totals[at - 1] if at else self._before

    def _fit(self) -> None:
        totals = self._totals
        while self._start < len(totals) and totals[-1] - totals[self._start] >= self.capacity:
            self._drop()

    def _empty(self) -> None:
        self._ids = None

    def _compact(self) -> None:
        if self._start:
            self._before = self._totals[self._start - 1]
            del self._totals[: self._start]
            if self._ids is not None:
                del self._ids[: self._start]
        super()._compact()
