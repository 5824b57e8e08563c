"""Windows against brute force."""

from __future__ import annotations

import random
import tracemalloc
from array import array
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.values import pseudonym_number, text_number
from monitor.core.windows import (
    LARGEST_AMOUNT,
    NEVER,
    EventCountWindow,
    SumWindow,
    ValueCountWindow,
    Window,
    restore_window,
)
from monitor.errors import InvariantError
from tests.core.samples import over_the_wire

if TYPE_CHECKING:
    from random import Random

SPANS = (1, 5, 20, 50)
times = st.lists(st.integers(0, 80), max_size=60)
values = st.lists(st.integers(0, 8) | st.just(2**64 - 1), max_size=3)
events = st.lists(st.tuples(st.integers(0, 80), values), max_size=60)
amounts = st.sampled_from((1, 1, 2, 3, 5, 40, LARGEST_AMOUNT + 5))
#: Time, id (0: none), amount; a gateway that delivers an event twice repeats all of it.
identified = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 4), st.just(2)), max_size=40)
summed = st.lists(st.tuples(st.integers(0, 80), st.just(0), amounts | st.just(0)), max_size=60)


@settings(max_examples=1_000)
@given(times, st.integers(1, 6), st.integers(0, 60))
def test_counts_events_as_brute_force_does(log: list[int], capacity: int, restored_at: int) -> None:
    window = EventCountWindow(capacity)
    for number, time_ms in enumerate(log):
        if number == restored_at:
            window = restore_window(over_the_wire(window.snapshot()))  # type: ignore[assignment]
        window.add(time_ms)
        _check(window, [(at, 1) for at in log[: number + 1]], capacity)
        assert len(window) == min(capacity, number + 1)


@settings(max_examples=1_000)
@given(identified, st.integers(1, 6), st.integers(0, 60))
def test_an_event_with_an_id_counts_once(
    log: list[tuple[int, int, int]], capacity: int, restored_at: int
) -> None:
    window, sums = EventCountWindow(capacity), SumWindow(2 * capacity)
    for number, (time_ms, event_id, amount) in enumerate(log):
        if number == restored_at:
            window = restore_window(over_the_wire(window.snapshot()))  # type: ignore[assignment]
            sums = restore_window(over_the_wire(sums.snapshot()))  # type: ignore[assignment]
        ids = (event_id,) if event_id else ()
        window.add(time_ms, ids)
        sums.add(time_ms, (amount, *ids))
        seen = log[: number + 1]
        once = list({(at, key): at for at, key, _ in seen if key}.values())
        once += [at for at, key, _ in seen if not key]
        _check(window, [(at, 1) for at in once], capacity)
        _check(sums, [(at, amount) for at in once], 2 * capacity)


@settings(max_examples=1_000)
@given(summed, st.integers(1, 50), st.integers(0, 60))
def test_sums_amounts_as_brute_force_does(
    log: list[tuple[int, int, int]], capacity: int, restored_at: int
) -> None:
    window = SumWindow(capacity)
    for number, (time_ms, _, amount) in enumerate(log):
        if number == restored_at:
            window = restore_window(over_the_wire(window.snapshot()))  # type: ignore[assignment]
        window.add(time_ms, (amount,) if amount else ())
        _check(window, [(at, of) for at, _, of in log[: number + 1]], capacity)


def _check(window: EventCountWindow | SumWindow, seen: list[tuple[int, int]], capacity: int) -> None:
    """Compare what is reached with (time, amount) pairs, for all timespans and thresholds."""
    latest = max(at for at, _ in seen)
    assert window.last == latest
    for span in SPANS:
        inside = sorted(((at, of) for at, of in seen if latest - span < at <= latest), reverse=True)
        for threshold in range(1, capacity + 1):
            total, first = 0, None
            for at, of in inside:
                total += of
                if total >= threshold and first is None:
                    first = at
            assert window.reached(threshold, span) == (first is not None)
            if first is not None:
                assert window.nth_latest(threshold) == first
        assert min(window.count_after(latest - span), capacity) == min(sum(of for _, of in inside), capacity)


@settings(max_examples=1_000)
@given(events, st.integers(1, 6), st.integers(0, 60))
def test_counts_values_as_brute_force_does(
    log: list[tuple[int, list[int]]], capacity: int, restored_at: int
) -> None:
    window = ValueCountWindow(capacity)
    for number, (time_ms, named_now) in enumerate(log):
        if number == restored_at:
            window = restore_window(over_the_wire(window.snapshot()))  # type: ignore[assignment]
        window.add(time_ms, named_now)
        seen = log[: number + 1]
        latest = max(t for t, _ in seen)
        assert window.last == latest
        of_value: dict[int, int] = {}
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


in_order = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=40)


