"""A rotation of pseudonym keys in the middle of a log: the findings are those of a log without one."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core import batching, plan
from monitor.core.events import AXIS, KIND, PATIENTS, SUBJECT, Row, RowKind, RowsRecord
from monitor.core.rules import RuleSet
from monitor.core.windows import ValueCountWindow
from monitor.intake.keys import Epoch
from monitor.intake.pseudonym import AHEAD_MS as PRODUCT_AHEAD_MS
from monitor.intake.pseudonym import Pseudonyms, phase_at
from monitor.stream.outlet import overlap_of as product_overlap_of
from tests.core.oracle import judge
from tests.core.samples import (
    EVENTS,
    LATENESS_MS,
    Entry,
    event,
    logs,
    new_detector,
    over_the_wire,
    put,
    rule,
    rule_lists,
)
from tests.core.test_detector_exact import by_rule, essence

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from monitor.core.detector import Detector
    from monitor.core.rules import Rule

pytestmark = pytest.mark.usefixtures("both_detectors")

#: How long before a key begins rows bear it, and by how much the clocks of intake differ at most.
AHEAD_MS, SKEW_MS = 50, 24
KEYS = tuple(bytes([number]) * 32 for number in range(1, 4))
PATIENTS_OF_SAMPLES = "abcdef"
dice = st.integers(0, 1 << 32).map(random.Random)
NAMED = {
    f"k{number}": Pseudonyms(Epoch(f"k{number}", key)).patient for number, key in enumerate(KEYS, start=1)
}
RAW = {name(raw): raw for name in NAMED.values() for raw in PATIENTS_OF_SAMPLES}


@pytest.fixture(scope="module", autouse=True)
def _events_wait_at_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "FEW", 0)
        patch.setattr(batching, "FEW", 1)
        yield


def as_intake_sends(
    log: Sequence[Entry], begins: Sequence[int], overlap_ms: int, rng: random.Random
) -> list[Entry]:
    """Return a log as several intakes send it, whose clocks differ, and whose keys begin at some times."""
    epochs = tuple(
        Epoch(f"k{n}", key, at) for n, (key, at) in enumerate(zip(KEYS, (0, *begins), strict=False), 1)
    )
    sent = []
    for entry in log:
        record = entry.record
        assert isinstance(record, RowsRecord)
        now_ms = entry.append_ms + rng.randint(-SKEW_MS, SKEW_MS)
        phase = phase_at(epochs, now_ms, overlap_ms, ahead_ms=AHEAD_MS)
        name, others = NAMED[phase.epoch.id], [NAMED[epoch.id] for epoch in phase.others]
        former = (
            {name(raw): [other(raw) for other in others] for raw in PATIENTS_OF_SAMPLES} if others else None
        )
        rows = [_renamed(row, name) for row in record.rows]
        sent.append(
            Entry(
                entry.offset,
                entry.append_ms,
                RowsRecord(record.source, record.first, record.last, record.resume, rows, former),
            )
        )
    return sent


def _renamed(row: Row, name: Any) -> Row:
    if row[KIND] != RowKind.EVENT:
        return row
    columns = list(row)
    columns[PATIENTS] = [(name(patient), tenant) for patient, tenant in row[PATIENTS]]
    if row[AXIS] == "patient":
        columns[SUBJECT] = name(row[SUBJECT])
    return columns


def raw(found: dict[str, Any]) -> dict[str, Any]:
    """Return the essence of a finding with the patients' own names."""
    essential = essence(found)
    essential["subject"] = RAW.get(essential["subject"], essential["subject"])
    essential["group"] = tuple(RAW.get(value, value) for value in essential["group"])
    return essential


def overlap_of(rules: Sequence[Rule]) -> int:
    return 2 * max(rule.timespan_ms for rule in rules) + LATENESS_MS + AHEAD_MS


def rotations(log: Sequence[Entry], rng: random.Random, count: int) -> list[int]:
    first, last = log[0].append_ms, log[-1].append_ms
    times = sorted(rng.randint(first - 100, last + 100) for _ in range(count))
    return [at + number for number, at in enumerate(times)]


