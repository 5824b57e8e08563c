"""Exact trailing windows ``(L - timespan, L]`` on event time.

`L` (`last`) is the latest time a window was told of. A window keeps the latest times, as many as the
largest threshold that looks at it, so rules with different thresholds and timespans share one: a rule
holds where its threshold-th most recent time lies after ``L - timespan``. Times may come in any
order; those in order cost O(1), others a binary search and a move of packed memory.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any, Final

from monitor.errors import InvariantError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Earlier than any time.
NEVER: Final = -(1 << 62)

Value = str | int

_FORMAT: Final = 1
_EVENTS: Final = 0
_VALUES: Final = 1
#: Dropped entries that may wait at the front of a small window before memory is moved.
_SLACK: Final = 32


class _Window:
    """What both kinds share: sorted packed times, of which those before `_start` are dropped."""

    __slots__ = ("_start", "_times", "capacity", "last", "lost")

    def __init__(self, capacity: int) -> None:
        #: How many entries are kept, the latest ones.
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
        """Return whether at least `threshold` entries lie in ``(L - timespan_ms, L]``.

        `threshold` is between 1 and the capacity.
        """
        times = self._times
        at = len(times) - threshold
        return at >= self._start and times[at] > self.last - timespan_ms

    def nth_latest(self, rank: int) -> int:
        """Return the time of the `rank`-th most recent entry, from 1 to the number of entries."""
        return self._times[len(self._times) - rank]

    def count_after(self, after_ms: int) -> int:
        """Return how many of the entries kept lie after a time (exclusive)."""
        times = self._times
        return len(times) - bisect_right(times, after_ms, self._start)

    def _packed(self) -> bytes:
        times = self._times[self._start :]
        if sys.byteorder == "big":
            times.byteswap()
        return times.tobytes()

    def _unpack(self, packed: bytes) -> None:
        times = array("q")
        times.frombytes(packed)
        if sys.byteorder == "big":
            times.byteswap()
        self._times = times


class EventCountWindow(_Window):
    """Counts events: it keeps their latest times."""

    __slots__ = ()

    def add(self, time_ms: int, _values: Sequence[Value] = ()) -> None:
        """Count one event."""
        times = self._times
        if time_ms >= self.last:
            self.last = time_ms
            times.append(time_ms)
        else:
            times.insert(bisect_right(times, time_ms, self._start), time_ms)
        if len(times) - self._start > self.capacity:
            self._drop()

    def resize(self, capacity: int) -> None:
        """Keep more entries from now on, or fewer at once."""
        self.capacity = capacity
        while len(self) > capacity:
            self._drop()

    def snapshot(self) -> list[Any]:
        """Return a plain form that `restore_window` reads."""
        return [_FORMAT, _EVENTS, self.capacity, self.last, self.lost, self._packed()]

    def _drop(self) -> None:
        start = self._start
        dropped = self._times[start]
        if dropped > self.lost:
            self.lost = dropped
        start += 1
        if start > self.capacity + _SLACK:
            del self._times[:start]
            start = 0
        self._start = start


class ValueCountWindow(_Window):
    """Counts different values: it keeps the most recent ones, each with its latest time."""

    __slots__ = ("_latest", "_values")

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._latest: dict[Value, int] = {}
        # Beside `_times`: whose time each is.
        self._values: list[Value] = []

    def add(self, time_ms: int, values: Iterable[Value]) -> None:
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
                # Remove and set again: the key is then the same object as in `_values`.
                del latest[value]
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

    def values_after(self, after_ms: int) -> list[Value]:
        """Return the values kept whose latest time lies after a time (exclusive)."""
        return self._values[bisect_right(self._times, after_ms, self._start) :]

    def resize(self, capacity: int) -> None:
        """Keep more entries from now on, or fewer at once."""
        self.capacity = capacity
        while len(self) > capacity:
            self._drop()

    def snapshot(self) -> list[Any]:
        """Return a plain form that `restore_window` reads."""
        owners = self._values[self._start :]
        return [_FORMAT, _VALUES, self.capacity, self.last, self.lost, self._packed(), owners]

    def restore_values(self, owners: Sequence[Value]) -> None:
        """Take the values that belong to the times restored."""
        self._values = list(owners)
        self._latest = dict(zip(self._values, self._times, strict=True))

    def _drop(self) -> None:
        start = self._start
        dropped = self._times[start]
        if dropped > self.lost:
            self.lost = dropped
        del self._latest[self._values[start]]
        self._start = start + 1
        if start > self.capacity + _SLACK:
            self._compact()

    def _compact(self) -> None:
        del self._times[: self._start]
        del self._values[: self._start]
        self._start = 0


Window = EventCountWindow | ValueCountWindow


def restore_window(plain: Sequence[Any]) -> Window:
    """Return the window of a plain form; raises InvariantError for a form that this code does not read."""
    version, kind, capacity, last, lost, packed, *rest = plain
    if version != _FORMAT or kind not in (_EVENTS, _VALUES):
        msg = f"window snapshot of version {version!r}, kind {kind!r}: this monitor reads {_FORMAT}"
        raise InvariantError(msg)
    window: Window = EventCountWindow(capacity) if kind == _EVENTS else ValueCountWindow(capacity)
    window.last, window.lost = last, lost
    window._unpack(packed)  # noqa: SLF001 - the classes of this module
    if isinstance(window, ValueCountWindow):
        window.restore_values(rest[0])
    return window
