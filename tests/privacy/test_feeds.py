"""What is usual on a feed is known by the hour of the week, and outlives a restart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.intake.event import Event
from monitor.intake.feeds import HOURS, Feed, Numbers, Week
from monitor.observe.metrics import Metrics, samples

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

HOUR_MS = 3_600_000
#: The beginning of an hour.
START_MS = 500_000 * HOUR_MS


@dataclass
class Record:
    """As much of a Kafka record as a feed reads."""

    timestamp: int


def gauges(metrics: Metrics) -> dict[str, float]:
    return {
        name.removeprefix("access_monitor_") + "".join(labels.values()): value
        for name, labels, value in samples(metrics)
        if "source" in labels
    }


def filled(weeks: int, every_ms: Any, *, week: Week | None = None, start_ms: int = START_MS) -> Week:
    """Return a week of which each hour brought a record every so often."""
    week = week or Week()
    for hour in range(weeks * HOURS + 2):
        step = every_ms(hour % HOURS)
        begin = start_ms + hour * HOUR_MS
        week.took(list(range(begin, begin + HOUR_MS, step)))
    return week


@pytest.fixture(scope="module")
def usual() -> Week:
    """A day and a night: a record every 10 s, or every 10 min from 20 to 6 o'clock."""
    return filled(1, lambda hour: 600_000 if (hour % 24) >= 20 or (hour % 24) < 6 else 10_000)


def test_rate_and_silence_are_those_of_the_same_hour_of_the_week(usual: Week):
    noon, night = START_MS + (HOURS + 12) * HOUR_MS, START_MS + (HOURS + 25) * HOUR_MS
    assert usual.usual_per_second(noon) == pytest.approx(0.1, rel=0.1)
    assert usual.usual_per_second(night) == pytest.approx(1 / 600, rel=0.1)
    assert usual.silence_limit_seconds(noon) == 60.0
    assert usual.silence_limit_seconds(night) == pytest.approx(1800, rel=0.15)


def test_nothing_is_usual_before_a_whole_hour_was_seen():
    week = Week()
    assert week.silence_limit_seconds(START_MS) is None
    week.took([START_MS + 1_800_000, START_MS + 1_801_000])
    week.took([START_MS + HOUR_MS + 1])
    assert week.usual_per_second(START_MS) is None  # half an hour is no hour
    week.took([START_MS + 2 * HOUR_MS + 1])
    assert week.usual_per_second(START_MS + HOUR_MS) == pytest.approx(1 / 3600, rel=0.1)
    assert week.silence_limit_seconds(START_MS + 90 * HOUR_MS) == pytest.approx(3 * 3600, rel=0.1)


def test_a_dead_feed_is_soon_told_from_a_slow_one(usual: Week):
    """The dead-man: an hour by day without a record, by the numbers that the alert compares."""
    metrics = Metrics()
    feed = Feed("gate", metrics)
    feed.open(usual)
    last_ms = usual.last_ms
    feed.refresh(START_MS + (HOURS + 12) * HOUR_MS)
    said = gauges(metrics)
    assert said["feed_last_record_timestamp_secondsgate"] == last_ms / 1000
    assert said["feed_silence_limit_secondsgate"] == 60.0
    assert said["feed_usual_records_per_secondgate"] == pytest.approx(0.1, rel=0.1)
    feed.close(usual)
    feed.refresh(START_MS)
    assert gauges(metrics)["feed_silence_limit_secondsgate"] == 0


@given(st.lists(st.integers(0, 3 * HOUR_MS), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_neither_chunks_nor_restarts_change_what_is_usual(gaps: list[int], rng: random.Random):
    times, at = [], START_MS
    for gap in gaps:
        at += gap
        times.append(at)
    whole, parts = Week(), Week()
    for at in times:
        whole.took([at])
    while times:
        size = rng.randint(1, 10)
        chunk, times = times[:size], times[size:]
        parts.took(chunk)
        if rng.random() < 0.3:
            note, parts = parts.note, Week()
            parts.recall(note)
    assert len(whole.note) < 500
    for hour in range(HOURS):
        now_ms = START_MS + hour * HOUR_MS
        assert parts.usual_per_second(now_ms) == whole.usual_per_second(now_ms)
        mine, other = parts.silence_limit_seconds(now_ms), whole.silence_limit_seconds(now_ms)
        # Records within 10 s are taken together, and a note knows whole seconds.
        assert (mine is None) == (other is None)
        if mine is not None and other is not None:
            assert mine == pytest.approx(other, rel=0.2, abs=40)


@pytest.mark.parametrize("note", ["", "1:", "1:!!", "1:AAAA", "2:AAAA", "somebody else's"])
def test_a_note_of_somebody_else_says_nothing(note: str):
    week = Week()
    week.recall(note)
    assert week.silence_limit_seconds(START_MS) is None


def test_clock_skew_is_the_least_delay_by_gateway():
    metrics = Metrics()
    feed = Feed("gate", metrics)
    for now_ms, delay_ms, gateway in ((0, 5_000, "a"), (10, -90_000, "b"), (20, 200, "a"), (30, 60_000, "a")):
        event = Event(START_MS, "r", 200, gateway=gateway)
        feed.sample(Record(START_MS + delay_ms), event, now_ms)
    said = gauges(metrics)
    assert said["gateway_clock_ahead_secondsgatea"] == -0.2
    assert said["gateway_clock_ahead_secondsgateb"] == 90.0
    assert said["feed_delay_secondsgate"] == 60.0


def test_a_skew_that_is_mended_is_forgotten():
    metrics = Metrics()
    feed = Feed("gate", metrics)
    for now_ms, delay_ms in ((0, -90_000), (70_000, 500), (140_000, 500)):
        feed.sample(Record(START_MS + delay_ms), Event(START_MS, "r", 200), now_ms)
    assert gauges(metrics)["gateway_clock_ahead_secondsgate"] == -0.5


def test_gateways_have_bounded_labels():
    metrics = Metrics()
    feed = Feed("gate", metrics)
    for number in range(1_000):
        feed.sample(Record(START_MS), Event(START_MS, "r", 200, gateway=f"made-up-{number}"), 0)
        feed.numbered(f"made-up-{number}", number)
    assert len([name for name in gauges(metrics) if name.startswith("gateway_clock")]) <= 33


@given(st.lists(st.integers(0, 50), max_size=80))
def test_a_number_counts_once(numbers: Sequence[int]):
    seen = Numbers()
    assert sum(seen.take(number) for number in numbers) == len(set(numbers))
    assert seen.highest == max(numbers, default=-1)


def test_missing_numbers_show_over_all_workers():
    """Two workers read the partitions of one gateway: the highest number rises by more than what came."""
    workers = [Metrics(), Metrics()]
    feeds = [Feed("gate", metrics) for metrics in workers]
    for number in range(1, 101):
        if number not in (17, 18, 60):
            feeds[number % 2].numbered("g", number)
            feeds[number % 2].numbered("g", number)  # delivered twice
    said = [gauges(metrics) for metrics in workers]
    highest = max(one["feed_highest_numbergateg"] for one in said)
    counted = sum(one["feed_numbered_records_totalgateg"] for one in said)
    assert highest - counted == 3


def test_a_counter_that_begins_anew_is_followed():
    numbers = Numbers()
    numbers.take(5_000_000)
    numbers.take(1)
    assert numbers.highest == 1
