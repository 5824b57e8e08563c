"""Where something ends, to the millisecond and to the offset."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from monitor.core.events import RowsRecord
from monitor.core.rules import Rule, RuleSet, rule_revision, rule_set_document, rule_set_from_document
from tests.core.samples import EVENTS, event, new_detector, rule, rules_record
from tests.core.test_detector import NOW, Feed

pytestmark = pytest.mark.usefixtures("both_detectors")


@pytest.mark.parametrize("kinds", [{}, {"counted": "patient"}, {"counted": "records"}])
def test_a_late_event_meets_what_is_less_than_a_timespan_older(kinds: dict[str, Any]) -> None:
    """However late: what it meets is kept until nothing can meet it any more."""
    for gap_ms, expected in ((999, 1), (1000, 0)):
        feed = Feed(rule(timespan_ms=1000, threshold=2, **kinds), lateness_ms=500)
        feed.event(NOW, patients=[("a", None)], records=1)
        time_ms = NOW + gap_ms
        late = feed.event(time_ms, append_ms=time_ms + 1500, patients=[("b", None)], records=1)
        assert late.counters["too_late"] == 0
        assert len(late.findings) == expected


def test_a_latch_is_kept_as_long_as_an_event_can_come_that_finds_it_shut() -> None:
    feed = Feed(rule(timespan_ms=1000, threshold=1), lateness_ms=500)
    assert len(feed.event(NOW).findings) == 1
    assert [key for _ in range(3) for key in feed.detector.sweep(NOW + 2500, 10)] == []
    assert not feed.event(NOW + 1000, append_ms=NOW + 2500).findings


@pytest.mark.parametrize(("at_ms", "warming"), [(NOW - 1000, False), (NOW - 999, True)])
def test_a_rule_warms_where_its_window_begins_before_it_was_counted(at_ms: int, *, warming: bool) -> None:
    feed = Feed(rule(timespan_ms=1000, threshold=1), at_ms=at_ms)
    (found,) = feed.event(NOW).findings
    assert found["warming"] is warming


def test_what_was_too_late_stays_so_through_several_rule_sets() -> None:
    feed = Feed(rule(timespan_ms=1000, threshold=1), lateness_ms=500)
    for version, timespan_ms in enumerate((60_000, 90_000, 120_000), 2):
        feed.detector.activate(rules_record([rule(timespan_ms=timespan_ms, threshold=1)], version), NOW)
    assert feed.event(NOW - 1501, append_ms=NOW + 1).counters["too_late"] == 1
    assert feed.event(NOW - 1500, append_ms=NOW + 1).counters["too_late"] == 0


def test_where_no_rule_counts_an_event_may_be_as_late_as_is_allowed() -> None:
    feed = Feed(rule(group_by=("route",)), lateness_ms=500)
    assert feed.event(NOW - 500, append_ms=NOW, patients=[("a", None)]).counters["too_late"] == 0
    assert feed.event(NOW - 501, append_ms=NOW, patients=[("a", None)]).counters["too_late"] == 1


def test_rows_up_to_the_stamp_of_a_rule_set_are_skipped_and_told_of() -> None:
    recovered = new_detector()
    recovered.restore_rules(new_detector([rule(threshold=1)]).snapshot_rules(), 10)
    rows = [event(0, NOW), event(0, NOW)]
    recovered.apply(RowsRecord(EVENTS, 0, 0, True, rows), 10, NOW)
    skipped = recovered.take_outcomes()
    assert (skipped.counters["replay_skipped"], skipped.findings, recovered.subject_count) == (2, [], 0)
    assert recovered.marks.mark(EVENTS) == 0
    recovered.apply(RowsRecord(EVENTS, 1, 1, False, [event(1, NOW)]), 11, NOW)
    counted = recovered.take_outcomes()
    assert (counted.counters["replay_skipped"], len(counted.findings)) == (0, 1)


def test_a_subject_just_recovered_is_freed_no_sooner_than_its_rows_have_come_again() -> None:
    feed = Feed(rule(timespan_ms=100, threshold=1), lateness_ms=0)
    feed.detector.restore_subject(("principal", "gw/p"), 12, None)
    freed: list[int] = []
    for _ in range(4):
        assert not feed.take(append_ms=NOW).findings  # offsets 10 to 13
        freed.append(sum(len(feed.detector.sweep(NOW + 10_000, 10)) for _ in range(3)))
    assert freed[:2] == [0, 0]
    assert sum(freed) == 1


def test_a_history_does_not_grow_with_rule_sets_of_the_same_sizes() -> None:
    counted = rule(timespan_ms=1000, threshold=3)
    detector = new_detector([counted], at_ms=NOW)
    for version in range(2, 6):
        assert detector.activate(rules_record([counted], version), NOW + version)
    *_, timespans, capacity = detector.snapshot_rules()[4][counted.window_key]
    assert (timespans, capacity) == ([[1000, NOW]], [[3, NOW]])


def test_a_document_keeps_the_revision_that_a_rule_has_and_gives_one_to_each_other() -> None:
    plain = rule()
    marked = Rule("m", "M", "event_count", plain.condition, ("principal",), 1000, 1, revision="as-it-was")
    read = rule_set_from_document(rule_set_document(RuleSet((plain, marked)))).rules
    assert [one.revision for one in read] == [rule_revision(plain), "as-it-was"]
    assert replace(plain, revision="another") == plain


def test_documents_of_this_version_and_of_the_first_are_read_and_no_others() -> None:
    document = rule_set_document(RuleSet((rule(),)))
    assert document["version"] == 2
    assert rule_set_from_document(document | {"version": 1}).rules == (rule(),)
    for version in (0, 3, None):
        with pytest.raises(ValueError, match="this monitor reads 1 and 2"):
            rule_set_from_document(document | {"version": version})


def _sweep_twice(feed: Feed, append_ms: int) -> int:
    """Go round all subjects twice; return the bytes that the second round finds."""
    assert [freed for _ in range(4) for freed in feed.detector.sweep(append_ms, 10)] == []
    return feed.detector.subjects.census.last.packed_bytes


def test_a_sweep_forgets_what_no_rule_looks_back_to() -> None:
    feed = Feed(rule(timespan_ms=1000, threshold=9), lateness_ms=500)
    for time_ms in (NOW, NOW + 1, NOW + 500, NOW + 1500):
        feed.event(time_ms)
    assert _sweep_twice(feed, NOW + 1500) == 8
    feed.detector.activate(rules_record([rule("other", group_by=("route",))], 2), NOW + 1501)
    assert _sweep_twice(feed, NOW + 1502) == 8


def test_a_subject_is_saved_without_what_no_rule_looks_back_to() -> None:
    feed = Feed(rule(timespan_ms=1000, threshold=9), lateness_ms=500)
    for time_ms in (NOW, NOW + 1, NOW + 500, NOW + 1500):
        feed.event(time_ms)
    (series,) = feed.detector.snapshot_subject(("principal", "gw/p"))[3]
    assert len(series[5][5]) == 8


@pytest.mark.parametrize("kinds", [{}, {"counted": "patient"}, {"counted": "records"}])
@pytest.mark.parametrize("freed", ["never", "before", "saved"])
def test_a_longer_timespan_finds_the_same_whether_or_not_memory_was_freed(
    freed: str, kinds: dict[str, Any]
) -> None:
    """What lay before the timespan of then is gone for each, not only for those that a sweep looked at."""
    feed = Feed(rule(timespan_ms=1000, threshold=3, **kinds), lateness_ms=500)
    for number in range(3):
        feed.event(NOW + 1000 * number, patients=[(f"{number:024x}", None)], records=1)
    if freed == "before":
        _sweep_twice(feed, NOW + 2000)
    elif freed == "saved":
        plain = feed.detector.snapshot_subject(("principal", "gw/p"))
        feed.detector.restore_subject(("principal", "gw/p"), 12, plain)
    feed.detector.activate(rules_record([rule(timespan_ms=60_000, threshold=3, **kinds)], 2), NOW + 2000)
    found = [
        len(feed.event(NOW + 2000 + after_ms, patients=[(f"{after_ms:024x}", None)], records=1).findings)
        for after_ms in (1000, 2000, 3000)
    ]
    assert found == [0, 1, 0]
