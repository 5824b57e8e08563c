"""The detector against brute force, and against itself: saved, restored, replayed, freed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core import batching, plan
from monitor.core.events import OFFSET, RowsRecord
from tests.core.oracle import judge
from tests.core.samples import Entry, logs, new_detector, over_the_wire, put, rule_lists, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from monitor.core.detector import Detector
    from monitor.core.rules import Rule

pytestmark = pytest.mark.usefixtures("both_detectors")


@pytest.fixture(scope="module", autouse=True)
def _events_wait_at_once() -> Iterator[None]:
    """Let events wait (see `batching`) wherever no rule can hold yet, not only where many may."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "FEW", 0)
        patch.setattr(batching, "FEW", 1)
        yield


#: What the shell does at random: drawn as one number, so that examples stay small.
dice = st.integers(0, 1 << 32).map(random.Random)


def findings_of(detector: Detector, log: Sequence[Entry]) -> list[dict[str, Any]]:
    for entry in log:
        put(detector, entry)
    outcomes = detector.take_outcomes()
    assert not outcomes.failed
    return outcomes.findings


def told_by(detector: Detector, log: Sequence[Entry]) -> list[Any]:
    """Return all that a detector tells of a log: findings, observations, evidence."""
    for entry in log:
        put(detector, entry)
    outcomes = detector.take_outcomes()
    assert not outcomes.failed
    return [*outcomes.findings, *outcomes.observations, *map(list, outcomes.evidence)]


def essence(found: dict[str, Any]) -> dict[str, Any]:
    """Return what the oracle knows of a finding."""
    window = found["window"]
    return {
        "rule": found["rule"]["id"],
        "subject": found["subject"],
        "group": tuple(found["group"].values()),
        "straggler": found["straggler"],
        "source": (found["event"]["partition"], found["event"]["offset"]),
        "window": (window["from_ms"], window["to_ms"], window["first_ms"]),
        "stale": found["stale"],
        "patients": found["patients"],
        "tenants": found["tenants"],
    }


