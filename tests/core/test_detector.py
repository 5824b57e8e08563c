"""What the detector says and does, case by case."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from monitor.core import batching, plan
from monitor.core.events import Row, RowsRecord, RulesRecord
from monitor.core.outcomes import Failure
from monitor.core.rules import Match, Rule
from monitor.errors import InvariantError
from tests.core.samples import (
    EVENTS,
    SUCCESS,
    Entry,
    event,
    new_detector,
    over_the_wire,
    put,
    rule,
    rules_record,
    status_row,
)

if TYPE_CHECKING:
    from monitor.core.detector import Detector

pytestmark = pytest.mark.usefixtures("both_detectors")

NOW = 1_000_000


class Feed:
    """Gives rows to a detector, each in a record of its own."""

    def __init__(self, *rules: Rule, at_ms: int = 0, lateness_ms: int = 10_000) -> None:
        self.detector = new_detector(rules, at_ms=at_ms, lateness_ms=lateness_ms)
        self.next = 0

    def take(self, *rows: Row, append_ms: int) -> Any:
        """Apply rows as the next source offset; return the outcomes."""
        offset, self.next = self.next, self.next + 1
        numbered = [(offset, *row[1:]) for row in rows]
        record = RowsRecord(EVENTS, offset, offset, offset == 0, numbered)
        self.detector.apply(record, 10 + offset, append_ms)
        return self.detector.take_outcomes()

    def event(self, time_ms: int, *, append_ms: int | None = None, **columns: Any) -> Any:
        """Apply one event, by default appended when it happened."""
        return self.take(event(0, time_ms, **columns), append_ms=append_ms or time_ms)

    def status(self, time_ms: int, version: int, status: str, finding: str | None = None) -> Any:
        """Apply a change of status."""
        return self.take(status_row(0, time_ms, version, status, finding=finding), append_ms=time_ms)


def test_a_finding_says_everything_that_the_contract_names() -> None:
    feed = Feed(
        rule("many", counted="patient", timespan_ms=600_000, threshold=2, condition=SUCCESS), at_ms=NOW
    )
    feed.event(NOW, patients=[("ann", "t1")])
    outcomes = feed.event(NOW + 252_000, patients=[("bob", None)], tenant="t2", route="/p/{id}")
    [found] = outcomes.findings
    identity = found.pop("id")
    assert len(identity) == 32
    assert int(identity, 16)
    assert len(found["rule"].pop("revision")) == 16
    assert found == {
        "v": 1,
        "kind": "finding",
        "rule": {"id": "many", "title": "Many", "level": "medium", "runbook": "x"},
        "action": "alert",
        "mode": "shadow",
        "ttl_ms": None,
        "axis": "principal",
        "subject": "gw/p",
        "realm": "gw",
        "principal": "p",
        "principal_kind": "api_key",
        "principal_class": "partner",
        "group": {},
        "value": 2,
        "threshold": 2,
        "window": {
            "from_ms": NOW - 348_000,
            "to_ms": NOW + 252_000,
            "timespan_ms": 600_000,
            "first_ms": NOW,
        },
        "event": {
            "topic": "events",
            "topic_id": "id-of-events",
            "partition": 0,
            "offset": 1,
            "time_ms": NOW + 252_000,
            "route": "/p/{id}",
        },
        "patients": 2,
        "patients_capped": False,
        "tenants": 2,
        "straggler": False,
        "stale": False,
        "warming": True,
        "observed_ms": NOW + 252_000,
        "routed": {"partition": 3, "offset": 11},
        "summary": "p read 2 different patients of 2 practices in 4 min 12 s; its limit is 2 in 10 min",
    }


def test_a_finding_about_a_patient_names_no_credential_and_its_sentence_no_patient() -> None:
    feed = Feed(rule(counted="principal", group_by=("patient",), timespan_ms=600_000))
    rows = [event(0, NOW, principal=name, axis="patient", subject="pseudonym") for name in ("p", "q")]
    [found] = feed.take(*rows, append_ms=NOW).findings
    assert (found["realm"], found["principal"], found["principal_kind"]) == (None, None, None)
    assert (found["axis"], found["subject"], found["patients"]) == ("patient", "pseudonym", 1)
    assert found["summary"] == (
        "One patient's records were read by 2 different credentials in less than 1 s; the limit is 2 in 10 min"
    )


def test_a_latch_shuts_and_opens_one_timespan_after_the_last_time_it_held() -> None:
    feed = Feed(rule(timespan_ms=100, threshold=2))
    counts = [len(feed.event(NOW + at).findings) for at in (0, 10, 20, 110, 119, 219, 320, 330)]
    # 10 finds; 20, 110, 119 hold with the latch shut; 219 and 320 stand alone; 330 holds again.
    assert counts == [0, 1, 0, 0, 0, 0, 0, 1]


def test_a_status_that_makes_the_credential_active_opens_its_latches() -> None:
    feed = Feed(rule(timespan_ms=1000, threshold=1))
    assert len(feed.event(NOW).findings) == 1
    feed.status(NOW + 1, 1, "suspended")
    assert not feed.event(NOW + 2).findings
    feed.status(NOW + 3, 2, "active")
    assert len(feed.event(NOW + 4).findings) == 1


def test_refusals_of_a_refused_credential_do_not_count() -> None:
    feed = Feed(rule(timespan_ms=1000, threshold=3))
    feed.status(NOW, 1, "suspended")
    for at in range(5):
        assert not feed.event(NOW + 1 + at, status=(401, 403, 429)[at % 3]).findings
    assert not feed.event(NOW + 10, status=404).findings
    assert not feed.event(NOW + 11, status=200).findings
    assert len(feed.event(NOW + 12, status=500).findings) == 1


def test_an_incident_tells_of_leaks_by_powers_of_two_and_of_the_first_refusal() -> None:
    feed = Feed(rule(timespan_ms=1000, threshold=2, condition=SUCCESS))
    feed.event(NOW, patients=[("a", "t")])
    [found] = feed.event(NOW + 10, patients=[("b", "t")]).findings
    feed.status(NOW + 20, 4, "suspended", found["id"])
    before = feed.event(NOW + 20, append_ms=NOW + 21, patients=[("c", "t")])
    assert not before.observations
    told = []
    for number in range(9):
        told += feed.event(NOW + 30 + number, patients=[(f"d{number}", None)]).observations
    assert [one["leaked"] for one in told] == [1, 2, 4, 8]
    assert [one["patients"] for one in told] == [4, 5, 7, 11]
    assert {one["what"] for one in told} == {"leaked"}
    assert {one["finding"] for one in told} == {found["id"]}
    [refused] = feed.event(NOW + 50, status=403).observations
    assert refused == {
        "v": 1,
        "kind": "observation",
        "what": "refused",
        "finding": found["id"],
        "subject": "gw/p",
        "realm": "gw",
        "principal": "p",
        "status_version": 4,
        "time_ms": NOW + 50,
        "observed_ms": NOW + 50,
        "leaked": 9,
        "exposed": 0,
        "patients": 12,
        "patients_capped": False,
        "routed": {"partition": 3, "offset": 23},
    }
    assert not feed.event(NOW + 51, status=403).observations
    feed.status(NOW + 60, 5, "revoked", found["id"])
    [again] = feed.event(NOW + 61, status=401).observations
    assert (again["what"], again["status_version"], again["leaked"]) == ("refused", 5, 9)


def test_a_refusal_from_before_the_change_proves_nothing() -> None:
    feed = Feed(rule(timespan_ms=1000, threshold=1))
    [found] = feed.event(NOW).findings
    feed.status(NOW + 10, 1, "suspended", found["id"])
    assert not feed.event(NOW + 10, append_ms=NOW + 12, status=403).observations
    assert feed.event(NOW + 11, append_ms=NOW + 12, status=403).observations


def test_an_older_or_repeated_status_changes_nothing() -> None:
    feed = Feed(rule(timespan_ms=1000, threshold=1))
    feed.status(NOW, 3, "suspended", "f")
    feed.status(NOW + 1, 2, "active")
    feed.status(NOW + 1, 3, "active")
    assert feed.event(NOW + 2, status=403).observations
    feed.status(NOW + 3, 4, "active")
    feed.status(NOW + 4, 3, "suspended", "f")
    assert not feed.event(NOW + 5, status=403).observations


def test_a_finding_tells_where_there_were_more_patients_than_are_remembered() -> None:
    feed = Feed(rule(timespan_ms=10_000, threshold=1001))
    for number in range(1000):
        feed.event(NOW + number, patients=[(f"patient-{number}", f"t{number % 7}")])
    [found] = feed.event(NOW + 1000, patients=[("one-more", "t0")]).findings
    assert (found["patients"], found["patients_capped"], found["tenants"]) == (1000, True, 7)


def test_a_patient_forgotten_at_the_lower_bound_is_not_missed() -> None:
    feed = Feed(rule(timespan_ms=1000, threshold=1001))
    for number in range(1001):
        assert not feed.event(NOW + number, patients=[(f"patient-{number}", None)]).findings
    # The first one, at NOW, was forgotten; the window begins after it.
    [found] = feed.take(event(0, NOW + 1000), append_ms=NOW + 1000).findings
    assert (found["window"]["from_ms"], found["patients"], found["patients_capped"]) == (NOW, 1000, False)


def test_a_clock_that_runs_ahead_blinds_no_rule() -> None:
    feed = Feed(rule(timespan_ms=1000, threshold=2))
    outcomes = feed.event(NOW + 3_600_000, append_ms=NOW)
    assert outcomes.counters["clamped"] == 1
    [found] = feed.event(NOW + 10).findings
    assert found["window"]["to_ms"] == NOW + 10
    assert found["window"]["first_ms"] == NOW


def test_what_is_older_than_the_longest_timespan_and_the_lateness_has_no_effect() -> None:
    feed = Feed(rule(timespan_ms=1000, threshold=1), lateness_ms=500)
    outcomes = feed.event(NOW - 1501, append_ms=NOW)
    assert (outcomes.findings, outcomes.counters["too_late"]) == ([], 1)
    assert feed.detector.subject_count == 0
    assert len(feed.event(NOW - 1500, append_ms=NOW).findings) == 1


def test_a_log_that_comes_late_is_still_a_burst() -> None:
    feed = Feed(rule(timespan_ms=100, threshold=2))
    feed.event(NOW)
    late = feed.event(NOW - 5_000, append_ms=NOW + 1)
    assert (late.counters["late"], late.findings) == (1, [])
    [found] = feed.event(NOW - 4_950, append_ms=NOW + 1).findings
    assert (found["straggler"], found["window"]["to_ms"]) == (True, NOW - 4_950)
    lost = feed.event(NOW - 6_000, append_ms=NOW + 1)
    assert (lost.counters["late"], lost.counters["lost_late"]) == (1, 1)


def test_what_is_late_counts_once_for_each_timespan() -> None:
    feed = Feed(
        rule("short", timespan_ms=100, threshold=2),
        rule("long", timespan_ms=300, threshold=2),
        lateness_ms=10_000,
    )
    feed.event(NOW)
    assert not feed.event(NOW - 1000, append_ms=NOW).findings
    [found] = feed.event(NOW - 800, append_ms=NOW).findings
    assert (found["rule"]["id"], found["straggler"]) == ("long", True)


def test_the_bounds_of_stragglers_are_those_of_windows() -> None:
    feed = Feed(rule(timespan_ms=100, threshold=2))
    for time_ms in (NOW, NOW - 5_000):
        feed.event(time_ms, append_ms=NOW)
    assert feed.event(NOW - 5_100, append_ms=NOW).counters["lost_late"] == 1
    inside = feed.event(NOW - 5_099, append_ms=NOW)
    assert (inside.counters["lost_late"], len(inside.findings)) == (0, 1)
    assert feed.event(NOW - 99, append_ms=NOW).counters["late"] == 0
    assert feed.event(NOW - 100, append_ms=NOW).counters["late"] == 1


def test_what_was_too_late_stays_so_under_a_longer_timespan() -> None:
    """A subject may have been freed by then: whether it was must not matter."""
    feed = Feed(rule(timespan_ms=1000, threshold=1), lateness_ms=500)
    feed.detector.activate(rules_record([rule(timespan_ms=60_000, threshold=1)], 2), NOW)
    assert feed.event(NOW - 1501, append_ms=NOW + 1).counters["too_late"] == 1
    assert feed.event(NOW - 1500, append_ms=NOW + 1).counters["too_late"] == 0


def test_a_changed_threshold_keeps_the_window_and_a_larger_one_warms() -> None:
    feed = Feed(rule(timespan_ms=1000, threshold=3), at_ms=NOW - 10_000)
    found = [found for at in range(3) for found in feed.event(NOW + at).findings]
    assert [one["warming"] for one in found] == [False]
    assert feed.detector.activate(rules_record([rule(timespan_ms=1000, threshold=2)], 2), NOW + 10)
    [lower] = feed.event(NOW + 11).findings
    assert not lower["warming"]
    assert feed.detector.activate(rules_record([rule(timespan_ms=1000, threshold=4)], 3), NOW + 20)
    feed.event(NOW + 21)
    [higher] = feed.event(NOW + 22).findings
    assert higher["warming"]
    assert higher["window"]["first_ms"] == NOW + 2
    [warm] = [found for at in range(4) for found in feed.event(NOW + 1100 + at).findings]
    assert not warm["warming"]


def test_a_longer_timespan_and_a_new_count_warm() -> None:
    short, other = rule("short", timespan_ms=100, threshold=1), rule("other", counted="route", threshold=1)
    feed = Feed(short, at_ms=NOW - 1000)
    longer = rule("long", timespan_ms=500, threshold=1)
    assert feed.detector.activate(rules_record([short, longer, other], 2), NOW)
    warming = {found["rule"]["id"]: found["warming"] for found in feed.event(NOW + 50).findings}
    assert warming == {"short": False, "long": True, "other": True}


def test_a_count_that_was_dropped_starts_anew() -> None:
    counted, other = rule(timespan_ms=1000, threshold=2), rule("other", counted="route", timespan_ms=1000)
    feed = Feed(counted)
    feed.event(NOW)
    feed.detector.activate(rules_record([other], 2), NOW + 1)
    feed.detector.activate(rules_record([counted], 3), NOW + 2)
    assert not feed.event(NOW + 3).findings
    assert len(feed.event(NOW + 4).findings) == 1


def test_only_a_higher_version_takes_effect_and_a_broken_set_keeps_the_old_one() -> None:
    feed = Feed(rule(threshold=1))
    assert not feed.detector.activate(rules_record([rule(threshold=5)], 1), NOW)
    assert not feed.detector.activate(RulesRecord(2, "x", {"version": 99}), NOW)
    assert not feed.detector.activate(rules_record([rule(condition=Match("colour", "eq", "x"))], 3), NOW)
    assert feed.detector.rules_version == 1
    outcomes = feed.event(NOW)
    assert (outcomes.counters["rules_refused"], len(outcomes.findings)) == (2, 1)


def test_a_changed_mode_opens_the_latch() -> None:
    shadow = rule(timespan_ms=1000, threshold=1)
    feed = Feed(shadow)
    assert len(feed.event(NOW).findings) == 1
    enforced = Rule(
        shadow.id,
        "R",
        "event_count",
        shadow.condition,
        ("principal",),
        1000,
        1,
        action="suspend",
        mode="enforce",
    )
    feed.detector.activate(rules_record([enforced], 2), NOW + 1)
    [found] = feed.event(NOW + 2).findings
    assert (found["mode"], found["action"]) == ("enforce", "suspend")


def test_one_crafted_row_stops_no_other_and_leaves_no_trace() -> None:
    rules = [rule("count", threshold=3), rule("patients", counted="patient", threshold=3)]
    feed = Feed(*rules)
    good = event(0, NOW, patients=[("a", None)])
    crafted: list[Any] = [
        [0],
        event(0, NOW)[:12],
        event(0, "soon"),  # type: ignore[arg-type]
        event(0, NOW, patients=[(["list"], None)]),  # type: ignore[list-item]
        event(0, NOW, patients=["ab", ("x",)]),  # type: ignore[list-item]
        event(0, NOW, subject=("not", "text")),  # type: ignore[arg-type]
        event(0, NOW, status=None),  # type: ignore[arg-type]
        (0, 7, "principal", "gw/p", NOW, 1, "active", None),
        (0, 1, "principal", "gw/p", NOW, "v", "active", None),
        (0, 1, "principal", "gw/p", NOW, 1, "unheard of", None),
    ]
    outcomes = feed.take(good, *crafted, good, append_ms=NOW)
    assert outcomes.counters["applied"] == 2
    assert outcomes.counters["internal"] == len(crafted)
    assert {failure.offset for failure in outcomes.failed} == {0}
    assert "list" not in repr(outcomes.failed)
    untouched = Feed(*rules)
    untouched.take(good, good, append_ms=NOW)
    key = ("principal", "gw/p")
    assert feed.detector.snapshot_subject(key) == untouched.detector.snapshot_subject(key)


def test_a_failure_names_the_type_of_the_error_only() -> None:
    feed = Feed(rule())
    outcomes = feed.take([0, 0], append_ms=NOW)
    assert outcomes.failed == [Failure(EVENTS, 0, "IndexError")]


def test_a_subject_is_freed_after_twice_the_longest_timespan_and_the_lateness() -> None:
    feed = Feed(rule(timespan_ms=1000, threshold=9), lateness_ms=500)
    feed.event(NOW)
    assert swept(feed.detector, NOW + 2500) == []
    assert swept(feed.detector, NOW + 2501) == [("principal", "gw/p")]
    assert feed.detector.subject_count == 0


def test_a_credential_that_was_acted_upon_is_not_freed() -> None:
    feed = Feed(rule(timespan_ms=1000, threshold=9))
    feed.status(NOW, 1, "suspended")
    assert swept(feed.detector, NOW + 10**9) == []
    assert feed.event(NOW + 10**9, status=403).observations


def swept(detector: Detector, append_ms: int) -> list[tuple[str, str]]:
    """Return what is freed when each subject has been looked at."""
    return [key for _ in range(3) for key in detector.sweep(append_ms, 10)]


def test_a_sweep_looks_at_few_subjects_at_a_time_and_in_the_end_at_all() -> None:
    feed = Feed(rule(timespan_ms=10), lateness_ms=0)
    for number in range(10):
        feed.event(NOW, principal=f"p{number}")
    freed = [feed.detector.sweep(NOW + 100, 3) for _ in range(6)]
    assert max(map(len, freed)) <= 3
    assert sum(map(len, freed)) == 10
    assert feed.detector.subjects.take_dirty() == []


def test_a_subject_freed_in_the_log_is_not_counted_again_on_replay() -> None:
    """The mark that a subject was freed is durable, but the position is not: its rows come again."""
    feed = Feed(rule(timespan_ms=100, threshold=1), lateness_ms=0)
    feed.detector.restore_subject(("principal", "gw/p"), 11, None)
    assert not feed.event(NOW).findings
    assert swept(feed.detector, NOW + 10_000) == []
    assert feed.event(NOW).counters["replay_skipped"] == 1
    assert len(feed.event(NOW).findings) == 1


def test_a_subject_counts_rows_of_one_record_that_share_an_offset() -> None:
    feed = Feed(rule(timespan_ms=100, threshold=2))
    rows = [event(0, NOW), event(0, NOW)]
    assert len(feed.take(*rows, append_ms=NOW).findings) == 1


def test_dirty_subjects_are_told_once_and_restored_exactly() -> None:
    feed = Feed(rule("a", timespan_ms=1000), rule("b", counted="patient", group_by=("principal", "tenant")))
    feed.event(NOW, patients=[("x", "t")])
    feed.event(NOW + 1, patients=[("y", "t")])
    feed.status(NOW + 2, 1, "suspended")
    [key] = feed.detector.subjects.take_dirty()
    assert feed.detector.subjects.take_dirty() == []
    plain = over_the_wire(feed.detector.snapshot_subject(key))
    other = new_detector()
    other.restore_rules(over_the_wire(feed.detector.snapshot_rules()), 12)
    other.restore_subject(key, 12, plain)
    assert over_the_wire(other.snapshot_subject(key)) == plain
    assert over_the_wire(other.snapshot_rules()) == over_the_wire(feed.detector.snapshot_rules())
    assert other.rules_record.version == 1


def test_state_of_another_version_is_refused() -> None:
    detector = new_detector([rule()])
    rules = detector.snapshot_rules()
    with pytest.raises(InvariantError, match="version 9"):
        detector.restore_subject(("principal", "gw/p"), 1, [9, 0, 0, [], None, None])
    with pytest.raises(InvariantError, match="version 9"):
        detector.restore_rules([9, *rules[1:]], 0)


def test_patients_of_one_tenant_are_not_counted_for_another() -> None:
    feed = Feed(rule(counted="patient", group_by=("principal", "tenant"), timespan_ms=1000, threshold=2))
    assert not feed.event(NOW, patients=[("a", "t1"), ("b", "t2")]).findings
    [found] = feed.event(NOW + 1, patients=[("c", "t1")]).findings
    assert found["group"] == {"tenant": "t1"}
    assert "within one practice" in found["summary"]


def test_ids_tell_findings_apart_and_stay_the_same() -> None:
    rules = [
        rule("a", timespan_ms=100),
        rule("b", timespan_ms=100),
        rule("c", group_by=("principal", "route")),
    ]
    runs = []
    for _ in range(2):
        feed = Feed(*rules)
        feed.event(NOW)
        runs.append([found["id"] for found in feed.event(NOW + 1).findings])
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 3


def test_findings_hold_only_what_json_can_carry() -> None:
    feed = Feed(rule(group_by=("principal", "status"), threshold=1))
    [found] = feed.event(NOW, status=404).findings
    assert json.loads(json.dumps(found)) == found
    assert found["group"] == {"status": 404}


def test_an_axis_without_rules_is_ignored() -> None:
    feed = Feed(rule(threshold=1))
    outcomes = feed.take(event(0, NOW, axis="gateway", subject="g"), append_ms=NOW)
    assert (outcomes.counters["applied"], feed.detector.subject_count) == (1, 0)


def test_before_any_rule_set_marks_rise_and_nothing_is_found() -> None:
    detector = new_detector()
    put(detector, Entry(0, NOW, RowsRecord(EVENTS, 0, 0, True, [event(0, NOW)])))
    assert detector.rules_version == -1
    assert detector.marks.mark(EVENTS) == 0
    assert not detector.take_outcomes().findings


def test_a_repr_tells_no_subject() -> None:
    feed = Feed(rule())
    feed.event(NOW, principal="secret")
    assert repr(feed.detector) == "Detector(3, 1 subjects)"


def test_events_in_order_but_too_late_for_one_rule_do_not_wait_to_count_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batching, "FEW", 0)
    monkeypatch.setattr(plan, "FEW", 0)
    short = rule("short", counted="route", timespan_ms=100, threshold=4)
    long = rule("long", timespan_ms=10_000, threshold=9)
    feed = Feed(short, long, lateness_ms=30)
    for number, age_ms in enumerate((135, 134, 133, 50, 49, 48)):
        assert not feed.event(NOW - age_ms, route=f"/{number}", append_ms=NOW).findings
    assert [one["rule"]["id"] for one in feed.event(NOW - 47, route="/6", append_ms=NOW).findings] == [
        "short"
    ]


def test_a_rule_set_snapshot_of_the_version_before_is_read() -> None:
    counting = rule(timespan_ms=1000, threshold=3)
    detector = new_detector([counting], at_ms=NOW)
    _, version, revision, document, _ = detector.snapshot_rules()
    before = [1, version, revision, document, NOW - 5_000, [[1000, NOW - 900]], {counting.window_key: 1}]
    detector.restore_rules([*before, {counting.window_key: [[3, NOW - 800]]}], -1)
    feed = Feed(counting)
    feed.detector = detector
    assert feed.event(NOW - 5_001, append_ms=NOW).counters["too_late"] == 1
    found = [one for at in range(3) for one in feed.event(NOW + 199 + at).findings]
    assert [one["warming"] for one in found] == [False]
    assert detector.snapshot_rules()[4][counting.window_key][:2] == [1, NOW - 5_000]
