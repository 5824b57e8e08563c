"""Windows against brute force."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.windows import NEVER, EventCountWindow, ValueCountWindow, restore_window
from monitor.errors import InvariantError
from tests.core.samples import over_the_wire

SPANS = (1, 5, 20, 50)
times = st.lists(st.integers(0, 80), max_size=60)
events = st.lists(
    st.tuples(
        st.integers(0, 80), st.lists(st.one_of(st.sampled_from("abcdefgh"), st.integers(0, 3)), max_size=3)
    ),
    max_size=60,
)


@settings(max_examples=500)
@given(times, st.integers(1, 6), st.integers(0, 60))
def test_counts_events_as_brute_force_does(log: list[int], capacity: int, restored_at: int) -> None:
    window = EventCountWindow(capacity)
    for number, time_ms in enumerate(log):
        if number == restored_at:
            window = restore_window(over_the_wire(window.snapshot()))  # type: ignore[assignment]
        window.add(time_ms)
        seen = log[: number + 1]
        latest = max(seen)
        assert window.last == latest
        for span in SPANS:
            inside = sorted((t for t in seen if latest - span < t <= latest), reverse=True)
            for threshold in range(1, capacity + 1):
                assert window.reached(threshold, span) == (len(inside) >= threshold)
                if len(inside) >= threshold:
                    assert window.nth_latest(threshold) == inside[threshold - 1]
        assert len(window) == min(capacity, len(seen))


@settings(max_examples=500)
@given(events, st.integers(1, 6), st.integers(0, 60))
def test_counts_values_as_brute_force_does(
    log: list[tuple[int, list[str | int]]], capacity: int, restored_at: int
) -> None:
    window = ValueCountWindow(capacity)
    for number, (time_ms, values) in enumerate(log):
        if number == restored_at:
            window = restore_window(over_the_wire(window.snapshot()))  # type: ignore[assignment]
        window.add(time_ms, values)
        seen = log[: number + 1]
        latest = max(t for t, _ in seen)
        assert window.last == latest
        of_value: dict[str | int, int] = {}
        for t, named in seen:
            for value in named:
                of_value[value] = max(t, of_value.get(value, t))
        recent = sorted(of_value.values(), reverse=True)
        for span in SPANS:
            inside = [t for t in recent if t > latest - span]
            for threshold in range(1, capacity + 1):
                assert window.reached(threshold, span) == (len(inside) >= threshold)
            kept = min(capacity, len(inside))
            assert window.count_after(latest - span) == kept
            assert len(window.values_after(latest - span)) == kept
            # Whether values of the span were dropped for want of room.
            assert (window.lost > latest - span) == (len(inside) > capacity)


@given(times, st.integers(1, 6), st.integers(1, 6))
def test_a_smaller_window_holds_what_it_would_have_held(log: list[int], larger: int, smaller: int) -> None:
    window, never_larger = EventCountWindow(max(larger, smaller)), EventCountWindow(min(larger, smaller))
    for time_ms in log:
        window.add(time_ms)
        never_larger.add(time_ms)
    window.resize(min(larger, smaller))
    assert window.snapshot() == never_larger.snapshot()


def test_the_lower_bound_is_outside_and_the_upper_one_inside() -> None:
    window = EventCountWindow(2)
    window.add(100)
    window.add(200)
    assert not window.reached(2, 100)
    assert window.reached(2, 101)


@pytest.mark.parametrize("kind", [EventCountWindow, ValueCountWindow])
def test_memory_stays_proportional_to_the_capacity(kind: type[EventCountWindow | ValueCountWindow]) -> None:
    window = kind(10)
    for number in range(10_000):
        window.add(number, (number,))
        assert len(window._times) <= 2 * 10 + 64
    assert len(window) == 10


def test_a_value_seen_again_moves_and_counts_once() -> None:
    window = ValueCountWindow(3)
    for number in range(5_000):
        window.add(number, (f"v{number % 3}",))
    assert window.reached(3, 3)
    assert not window.reached(3, 2)
    assert len(window._times) < 100


def test_an_event_without_values_still_moves_the_window() -> None:
    window = ValueCountWindow(1)
    window.add(100, ["a"])
    window.add(200, [])
    assert window.last == 200
    assert not window.reached(1, 100)
    assert window.lost == NEVER


def test_a_snapshot_of_another_version_is_refused() -> None:
    with pytest.raises(InvariantError, match="version 2"):
        restore_window([2, *EventCountWindow(1).snapshot()[1:]])


def test_a_repr_tells_no_value() -> None:
    window = ValueCountWindow(3)
    window.add(1, ["secret-patient"])
    assert repr(window) == "ValueCountWindow(1 of 3)"