@pytest.mark.timeout(600)
@settings(max_examples=1_000)
@given(rule_lists(), logs(), dice, st.integers(1, 2))
def test_a_rotation_changes_no_finding(rules: list[Rule], log: list[Entry], rng: random.Random, count: int):
    sent = as_intake_sends(log, rotations(log, rng, count), overlap_of(rules), rng)
    detector = new_detector(rules)
    for entry in sent:
        put(detector, entry)
    outcomes = detector.take_outcomes()
    assert not outcomes.failed
    assert by_rule([raw(one) for one in outcomes.findings]) == by_rule(judge(rules, log))


@pytest.mark.timeout(600)
@settings(max_examples=500)
@given(rule_lists(calm=True), logs(calm=True), dice)
def test_nor_does_a_restart_within_it(rules: list[Rule], log: list[Entry], rng: random.Random):
    """State is saved at random points, and the log replayed from an earlier one."""
    sent = as_intake_sends(log, rotations(log, rng, 1), overlap_of(rules), rng)
    found: dict[str, dict[str, Any]] = {}
    saved: dict[Any, tuple[int, Any]] = {}
    marks, rules_saved, following = None, None, 0
    detector, at = new_detector(rules), 0

    def keep(of: Detector) -> None:
        for one in of.take_outcomes().findings:
            found.setdefault(one["id"], one)

    while at < len(sent):
        put(detector, sent[at])
        at += 1
        if rng.random() < 0.3:
            keep(detector)
            stamp = sent[at - 1].offset
            for key in (*detector.subjects.take_moved(), *detector.sweep(sent[at - 1].append_ms, 2)):
                saved[key] = stamp, None
            for key in detector.subjects.take_dirty():
                saved[key] = stamp, over_the_wire(detector.snapshot_subject(key))
            rules_saved = over_the_wire(detector.snapshot_rules()), stamp
            if rng.random() < 0.5:
                marks, following = over_the_wire(detector.marks.snapshot()), at
        if rng.random() < 0.1 and rules_saved is not None and marks is not None:
            keep(detector)
            detector, at = new_detector(), following
            detector.restore_rules(rules_saved[0], -1)
            for key, (stamp, plain) in saved.items():
                detector.restore_subject(key, stamp, plain)
            detector.marks.restore(marks)
    keep(detector)
    expected = judge(rules, log)
    assert by_rule([raw(one) for one in found.values()]) == by_rule(expected)


def test_without_the_other_names_a_patient_would_count_twice():
    """The control: the rows of a rotation, as they would be without `former`."""
    rules = [rule(counted="patient", threshold=2)]
    rows = [event(n, 1_000 + n, patients=[(NAMED[key]("a"), None)]) for n, key in enumerate(("k1", "k2"))]
    for former, findings in ((None, 1), ({NAMED["k2"]("a"): [NAMED["k1"]("a")]}, 0)):
        detector = new_detector(rules)
        put(detector, Entry(0, 1_000, RowsRecord(EVENTS, 0, 0, True, rows[:1])))
        put(detector, Entry(1, 1_001, RowsRecord(EVENTS, 1, 1, False, rows[1:], former)))
        assert len(detector.take_outcomes().findings) == findings


def test_what_waits_is_counted_before_another_key_begins():
    detector = new_detector([rule(counted="patient", threshold=5)])
    offset = 0
    for key, others, patients in (("k1", None, "abc"), ("k2", "k1", "abcd"), ("k2", "k1", "e")):
        for patient in patients:
            row = event(offset, 1_000 + offset, patients=[(NAMED[key](patient), None)])
            former = None if others is None else {NAMED[key](patient): [NAMED[others](patient)]}
            record = RowsRecord(EVENTS, offset, offset, not offset, [row], former)
            put(detector, Entry(offset, 1_000 + offset, record))
            offset += 1
    (found,) = detector.take_outcomes().findings
    assert found["event"]["offset"] == offset - 1


