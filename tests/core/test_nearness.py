"""How near rules came to their thresholds, and what subjects hold: both without a look at each event."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.census import Held
from monitor.core.events import RowsRecord
from tests.core.samples import EVENTS, event, new_detector, rule

pytestmark = pytest.mark.usefixtures("both_detectors")

TIMESPAN_MS = 100
THRESHOLD = 5


@given(st.lists(st.integers(0, 40), min_size=1, max_size=30))
def test_the_nearest_is_what_a_count_by_hand_says_of_each_subjects_last_event(gaps: list[int]):
    rules = [rule(timespan_ms=TIMESPAN_MS, threshold=THRESHOLD), rule("half", threshold=10)]
    detector = new_detector(rules, lateness_ms=10_000)
    times = [1_000 + sum(gaps[: at + 1]) for at in range(len(gaps))]
    rows = [event(at, time_ms, principal=f"p{at % 2}") for at, time_ms in enumerate(times)]
    detector.apply(RowsRecord(EVENTS, 0, len(rows) - 1, resume=False, rows=rows), 0, times[-1])
    assert detector.take_nearest() == {}  # only a look finds it
    for key in detector.subjects.take_dirty():
        detector.snapshot_subject(key)
    by_hand = 0
    for own in (times[::2], times[1::2]):
        by_hand = max(by_hand, sum(time_ms > own[-1] - TIMESPAN_MS for time_ms in own) if own else 0)
    by_hand = min(by_hand, 10)  # windows keep no more than the largest threshold
    assert detector.take_nearest() == {"r": by_hand / THRESHOLD, "half": by_hand / 10}
    assert detector.take_nearest() == {}


def test_a_round_counts_what_all_subjects_hold():
    detector = new_detector([rule(counted="patient", threshold=50)])
    rows = [
        event(at, 1_000 + at, principal=f"p{at % 3}", patients=((f"{at:024x}", None),)) for at in range(30)
    ]
    detector.apply(RowsRecord(EVENTS, 0, 29, resume=False, rows=rows), 0, 1_029)
    for key in detector.subjects.take_dirty():
        detector.snapshot_subject(key)
    assert detector.subjects.census.last == Held()
    for _ in range(6):
        detector.sweep(1_029, 2)
    # 10 patients each, of 16 bytes, in a window and in the history.
    assert detector.subjects.census.last == Held(windows=3, packed_bytes=3 * 10 * 16 * 2)
    assert detector.subjects.rest(("principal", "gw/p0"), b"packed")
    for _ in range(6):
        detector.sweep(1_029, 2)
    assert detector.subjects.census.last == Held(windows=2, packed_bytes=2 * 10 * 16 * 2 + len(b"packed"))
