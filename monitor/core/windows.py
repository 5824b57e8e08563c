"""Exact trailing windows ``(L - timespan, L]`` on event time.

`L` (`last`) is the latest time a window was told of. A window keeps the latest entries, as many as the
largest threshold that looks at it needs, so rules with different thresholds and timespans share one: a
rule holds where the entry at which its threshold is reached, counted back from the latest, lies after
``L - timespan``. Times may come in any order; those in order cost O(1), others a binary search and a
move of packed memory.

Entries are packed numbers: 8 bytes an event, 16 a value (see `values`) or an amount; a window of values
also has a dict to find them, about 100 bytes each.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from monitor.core.values import pseudonym_number
from monitor.errors import InvariantError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Earlier than any time.
NEVER: Final = -(1 << 62)
#: An amount above it counts as it: no threshold is as large.
LARGEST_AMOUNT: Final = 1 << 20

_FORMAT: Final = 2
_FORMAT_BEFORE: Final = 1
_EVENTS: Final = 0
_VALUES: Final = 1
_SUMS: Final = 2
#: Dropped entries that may wait at the front of a small window before memory is moved.
_SLACK: Final = 32


class _Window:
    """What all kinds share: sorted packed times, of which those before `_start` are dropped."""

    __slots__ = ("_start", "_times", "capacity", "last", "lost")

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
        if start > _SLACK and start > len(self._times) >> 1:
            self._compact()

    def _compact(self) -> None:
        del self._times[: self._start]
        self._start = 0


class EventCountWindow(_Window):
    """Counts events: it keeps their latest times, and the ids of those that have one."""

    __slots__ = ("_ids",)

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        # Beside `_times` once an event had an id that its format vouches for; 0 for one without.
        self._ids: array[int] | None = None

    def add(self, time_ms: int, values: Sequence[int] = ()) -> int:
        """Count one event; `values` holds its id where it has one: the same again counts once.

        Returns by how much the count of a timespan can have grown at most, as all windows do.
        """
        times = self._times
        if values or self._ids is not None:
            if not self._is_new(time_ms, values[0] if values else 0):
                return 0
        elif time_ms >= self.last:
            self.last = time_ms
            times.append(time_ms)
        else:
            times.insert(bisect_right(times, time_ms, self._start), time_ms)
        if len(times) - self._start > self.capacity:
            self._drop()
        return 1

    def _is_new(self, time_ms: int, number: int) -> bool:
        """Insert an event in a window that knows ids, unless it is there; an id belongs to a time."""
        times, ids = self._times, self._ids
        if ids is None:
            ids = self._ids = array("Q", bytes(8 * len(times)))
        at = bisect_right(times, time_ms, self._start)
        if number and number in ids[bisect_left(times, time_ms, self._start, at) : at]:
            return False
        if time_ms > self.last:
            self.last = time_ms
        times.insert(at, time_ms)
        ids.insert(at, number)
        return True

    def resize(self, capacity: int) -> None:
        """Keep more entries from now on, or fewer at once."""
        self.capacity = capacity
        while len(self) > capacity:
            self._drop()

    def snapshot(self) -> list[Any]:
        """Return a plain form that `restore_window` reads."""
        ids = b"" if self._ids is None else _packed(self._ids[self._start :])
        return [_FORMAT, _EVENTS, self.capacity, self.last, self.lost, self._packed_times(), ids]

    def _packed_times(self) -> bytes:
        return _packed(self._times[self._start :])

    def _restore(self, times: bytes, ids: bytes) -> None:
        self._times = _unpacked("q", times)
        self._ids = _unpacked("Q", ids) if ids else None

    def _compact(self) -> None:
        if self._ids is not None:
            del self._ids[: self._start]
        super()._compact()


class ValueCountWindow(_Window):
    """Counts different values: it keeps the most recent ones, each with its latest time."""

    __slots__ = ("_latest", "_values")

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._latest: dict[int, int] = {}
        # Beside `_times`: whose time each is.
        self._values = array("Q")

    def add(self, time_ms: int, values: Sequence[int]) -> int:
        """Count the values of one event; it moves `L` even where it has none."""
        if time_ms > self.last:
            self.last = time_ms
        latest, times, owners = self._latest, self._times, self._values
        for value in values:
            before = latest.get(value)
            if before is not None:
                if time_ms <= before:
                    continue
                at = owners.index(value, bisect_left(times, before, self._start))
                if at == self._start:
                    self._start += 1
                else:
                    del times[at]
                    del owners[at]
            if len(times) == self._start or time_ms >= times[-1]:
                times.append(time_ms)
                owners.append(value)
            else:
                at = bisect_right(times, time_ms, self._start)
                times.insert(at, time_ms)
                owners.insert(at, value)
            latest[value] = time_ms
            if len(times) - self._start > self.capacity:
                self._drop()
            elif self._start > self.capacity + _SLACK:
                self._compact()
        return len(values)

    def values_after(self, after_ms: int) -> Sequence[int]:
        """Return the values kept whose latest time lies after a time (exclusive), oldest first."""
        return self._values[bisect_right(self._times, after_ms, self._start) :]

    def resize(self, capacity: int) -> None:
        """Keep more entries from now on, or fewer at once."""
        self.capacity = capacity
        while len(self) > capacity:
            self._drop()

    def snapshot(self) -> list[Any]:
        """Return a plain form that `restore_window` reads."""
        times, owners = _packed(self._times[self._start :]), _packed(self._values[self._start :])
        return [_FORMAT, _VALUES, self.capacity, self.last, self.lost, times, owners]

    def _restore(self, times: bytes, owners: bytes) -> None:
        self._times = _unpacked("q", times)
        self._values = _unpacked("Q", owners)
        self._latest = dict(zip(self._values, self._times, strict=True))

    def _discard(self) -> None:
        del self._latest[self._values[self._start]]
        self._start += 1

    def _compact(self) -> None:
        del self._values[: self._start]
        super()._compact()


class SumWindow(_Window):
    """Adds up amounts: it keeps the most recent ones that reach the capacity together."""

    __slots__ = ("_before", "_ids", "_totals")

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
        ids = b"" if self._ids is None else _packed(self._ids)
        amounts = array("q", self._amounts())
        kept = [_packed(self._times), _packed(amounts), ids]
        return [_FORMAT, _SUMS, self.capacity, self.last, self.lost, *kept]

    def _restore(self, times: bytes, amounts: bytes, ids: bytes) -> None:
        self._times = _unpacked("q", times)
        self._totals = array("q", accumulate(_unpacked("q", amounts)))
        self._ids = _unpacked("Q", ids) if ids else None

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

    def _compact(self) -> None:
        if self._start:
            self._before = self._totals[self._start - 1]
            del self._totals[: self._start]
            if self._ids is not None:
                del self._ids[: self._start]
        super()._compact()


Window = EventCountWindow | ValueCountWindow | SumWindow
_KINDS: Final[dict[int, type[Window]]] = {
    _EVENTS: EventCountWindow,
    _VALUES: ValueCountWindow,
    _SUMS: SumWindow,
}


def restore_window(plain: Sequence[Any]) -> Window:
    """Return the window of a plain form, of this version or the one before.

    Raises InvariantError for a form that this code does not read.
    """
    version, kind, capacity, last, lost, times, *rest = plain
    known = _KINDS.get(kind)
    if version not in (_FORMAT, _FORMAT_BEFORE) or known is None:
        msg = (
            f"window snapshot of version {version!r}, kind {kind!r}: this monitor reads"
            f" {_FORMAT_BEFORE} and {_FORMAT}; was it downgraded?"
        )
        raise InvariantError(msg)
    if version == _FORMAT_BEFORE:
        # It held values as they were, and no ids.
        rest = [_packed(array("Q", [_number(value) for value in rest[0]]))] if kind == _VALUES else [b""]
    window = known(capacity)
    window.last, window.lost = last, lost
    window._restore(times, *rest)  # noqa: SLF001 - the classes of this module
    return window


def _number(value: str | int) -> int:
    # The same for every field: only texts that intake made have the shape of a pseudonym.
    return pseudonym_number(value) if isinstance(value, str) else value


def _packed(numbers: array[int]) -> bytes:
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()


def _unpacked(code: str, packed: bytes) -> array[int]:
    numbers: array[int] = array(code)
    numbers.frombytes(packed)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
