"""What is counted and said beside findings."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.core.events import RowsRecord
from monitor.core.sentences import duration, summary
from tests.core.samples import EVENTS, event, rule
from tests.core.test_detector import NOW, Feed

pytestmark = pytest.mark.usefixtures("both_detectors")


def test_rows_that_came_before_are_told_as_duplicates_and_the_others_as_applied() -> None:
    feed = Feed(rule(threshold=9))
    rows = [event(offset, NOW) for offset in (0, 1, 1, 2)]
    feed.detector.apply(RowsRecord(EVENTS, 0, 1, True, rows[:3]), 10, NOW)
    feed.detector.apply(RowsRecord(EVENTS, 0, 2, True, rows), 11, NOW)
    counters = feed.detector.take_outcomes().counters
    assert (counters["applied"], counters["duplicates"], counters["gaps"]) == (4, 3, 0)
    feed.detector.apply(RowsRecord(EVENTS, 9, 9, False, [event(9, NOW)]), 12, NOW)
    assert feed.detector.take_outcomes().counters["gaps"] == 1


@pytest.mark.parametrize("crafted", [[], ["no offset"], [None, 0]])
def test_a_row_without_an_offset_fails_at_the_end_of_its_record(crafted: Any) -> None:
    feed = Feed(rule(threshold=1))
    feed.detector.apply(RowsRecord(EVENTS, 0, 7, True, [crafted, event(7, NOW)]), 10, NOW)
    outcomes = feed.detector.take_outcomes()
    assert [failure.offset for failure in outcomes.failed] == [7]
    assert (outcomes.counters["internal"], outcomes.counters["applied"], len(outcomes.findings)) == (1, 1, 1)


def test_a_recovered_subject_tells_each_row_that_it_holds() -> None:
    feed = Feed(rule(threshold=9))
    feed.detector.restore_subject(("principal", "gw/p"), 10, None)
    outcomes = feed.take(event(0, NOW), event(0, NOW), append_ms=NOW)
    assert outcomes.counters["replay_skipped"] == 2


@pytest.mark.parametrize(
    ("group_by", "expected"),
    [
        (
            ("principal",),
            "p received at least 200 records in 4 min 12 s; its limit is 200 in 10 min",
        ),
        (
            ("patient",),
            "One patient's records were read in answers of at least 200 records in 4 min 12 s; the limit is 200 in 10 min",
        ),
        (
            ("route",),
            "One route had answers of at least 200 records in 4 min 12 s; the limit is 200 in 10 min",
        ),
    ],
)
def test_a_summary_of_a_sum_says_at_least_how_much(group_by: tuple[str, ...], expected: str) -> None:
    one = rule(counted="records", group_by=group_by, timespan_ms=600_000, threshold=200)
    assert summary(one, "gw/p", 200, 252_000, 1, more=False) == expected


@pytest.mark.parametrize(("span_ms", "expected"), [(90_061_000, "1 d 1 h"), (3_661_000, "1 h 1 min")])
def test_a_duration_of_three_units_is_told_in_two(span_ms: int, expected: str) -> None:
    assert duration(span_ms) == expected


@pytest.mark.parametrize(("later", "remembered"), [(15, True), (16, False)])
def test_an_incident_begins_with_the_window_of_its_finding_where_that_is_remembered(
    later: int, *, remembered: bool
) -> None:
    """Each finding of a credential is remembered until 16 more came."""
    feed = Feed(
        rule(timespan_ms=1000, threshold=2), rule("each", group_by=("principal", "route"), threshold=1)
    )
    feed.event(NOW, patients=[("early", None)])
    found = feed.event(NOW + 50).findings
    assert [one["rule"]["id"] for one in found] == ["r"]
    for number in range(later):
        assert len(feed.event(NOW + 600 + number, route=f"/{number}").findings) == 1
    feed.status(NOW + 700, 1, "suspended", found[0]["id"])
    (told,) = feed.event(NOW + 701, patients=[("late", None)]).observations
    assert told["patients"] == (2 if remembered else 1)


@pytest.mark.parametrize(("status", "read"), [(199, 0), (200, 1), (299, 1), (300, 0)])
def test_only_a_success_tells_of_a_patient_who_was_read(status: int, read: int) -> None:
    feed = Feed(rule(timespan_ms=1000, threshold=1))
    (found,) = feed.event(NOW, status=status, patients=[("p", None)]).findings
    assert found["patients"] == read


def test_an_incident_without_a_patient_tells_of_none() -> None:
    feed = Feed(rule(timespan_ms=1000, threshold=1))
    (found,) = feed.event(NOW, patients=[]).findings
    feed.status(NOW + 1, 1, "suspended", found["id"])
    (told,) = feed.event(NOW + 2, patients=[]).observations
    assert (told["what"], told["patients"], told["patients_capped"]) == ("leaked", 0, False)


def test_how_many_subjects_wait_to_be_saved_is_known() -> None:
    feed = Feed(rule(timespan_ms=1000, threshold=9))
    counts = []
    for name in ("a", "b", "a"):
        feed.event(NOW, principal=name)
        counts.append(feed.detector.subjects.dirty_count)
    assert counts == [1, 2, 2]
    feed.detector.subjects.take_dirty()
    assert feed.detector.subjects.dirty_count == 0
