"""Which events wait to be counted together, and that whoever must not wait does not."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pytest

from monitor.core.detector import Detector
from monitor.core.subject import Subject
from tests.core.samples import rule, rules_record
from tests.core.test_detector import NOW, Feed

if TYPE_CHECKING:
    from monitor.core.findings import Place

pytestmark = pytest.mark.usefixtures("both_detectors")

FAR = 60_000


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the times of the events that were counted by themselves."""
    times: list[int] = []
    judge = Detector._judge

    def noting(self: Detector, subject: Subject | None, row: Any, place: Place) -> None:
        times.append(row[4])
        judge(self, subject, row, place)

    monkeypatch.setattr(Detector, "_judge", noting)
    return times


@pytest.mark.parametrize(
    ("kinds", "each", "alone"),
    [
        ({}, 1, 30),
        ({"counted": "patient"}, 3, 10),
        ({"counted": "records"}, 4, 10),
        ({"counted": "patient", "group_by": ("principal", "tenant")}, 3, 10),
    ],
)
def test_most_events_wait_and_the_finding_comes_with_the_event_that_reaches_the_threshold(
    kinds: dict[str, Any], each: int, alone: int, judged: list[int]
) -> None:
    feed, number = Feed(rule(timespan_ms=FAR, threshold=100, **kinds)), 0
    found: list[Any] = []
    while not found:
        patients = [(f"{number}-{place}", "t") for place in range(3)]
        found = feed.event(NOW + number, patients=patients, tenant="t", records=4).findings
        number += 1
    assert number == -(-100 // each)
    assert found[0]["window"]["first_ms"] == NOW + (number - 1) - (-(-100 // each) - 1)
    assert len(judged) <= alone


def test_what_waits_is_counted_by_the_rules_under_which_it_came() -> None:
    first, second = (
        rule("first", timespan_ms=FAR, threshold=100),
        rule("second", counted="route", threshold=5),
    )
    feed = Feed(first)
    for number in range(20):
        feed.event(NOW + number, route=f"/{number}")
    feed.detector.activate(rules_record([first, second], 2), NOW + 20)
    found = [feed.event(NOW + 20 + number, route=f"/{number}").findings for number in range(5)]
    assert [[one["rule"]["id"] for one in of] for of in found] == [[], [], [], [], ["second"]]


def test_what_is_too_late_under_an_earlier_rule_set_does_not_wait() -> None:
    feed = Feed(rule(timespan_ms=1000, threshold=30), lateness_ms=500)
    feed.event(NOW - 1800)
    feed.detector.activate(rules_record([rule(timespan_ms=FAR, threshold=30)], 2), NOW)
    late = [feed.event(NOW - 1700 + number, append_ms=NOW + 1) for number in range(10)]
    assert [outcomes.counters["too_late"] for outcomes in late] == [1] * 10


def test_a_crafted_event_among_those_that_wait_fails_alone() -> None:
    feed = Feed(rule(timespan_ms=FAR, threshold=40), rule("patients", counted="patient", threshold=40))
    outcomes: list[Any] = []
    for number in range(20):
        patient: Any = ["no text"] if number == 7 else "a"
        outcomes.append(feed.event(NOW + number, patients=[(patient, None)]))
    feed.detector.snapshot_subject(("principal", "gw/p"))
    outcomes.append(feed.detector.take_outcomes())
    assert sum(one.counters["applied"] for one in outcomes) == 19
    assert sum(one.counters["internal"] for one in outcomes) == 1
    assert [failure.offset for one in outcomes for failure in one.failed] == [7]
    found = [number for number in range(20, 41) if feed.event(NOW + number).findings]
    assert found == [40]


def test_nothing_is_kept_of_subjects_that_had_events_waiting(judged: list[int]) -> None:
    """Who was counted may be at rest by now, or freed: in a list they would be as many as events waited."""

    def held() -> int:
        return sum(isinstance(one, Subject) for one in gc.get_objects())

    feed, before = Feed(rule(timespan_ms=FAR, threshold=100)), held()
    if type(feed.detector) is not Detector:
        pytest.skip("the native detector holds no subjects in Python")
    keys = [("principal", f"gw/{number}") for number in range(50)]
    for number in range(100):
        feed.event(NOW + number, subject=keys[number % 50][1])
    assert (held(), len(judged)) == (before + len(keys), len(keys))
    for key in keys:
        feed.detector.snapshot_subject(key)
    feed.detector.subjects.take_dirty()
    freed = [feed.detector.sweep(NOW + 10 * FAR, len(keys)) for _ in range(2)]
    assert sum(map(len, freed)) == len(keys)
    assert held() == before
