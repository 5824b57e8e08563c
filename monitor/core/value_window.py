"""A window that counts different values."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any

from monitor.core.window_base import FORMAT, SLACK, VALUES, TimeWindow, packed, unpacked

if TYPE_CHECKING:
    from collections.abc import Sequence


class ValueCountWindow(TimeWindow):
    """Counts different values: it keeps the most recent ones, each with its latest time."""

    __slots__ = ("_latest", "_values")
    ENTRY_BYTES = 16

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
                if owners[-1] == value:
                    times[-1] = latest[value] = time_ms
                    continue
                self._remove(value, before)
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
            elif self._start > self.capacity + SLACK:
                self._compact()
        return len(values)

    def extend(self, last_ms: int, entries: Sequence[tuple[int, int]]) -> int:
        """Count (time, value) pairs in order of time, none of them before one counted already.

        `last_ms` is the time of the last event, which need not have a value.
        """
        self.last = last_ms
        latest = self._latest
        if len(latest) + len(entries) > self.capacity:
            for time_ms, value in entries:
                self.add(time_ms, (value,))
            return len(entries)
        fresh = _latest_of(entries, latest)
        for value in fresh:
            before = latest.get(value)
            if before is not None:
                self._remove(value, before)
        latest.update(fresh)
        self._times.extend(fresh.values())
        self._values.extend(fresh)
        if self._start > self.capacity + SLACK:
            self._compact()
        return len(entries)

    def rename(self, value: int, to: int) -> bool:
        """Call a value by another number from now on; where both are here they become one, of the later time.

        Return whether it was here.
        """
        before = self._latest.pop(value, None)
        if before is None:
            return False
        other = self._latest.get(to)
        if other is not None and other >= before:
            self._remove(value, before)
            return True
        if other is not None:
            self._remove(to, other)
        owners = self._values
        owners[owners.index(value, bisect_left(self._times, before, self._start))] = to
        self._latest[to] = before
        return True

    def _remove(self, value: int, time_ms: int) -> None:
        """Take a value out of the order, where it comes again later."""
        times, owners = self._times, self._values
        at = owners.index(value, bisect_left(times, time_ms, self._start))
        if at == self._start:
            self._start += 1
        else:
            del times[at]
            del owners[at]

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
        times, owners = packed(self._times, self._start), packed(self._values, self._start)
        return [FORMAT, VALUES, self.capacity, self.last, self.lost, times, owners]

    def _restore(self, times: bytes, owners: bytes) -> None:
        self._times = unpacked("q", times)
        self._values = unpacked("Q", owners)
        self._latest = dict(zip(self._values, self._times, strict=True))

    def _discard(self) -> None:
        del self._latest[self._values[self._start]]
        self._start += 1

    def _compact(self) -> None:
        del self._values[: self._start]
        super()._compact()


def _latest_of(entries: Sequence[tuple[int, int]], known: dict[int, int]) -> dict[int, int]:
    """Return the latest time of each value, in the order in which they came last; known ones left out."""
    fresh: dict[int, int] = {}
    for time_ms, value in entries:
        before = fresh.get(value)
        if before is None:
            if known.get(value) != time_ms:
                fresh[value] = time_ms
        elif before != time_ms:
            # Set again, it stands behind those that came meanwhile.
            del fresh[value]
            fresh[value] = time_ms
    return fresh