def by_rule(found: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return findings per rule, in order: rules that share a window come together within one event."""
    return {
        name: [one for one in found if one["rule"] == name] for name in sorted({one["rule"] for one in found})
    }


@pytest.mark.timeout(600)
@settings(max_examples=1_000)
@given(rule_lists(), logs())
def test_findings_are_those_of_brute_force(rules: list[Rule], log: list[Entry]) -> None:
    found = [essence(one) for one in findings_of(new_detector(rules), log)]
    assert by_rule(found) == by_rule(judge(rules, log))


@pytest.mark.timeout(600)
@settings(max_examples=1_000)
@given(rule_lists(calm=True), logs(rule_changes=True, calm=True), dice)
def test_neither_waiting_nor_a_restart_changes_a_result(
    rules: list[Rule], log: list[Entry], rng: random.Random
) -> None:
    together = new_detector(rules)
    found: list[Any] = []
    saved: dict[str, Any] = {"subjects": {}, "rules": None, "marks": None}
    for entry in log:
        with pytest.MonkeyPatch.context() as patch:
            if rng.random() < 0.1:
                patch.setattr(batching, "FEW", 1 << 40)  # from here on nobody may begin to wait
            found += told_by(together, [entry])
        if rng.random() < 0.3:
            for key in together.subjects.take_dirty():
                saved["subjects"][key] = entry.offset, over_the_wire(together.snapshot_subject(key))
            if rng.random() < 0.5:  # a restart where nothing is to be replayed
                saved["rules"] = over_the_wire(together.snapshot_rules()), entry.offset
                saved["marks"] = over_the_wire(together.marks.snapshot())
                together = _recovered(saved)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "FEW", 1 << 40)
        one_by_one = new_detector(rules)
        expected = told_by(one_by_one, log)
    # A silence is told at the end of a record, the rest at its rows.
    assert sorted(map(repr, found)) == sorted(map(repr, expected))
    for key in one_by_one.subjects.take_dirty():
        assert _content(together.snapshot_subject(key)) == _content(one_by_one.snapshot_subject(key))


def _content(snapshot: list[Any]) -> list[Any]:
    """Return what a snapshot holds; the order of series says nothing."""
    return [*snapshot[:3], sorted(over_the_wire(snapshot[3]), key=repr), *over_the_wire(snapshot[4:])]


@pytest.mark.timeout(600)
@settings(max_examples=1_000)
@given(rule_lists(), logs(), dice)
def test_freeing_changes_no_result(rules: list[Rule], log: list[Entry], rng: random.Random) -> None:
    detector = new_detector(rules)
    found: list[dict[str, Any]] = []
    for entry in log:
        found += findings_of(detector, [entry])
        for key in detector.sweep(entry.append_ms, rng.randint(0, 4)):
            assert key not in detector.subjects.take_dirty()
    assert text(found) == text(findings_of(new_detector(rules), log))


@pytest.mark.timeout(600)
@settings(max_examples=1_000)
@given(rule_lists(), logs(), dice)
def test_a_rules_findings_depend_on_no_other_rule(
    rules: list[Rule], log: list[Entry], rng: random.Random
) -> None:
    alone = rng.choice(rules)
    # What is too late is decided by the longest timespan over one thing, and which patients are
    # remembered by that of the axis: the rules with those stay.
    same = [rule for rule in rules if rule.window_key == alone.window_key]
    kept = [max(of, key=lambda rule: rule.timespan_ms) for of in (same, _of_axis(rules, "principal")) if of]
    together = findings_of(new_detector(rules), log)
    apart = findings_of(new_detector(list({rule.id: rule for rule in [alone, *kept]}.values())), log)
    assert text([one for one in together if one["rule"]["id"] == alone.id]) == text(
        [one for one in apart if one["rule"]["id"] == alone.id]
    )


def _of_axis(rules: list[Rule], axis: str) -> list[Rule]:
    return [rule for rule in rules if rule.axis == axis]


@pytest.mark.timeout(600)
@settings(max_examples=1_000)
@given(rule_lists(), logs(), dice)
def test_the_bounds_of_records_change_nothing(
    rules: list[Rule], log: list[Entry], rng: random.Random
) -> None:
    def without_place(found: list[dict[str, Any]]) -> dict[str, bytes]:
        return text([{key: value for key, value in one.items() if key != "routed"} for one in found])

    split: list[Entry] = []
    for entry in log:
        for record in _split(entry.record, rng):  # type: ignore[arg-type]
            split.append(Entry(len(split), entry.append_ms, record))
            if rng.random() < 0.2:
                split.append(Entry(len(split), entry.append_ms, record))
    once, again = new_detector(rules), new_detector(rules)
    assert without_place(findings_of(once, log)) == without_place(findings_of(again, split))
    assert once.marks.snapshot() == again.marks.snapshot()


def _split(record: RowsRecord, rng: random.Random) -> list[RowsRecord]:
    """Return records that cover the same, cut between source offsets."""
    cuts = [offset for offset in range(record.first, record.last) if rng.random() < 0.4]
    parts, first = [], record.first
    for last in [*cuts, record.last]:
        rows = [row for row in record.rows if first <= row[OFFSET] <= last]
        parts.append(RowsRecord(record.source, first, last, record.resume and first == record.first, rows))
        first = last + 1
    return parts


@pytest.mark.timeout(600)
@settings(max_examples=1_000)
@given(logs(rule_changes=True), dice)
def test_any_crash_and_restore_gives_the_same_findings(  # noqa: C901 - one branch for each crash
    log: list[Entry], rng: random.Random
) -> None:
    """State is saved at random points; a crash may leave subjects saved later than marks and rules."""
    baseline = new_detector()
    expected = text(findings_of(baseline, log))
    found: list[dict[str, Any]] = []
    saved: dict[str, Any] = {"subjects": {}, "packed": {}, "rules": None, "marks": None, "next": 0}
    detector, at = new_detector(), 0
    while at < len(log):
        put(detector, log[at])
        at += 1
        if rng.random() < 0.3:
            found += detector.take_outcomes().findings
            freed = detector.sweep(log[at - 1].append_ms, rng.randint(0, 3))
            stamp = log[at - 1].offset
            # Parts are saved one after the other; a crash in between leaves the rest as it was.
            crash_after = rng.choice((0, 1, 2, 99, 99))
            for key in freed:
                saved["subjects"][key] = stamp, None
                saved["packed"].pop(key, None)
            for number, key in enumerate(detector.subjects.take_dirty()):
                if number >= crash_after:
                    break
                plain = detector.snapshot_subject(key)
                saved["subjects"][key] = stamp, over_the_wire(plain)
                packed = msgspec.msgpack.encode(plain)
                saved["packed"][key] = packed, detector.subjects.counts_until(key)
                if rng.random() < 0.5:
                    assert detector.subjects.rest(key, packed)
            if crash_after < 99:
                detector, at = _recovered(saved), saved["next"]
                continue
            if saved["rules"] is None or saved["rules"][1] <= stamp:  # of two records the higher stamp wins
                saved["rules"] = over_the_wire(detector.snapshot_rules()), stamp
            if rng.random() < 0.2:
                detector, at = _recovered(saved), saved["next"]
                continue
            saved["marks"] = over_the_wire(detector.marks.snapshot())
            if rng.random() < 0.8:
                saved["next"] = at
            if rng.random() < 0.5:
                detector, at = _recovered(saved), saved["next"]
        elif rng.random() < 0.1:
            found += detector.take_outcomes().findings
            detector, at = _recovered(saved), saved["next"]
    found += detector.take_outcomes().findings
    assert text(found) == expected
    assert detector.marks.snapshot() == baseline.marks.snapshot()


def _recovered(saved: dict[str, Any]) -> Detector:
    detector = new_detector()
    if saved["rules"] is not None:
        detector.restore_rules(*saved["rules"])
    for number, (key, (stamp, plain)) in enumerate(saved["subjects"].items()):
        if number % 2 and key in saved.get("packed", ()):
            detector.subjects.restore_resting(key, stamp, *saved["packed"][key])
        else:
            detector.restore_subject(key, stamp, plain)
    if saved["marks"] is not None:
        detector.marks.restore(saved["marks"])
    return detector
