"""The highest counts are those of brute force, and of the thresholds that the detector meets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.events import RowsRecord
from monitor.core.rules import RuleSet
from monitor.intake.inputs import Input
from monitor.intake.pseudonym import credential_pseudonyms
from monitor.trial.peaks import LARGEST_THRESHOLD, PeaksJudge
from monitor.trial.reading import Feed, Reading
from monitor.trial.tune import thresholds_around, tune_files
from tests.core.oracle import judge
from tests.core.samples import EVENTS, Entry, event, new_detector, rule
from tests.trial.streams import KEYS, RULES, START_MS, found, line, settled, stream, write

if TYPE_CHECKING:
    from pathlib import Path

    from monitor.core.rules import Rule
    from monitor.trial.peaks import Peaks

LATENESS_MS = 30
#: Of all kinds, with groups and two timespans; thresholds are what is asked for.
SHAPES = (
    rule("events-20", timespan_ms=20),
    rule("events-60", timespan_ms=60),
    rule("by-route", group_by=("principal", "route"), timespan_ms=20),
    rule("patients", counted="patient", timespan_ms=60),
    rule("tenants", counted="tenant", timespan_ms=20),
    rule("records", counted="records", timespan_ms=20),
    rule("readers", counted="principal", group_by=("patient",), timespan_ms=60),
)


@st.composite
def logs(draw: st.DrawFn) -> list[Entry]:
    """Return events out of order, late and early, at rising append times."""
    entries: list[Entry] = []
    append_ms = 1_000
    for offset in range(draw(st.integers(1, 30))):
        append_ms += draw(st.sampled_from((0, 1, 3, 10, 40, 400)))
        time_ms = append_ms - draw(st.sampled_from((-20, 0, 0, 0, 1, 5, 20, 40, 70, 95, 120)))
        pairs = draw(
            st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(("t1", "t2", None))), max_size=2)
        )
        pairs = list({patient: (patient, tenant) for patient, tenant in pairs}.values())
        same: dict[str, Any] = {
            "principal": draw(st.sampled_from("pq")),
            "route": draw(st.sampled_from(("/a", "/b"))),
            "records": draw(st.sampled_from((None, 1, 2))),
        }
        rows = [event(offset, time_ms, patients=pairs, **same)]
        rows += [
            event(offset, time_ms, patients=[pair], axis="patient", subject=pair[0], **same) for pair in pairs
        ]
        entries.append(Entry(offset, append_ms, RowsRecord(EVENTS, offset, offset, not offset, rows)))
    return entries


def peaks_of(rules: tuple[Rule, ...], log: list[Entry]) -> Peaks:
    reading = Reading((Feed.of_file(0, "log", Input("canonical", "gw")),), RuleSet(rules), KEYS, 1 << 62)
    judge_ = PeaksJudge(reading, LATENESS_MS)
    judge_.begin(log[0].append_ms)
    for entry in log:
        assert isinstance(entry.record, RowsRecord)
        judge_.take(EVENTS, entry.append_ms, entry.record.rows)
    return judge_.result()


@given(logs())
def test_a_threshold_finds_exactly_those_who_count_as_high(log: list[Entry]):
    peaks = peaks_of(SHAPES, log)
    assert peaks.internal == 0
    highest = max((peak.count for of in peaks.by_rule.values() for peak in of.values()), default=0)
    for threshold in range(1, highest + 2):
        rules = [replace(shape, threshold=threshold) for shape in SHAPES]
        expected = {(finding["rule"], finding["subject"], finding["group"]) for finding in judge(rules, log)}
        reached = {
            (name, subject, group)
            for name, of in peaks.by_rule.items()
            for (subject, group), peak in of.items()
            if peak.count >= threshold
        }
        assert reached == expected


@given(logs())
def test_late_events_are_counted_as_the_detector_counts_them(log: list[Entry]):
    peaks = peaks_of(SHAPES, log)
    detector = new_detector(SHAPES, at_ms=log[0].append_ms, lateness_ms=LATENESS_MS)
    for entry in log:
        assert isinstance(entry.record, RowsRecord)
        detector.apply(entry.record, entry.offset, entry.append_ms)
    counters = detector.take_outcomes().counters
    assert (peaks.too_late, peaks.late, peaks.lost_late) == (
        counters["too_late"],
        counters["late"],
        counters["lost_late"],
    )


@pytest.mark.parametrize("disorder_ms", [0, 100_000])
def test_files_are_tuned_as_they_are_backtested(tmp_path: Path, disorder_ms: int):
    path = write(tmp_path / "log", stream(3_000, disorder_ms=disorder_ms))
    tuning = tune_files(settled(), [path], jobs=1)
    for tuned in tuning.rules:
        of_rule = dict(tuned.thresholds)
        assert tuned.rule.threshold in of_rule
        for threshold in (tuned.rule.threshold, 2, 5):
            rules = RuleSet(tuple(replace(known, threshold=threshold) for known in RULES.rules))
            hits = {
                (finding.subject, finding.order.split('"principal"')[0])
                for verdict in found([path], rules=rules).verdicts
                for finding in verdict.found
                if finding.rule == tuned.rule.id
            }
            if len(tuned.rule.group_by) == 1:
                assert of_rule[threshold] == len({subject for subject, _ in hits})


def test_the_number_of_processes_changes_nothing(tmp_path: Path):
    path = write(tmp_path / "log", stream(3_000, disorder_ms=100_000))
    alone, several = (tune_files(settled(), [path], jobs=jobs) for jobs in (1, 2))
    assert [tuned.plain() for tuned in alone.rules] == [tuned.plain() for tuned in several.rules]


def test_percentiles_and_thresholds_are_those_of_a_list_made_by_hand(tmp_path: Path):
    # Credential n reads n patients at once, n from 1 to 100.
    lines = [
        line(START_MS + 1000 * n, f"p{n}", f"patient-{k}", principal_kind="session" if n > 90 else "api_key")
        for n in range(1, 101)
        for k in range(n)
    ]
    tuning = tune_files(settled(), [write(tmp_path / "log", lines)], jobs=1)
    tuned = next(tuned for tuned in tuning.rules if tuned.rule.id == "patients")
    spread = tuned.spread
    assert (spread.subjects, spread.p50, spread.p90, spread.p99, spread.max) == (100, 50, 90, 99, 100)
    assert dict(tuned.thresholds) == {1: 100, 2: 99, 5: 96, 8: 93, 10: 91, 20: 81, 50: 51, 100: 1}
    person = credential_pseudonyms(KEYS.credential_key)
    top = [(f"default/{person(f'default/p{n}')}", n) for n in (100, 99)]
    assert [(one.subject, one.count) for one in tuned.top[:2]] == top
    assert {name: of.subjects for name, of in tuned.by_class.items()} == {"account": 10, "partner": 90}


def test_thresholds_end_where_a_rule_may_not_go():
    many = replace(RULES.rules[0], threshold=300)
    assert thresholds_around(many, 0) == [1, 2, 5, 10, 20, 50, 100, 200, 300]
    assert thresholds_around(many, 10**9)[-1] == LARGEST_THRESHOLD


def test_more_than_the_largest_threshold_is_told_as_at_least(tmp_path: Path):
    only = RuleSet((replace(RULES.rules[3], group_by=("principal",)),))
    lines = [line(START_MS + n, "p", "x", records=60_000) for n in range(3)]
    tuning = tune_files(settled(only), [write(tmp_path / "log", lines)], jobs=1)
    assert tuning.rules[0].spread.max == LARGEST_THRESHOLD
    assert tuning.rules[0].plain()["capped"] is True