def test_rows_bear_both_names_as_long_as_a_late_event_can_look_back():
    """The latest event that counts, as far back as its window reaches: there a patient has its old name."""
    minute, begins = 60_000, 1_000_000_000
    lateness = timedelta(minutes=30)
    rules = [rule(counted="patient", timespan_ms=60 * minute, threshold=2)]
    overlap_ms = product_overlap_of(RuleSet(tuple(rules)), lateness)
    epochs = (Epoch("k1", KEYS[0]), Epoch("k2", KEYS[1], begins))
    detector = new_detector(rules, lateness_ms=30 * minute)
    late = begins + 150 * minute - 2
    for offset, (append_ms, time_ms) in enumerate(((begins - 1, begins - 1), (late, late - 90 * minute))):
        phase = phase_at(epochs, append_ms, overlap_ms)
        name = NAMED[phase.epoch.id]("a")
        former = {name: [NAMED[epoch.id]("a") for epoch in phase.others]}
        row = event(offset, time_ms, patients=[(name, None)])
        put(detector, Entry(offset, append_ms, RowsRecord(EVENTS, offset, offset, not offset, [row], former)))
    outcomes = detector.take_outcomes()
    assert outcomes.counters["too_late"] == 0
    assert outcomes.findings == []


@given(st.lists(st.integers(0, 10_000_000), max_size=4, unique=True), st.integers(0, 15_000_000))
def test_phases_follow_one_another_without_a_gap(begins: list[int], now_ms: int):
    epochs = tuple(Epoch(f"k{n}", b"", at) for n, at in enumerate([0, *(at + 1 for at in sorted(begins))]))
    phase = phase_at(epochs, now_ms, 3_000_000)
    assert phase.epoch.begins_ms <= now_ms
    assert phase.epoch not in phase.others
    end = now_ms + 1 if phase.until_ms is None else phase.until_ms
    assert end > now_ms
    for at in (now_ms, end - 1):
        assert phase_at(epochs, at, 3_000_000) == phase
    if phase.until_ms is not None:
        assert phase_at(epochs, phase.until_ms, 3_000_000) != phase
    # Two intakes whose clocks differ by less than AHEAD_MS never name one patient by keys of which
    # neither tells the other.
    later = phase_at(epochs, now_ms + PRODUCT_AHEAD_MS - 1, 3_000_000)
    assert later.epoch == phase.epoch or later.epoch in phase.others
    assert later.epoch == phase.epoch or phase.epoch in later.others


def test_objects_and_addresses_are_renamed_too_and_their_subjects_move():
    rules = [
        rule("objects", counted="object", threshold=2),
        rule("addresses", counted="client_ip", threshold=2),
        rule("by-object", group_by=("object",), threshold=2),
        rule("grouped", group_by=("principal", "client_ip"), threshold=2),
    ]
    old: dict[str, Any] = {"object": "k1:" + 24 * "1", "client_ip": "k1:" + 24 * "2"}
    new: dict[str, Any] = {"object": "k2:" + 24 * "3", "client_ip": "k2:" + 24 * "4"}
    detector = new_detector(rules)
    former = {new[field]: [old[field]] for field in old}
    for offset, (names, more) in enumerate(((old, None), (new, former))):
        rows = [
            event(offset, 1_000 + offset, **names),
            event(offset, 1_000 + offset, axis="object", subject=names["object"], **names),
        ]
        put(
            detector,
            Entry(offset, 1_000 + offset, RowsRecord(EVENTS, offset, offset, not offset, rows, more)),
        )
    assert {one["rule"]["id"] for one in detector.take_outcomes().findings} == {"by-object", "grouped"}
    assert detector.subjects.take_moved() == [("object", old["object"])]


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 5)), max_size=30),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(1, 6),
)
def test_a_renamed_value_keeps_its_latest_time(
    added: list[tuple[int, int]], capacity: int, value: int, to: int
):
    if value == to:
        return
    window, oracle = ValueCountWindow(capacity), ValueCountWindow(capacity)
    for time_ms, number in added:
        window.add(time_ms, (number,))
    held = dict(zip(window._values[window._start :], window._times[window._start :], strict=True))
    assert window.rename(value, to) == (value in held)
    if value in held:
        held[to] = max(held.pop(value), held.get(to, -1))
    for number, time_ms in sorted(held.items(), key=lambda pair: pair[1]):
        oracle.add(time_ms, (number,))
    oracle.last = window.last
    for after in range(-1, 21):
        assert window.count_after(after) == oracle.count_after(after)
        assert sorted(window.values_after(after)) == sorted(oracle.values_after(after))
