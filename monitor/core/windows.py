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

from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any, Final

from monitor.core.sum_window import LARGEST_AMOUNT, SumWindow
from monitor.core.value_window import ValueCountWindow
from monitor.core.values import pseudonym_number
from monitor.core.window_base import (
    EVENTS,
    FORMAT,
    FORMAT_BEFORE,
    NEVER,
    SUMS,
    VALUES,
    TimeWindow,
    packed,
    unpacked,
)
from monitor.errors import InvariantError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "LARGEST_AMOUNT",
    "NEVER",
    "EventCountWindow",
    "SumWindow",
    "ValueCountWindow",
    "Window",
    "restore_window",
]


class EventCountWindow(TimeWindow):
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

    def extend(self, _last_ms: int, entries: Sequence[tuple[int, int]]) -> int:
        """Count events in order of time, none of them before one counted already, without ids."""
        if self._ids is not None:
            for time_ms, _ in entries:
                self.add(time_ms)
            return len(entries)
        times = self._times
        times.extend([time_ms for time_ms, _ in entries])
        self.last = times[-1]
        surplus = len(times) - self._start - self.capacity
        if surplus > 0:
            self._start += surplus - 1
            self._drop()
        return len(entries)

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
        ids = b"" if self._ids is None else packed(self._ids, self._start)
        return [FORMAT, EVENTS, self.capacity, self.last, self.lost, packed(self._times, self._start), ids]

    def _restore(self, times: bytes, ids: bytes) -> None:
        self._times = unpacked("q", times)
        self._ids = unpacked("Q", ids) if ids else None

    def _empty(self) -> None:
        self._ids = None

    def _compact(self) -> None:
        if self._ids is not None:
            del self._ids[: self._start]
        super()._compact()


Window = EventCountWindow | ValueCountWindow | SumWindow
_KINDS: Final[dict[int, type[Window]]] = {
    EVENTS: EventCountWindow,
    VALUES: ValueCountWindow,
    SUMS: SumWindow,
}


def restore_window(plain: Sequence[Any]) -> Window:
    """Return the window of a plain form, of this version or the one before.

    Raises InvariantError for a form that this code does not read.
    """
    version, kind, capacity, last, lost, times, *rest = plain
    known = _KINDS.get(kind)
    if version not in (FORMAT, FORMAT_BEFORE) or known is None:
        msg = (
            f"window snapshot of version {version!r}, kind {kind!r}: this monitor reads"
            f" {FORMAT_BEFORE} and {FORMAT}; was it downgraded?"
        )
        raise InvariantError(msg)
    if version == FORMAT_BEFORE:
        # It held values as they were, and no ids.
        rest = [packed(array("Q", [_number(value) for value in rest[0]]))] if kind == VALUES else [b""]
    window = known(capacity)
    window.last, window.lost = last, lost
    window._restore(times, *rest)  # noqa: SLF001 - the classes of this module
    return window


def _number(value: str | int) -> int:
    # The same for every field: only texts that intake made have the shape of a pseudonym.
    return pseudonym_number(value) if isinstance(value, str) else value