@settings(max_examples=1_000)
@given(in_order, in_order, st.integers(1, 12))
def test_several_events_at_once_are_as_good_as_one_by_one(
    before: list[tuple[int, int]], after: list[tuple[int, int]], capacity: int
) -> None:
    """Gaps between events and what each adds (0: a value like others, an amount of none)."""
    for kind in (EventCountWindow, ValueCountWindow, SumWindow):
        one_by_one, together = kind(capacity), kind(capacity)
        now, entries = 0, []
        for number, (gap, value) in enumerate(before + after):
            now += gap
            values = () if isinstance(one_by_one, EventCountWindow) else (value,)
            if isinstance(one_by_one, SumWindow) and not value:
                values = ()
            grown = one_by_one.add(now, values)
            assert grown <= max(1, value)
            if number < len(before):
                together.add(now, values)
            elif values or isinstance(together, EventCountWindow):
                entries.append((now, value))
        if after:
            assert together.extend(now, entries) >= len(set(entries)) * (kind is EventCountWindow)
        assert together.snapshot() == one_by_one.snapshot()


@settings(max_examples=1_000)
@given(events, st.integers(1, 6), st.integers(1, 50), st.randoms())
def test_forgetting_what_no_rule_looks_back_to_changes_nothing(
    log: list[tuple[int, list[int]]], capacity: int, longest: int, random: Random
) -> None:
    pairs = [(kind(capacity), kind(capacity)) for kind in (EventCountWindow, ValueCountWindow, SumWindow)]
    for time_ms, named in log:
        for whole, trimmed in pairs:
            given = [7, *named[:1]] if isinstance(whole, SumWindow) else named
            given = named[:1] if isinstance(whole, EventCountWindow) else given
            whole.add(time_ms, given)
            trimmed.add(time_ms, given)
            if random.random() < 0.3:
                trimmed.trim(trimmed.last - longest)
            for span in range(1, longest + 1):
                for threshold in range(1, capacity + 1):
                    assert trimmed.reached(threshold, span) == whole.reached(threshold, span)
    for _, trimmed in pairs:
        trimmed.trim(trimmed.last)
        assert len(trimmed) <= 1


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


@pytest.mark.parametrize("kind", [EventCountWindow, ValueCountWindow, SumWindow])
def test_memory_stays_proportional_to_the_capacity(kind: type[Window]) -> None:
    window = kind(10)
    for number in range(10_000):
        window.add(number, (1, number) if kind is SumWindow else (number,))
        assert len(window._times) <= 2 * 10 + 64
    assert len(window) == 10
    assert sum(map(len, window.snapshot()[5:])) <= 3 * 8 * 10


def test_a_value_seen_again_moves_and_counts_once() -> None:
    window = ValueCountWindow(3)
    for number in range(5_000):
        window.add(number, (number % 3,))
    assert window.reached(3, 3)
    assert not window.reached(3, 2)
    assert len(window._times) < 100


def test_an_event_without_values_still_moves_the_window() -> None:
    window = ValueCountWindow(1)
    window.add(100, [1])
    window.add(200, [])
    assert window.last == 200
    assert not window.reached(1, 100)
    assert window.lost == NEVER


def test_a_snapshot_of_another_version_is_refused() -> None:
    with pytest.raises(InvariantError, match="version 3"):
        restore_window([3, *EventCountWindow(1).snapshot()[1:]])


def test_snapshots_of_the_version_before_are_read() -> None:
    """Values were kept as they were: each counts as the same value that comes again."""
    two = array("q", [5, 9]).tobytes()
    counted = restore_window([1, 0, 3, 9, NEVER, two])
    assert (counted.reached(2, 5), counted.reached(2, 4), counted.last) == (True, False, 9)
    pseudonym = "k1:0123456789abcdef01234567"
    named = restore_window([1, 1, 3, 9, 4, two, [pseudonym, "plain"]])
    assert (len(named), named.lost) == (2, 4)
    named.add(10, [pseudonym_number(pseudonym), text_number("plain")])
    assert len(named) == 2
    named.add(11, [text_number("other")])
    assert named.reached(3, 2)


@pytest.mark.parametrize(("kind", "most"), [(EventCountWindow, 10), (SumWindow, 20), (ValueCountWindow, 120)])
def test_memory_is_what_the_documents_say(
    kind: type[EventCountWindow | SumWindow | ValueCountWindow], most: int
) -> None:
    """docs/rules.md: 8 bytes an event, 16 a sum's entry, about 116 a value; never more than the threshold."""
    rng = random.Random(1)
    numbers = [rng.getrandbits(64) if kind is ValueCountWindow else 1 for _ in range(120_000)]
    tracemalloc.start()
    window = kind(40_000)
    for time_ms, number in enumerate(numbers):
        window.add(time_ms, () if kind is EventCountWindow else (number,))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(window) == 40_000
    # What was dropped may take up as much again until it is moved away.
    assert held / 40_000 < 2 * most


def test_a_repr_tells_no_value() -> None:
    window = ValueCountWindow(3)
    window.add(1, [4711])
    assert repr(window) == "ValueCountWindow(1 of 3)"
