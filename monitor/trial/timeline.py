"""Several feeds as one timeline.

A feed's order is kept. Its clock is the latest time that it has shown so far, so it never runs back;
feeds are merged by that clock, equal ones by the feed's number.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from monitor.core.windows import NEVER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from monitor.core.events import Row
    from monitor.trial.reading import Piece


class Stretch(NamedTuple):
    """Rows that stand beside each other in the timeline, of one source, with their feeds' clocks."""

    source: Any
    times: Sequence[int]
    rows: Sequence[Row] | Sequence[bytes]


class Timeline:
    """Takes each feed's pieces in order, the feeds' in any, and gives out rows once none can precede them.

    For each feed, `starts` says what time its clock does not begin before, and `sources` what source
    its rows are of: files have one together.
    """

    def __init__(self, starts: Sequence[int], sources: Sequence[Any]) -> None:
        self._sources = sources
        self._not_before = list(starts)
        self._clock = [NEVER] * len(starts)
        self._open = set(range(len(starts)))
        self._waiting: dict[int, deque[Stretch]] = {}
        #: The first time of any feed that has begun: of all, once a row was given out.
        self.began_ms: int | None = None

    def take(self, piece: Piece) -> Iterator[Stretch]:
        """Take a piece; yield the rows that are next, in order."""
        feed, clock = piece.feed, self._clock[piece.feed]
        if piece.first_ms != NEVER and clock == NEVER:
            self.began_ms = piece.first_ms if self.began_ms is None else min(self.began_ms, piece.first_ms)
        if piece.rows:
            times: Sequence[int] = piece.times
            rows: Sequence[Row] | Sequence[bytes] = piece.rows
            if clock == NEVER and times[0] == NEVER:
                # Events ahead of the present, before any other: nobody knows when they came.
                first = bisect_right(times, NEVER)
                times, rows = times[first:], rows[first:]
            elif times[0] < clock:
                behind = bisect_left(times, clock)
                times = [clock] * behind + list(times[behind:])
            if rows:
                self._waiting.setdefault(feed, deque()).append(Stretch(self._sources[feed], times, rows))
        if piece.last_ms > clock:
            self._clock[feed] = piece.last_ms
        self._not_before[feed] = max(self._not_before[feed], piece.last_ms)
        if piece.ends:
            self._open.discard(feed)
        yield from self._next()

    def _next(self) -> Iterator[Stretch]:
        bound = min(((self._not_before[feed], feed) for feed in self._open), default=None)
        due = [(feed, part) for feed in list(self._waiting) for part in self._due(feed, bound)]
        if all(feed == due[0][0] for feed, _ in due):
            for _, part in due:
                yield part
            return
        # Sorting is stable, and each feed's rows are in order already.
        times = [time_ms for _, part in due for time_ms in part.times]
        feeds = [feed for feed, part in due for _ in part.times]
        rows = [row for _, part in due for row in part.rows]
        order = sorted(range(len(rows)), key=list(zip(times, feeds, strict=True)).__getitem__)
        times, rows = [times[at] for at in order], [rows[at] for at in order]
        sources = [self._sources[feeds[at]] for at in order]
        begin = 0
        for _, run in groupby(sources, key=id):
            end = begin + sum(1 for _ in run)
            yield Stretch(sources[begin], times[begin:end], rows[begin:end])
            begin = end

    def _due(self, feed: int, bound: tuple[int, int] | None) -> list[Stretch]:
        """Remove and return the rows of a feed that nothing still to come can precede."""
        waiting = self._waiting[feed]
        due = []
        while waiting:
            source, times, rows = waiting[0]
            if bound is None:
                end = len(times)
            elif feed <= bound[1]:
                end = bisect_right(times, bound[0])
            else:
                end = bisect_left(times, bound[0])
            if end == len(times):
                due.append(waiting.popleft())
                continue
            if end:
                due.append(Stretch(source, times[:end], rows[:end]))
                waiting[0] = Stretch(source, times[end:], rows[end:])
            break
        if not waiting:
            del self._waiting[feed]
        return due
