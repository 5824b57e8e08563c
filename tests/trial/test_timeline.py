"""Feeds are merged by their clocks, whatever the pieces and the order in which they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from monitor.core.windows import NEVER
from monitor.trial.reading import Piece
from monitor.trial.timeline import Timeline

if TYPE_CHECKING:
    from monitor.core.events import Row

FEEDS = st.lists(st.lists(st.integers(0, 30), max_size=25), min_size=1, max_size=4)


def pieces_of(feed: int, times: list[int], sizes: list[int], mine: set[int]) -> list[Piece]:
    """Return a feed in pieces; rows at places that are not `mine` belong to other shards."""
    found, at = [], 0
    for size in [*sizes, len(times)]:
        part = list(enumerate(times))[at : at + size]
        at += size
        clock = NEVER
        clocks: list[int] = []
        rows: list[Row] = []
        first = NEVER
        for place, time_ms in part:
            clock = max(clock, time_ms)
            first = clock if first == NEVER else first
            if place in mine:
                clocks.append(clock)
                rows.append((feed, place))
        found.append(Piece(feed, first, clock, clocks, rows, ends=False))
    return [*found, Piece(feed, NEVER, NEVER, [], [], ends=True)]


@given(FEEDS, st.data())
def test_the_order_is_that_of_the_clocks(feeds: list[list[int]], data: st.DataObject):
    expected: list[tuple[int, int, int]] = []
    queues = []
    starts = []
    for feed, times in enumerate(feeds):
        mine = data.draw(st.sets(st.integers(0, 24)))
        clock = NEVER
        for place, time_ms in enumerate(times):
            clock = max(clock, time_ms)
            if place in mine:
                expected.append((clock, feed, place))
        sizes = data.draw(st.lists(st.integers(0, 8), max_size=6))
        queues.append(pieces_of(feed, times, sizes, mine))
        first = times[0] if times else NEVER
        starts.append(data.draw(st.sampled_from([first, NEVER])))
    together = data.draw(st.booleans())
    timeline = Timeline(starts, ["all" if together else str(feed) for feed in range(len(feeds))])
    came: list[tuple[Any, ...]] = []
    began = None
    while any(queues):
        feed = data.draw(st.sampled_from([number for number, queue in enumerate(queues) if queue]))
        for stretch in timeline.take(queues[feed].pop(0)):
            began = timeline.began_ms if began is None else began
            assert len(stretch.times) == len(stretch.rows) > 0
            assert together or {str(row[0]) for row in stretch.rows} == {stretch.source}
            came += [(time, *row) for time, row in zip(stretch.times, stretch.rows, strict=True)]
    assert came == sorted(expected)
    if came:
        assert began == min(times[0] for times in feeds if times)


def test_nothing_waits_for_a_feed_that_begins_later():
    timeline = Timeline([NEVER, 100], ["x", "y"])
    (stretch,) = timeline.take(Piece(0, 5, 50, [5, 50], [("a",), ("b",)], ends=False))
    assert stretch.rows == [("a",), ("b",)]
    assert list(timeline.take(Piece(0, 120, 120, [120], [("c",)], ends=False))) == []
    assert [part.rows for part in timeline.take(Piece(1, 101, 130, [101], [("d",)], ends=False))] == [
        [("d",)],
        [("c",)],
    ]


def test_what_is_ahead_of_now_before_any_other_event_has_no_place():
    timeline = Timeline([NEVER], ["x"])
    (stretch,) = timeline.take(Piece(0, 7, 7, [NEVER, 7], [("ahead",), ("ok",)], ends=False))
    assert (list(stretch.times), list(stretch.rows)) == ([7], [("ok",)])
