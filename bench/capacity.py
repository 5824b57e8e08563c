"""Bytes that our topics take: `routed` per event, `state` per subject, `findings` and `evidence` per finding.

Drives what the roles run, without Kafka: the default pack, canonical events, the encoders of each topic.
Kafka adds about 70 bytes to a batch and 10 to a record; replication multiplies. Our producers do not
compress. ``python bench/capacity.py [EVENTS]`` prints a table.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import orjson
from events import EVENTS_PER_SECOND, START_MS, events

from monitor.core.detector import Detector
from monitor.core.events import AXIS, TIME, RowsRecord, RulesRecord, SourceId
from monitor.core.evidence import Evidence, row_evidence
from monitor.core.rules import AllOf, Rule, RuleSet, rule_set_document
from monitor.intake.canonical import CanonicalFormat
from monitor.intake.keys import new_keys
from monitor.intake.rows import EventRouter
from monitor.rulebook import compile_pattern, load_rules
from monitor.wire.evidence import encode_evidence
from monitor.wire.routed import encode_rows
from monitor.wire.state import encode_subject

if TYPE_CHECKING:
    from monitor.core.events import Row

SOURCE: Final = SourceId("cluster", "5f0b0f7e-topic-id", "events", 0)
LATENESS_MS: Final = 3_600_000
PARTITIONS: Final = 4


def new_detector(rules: RuleSet) -> Detector:
    """Return a detector that judges by a rule set from before the first event."""
    detector = Detector(0, allowed_lateness_ms=LATENESS_MS, compile_pattern=compile_pattern)
    detector.activate(RulesRecord(1, "r", rule_set_document(rules)), START_MS - 40 * 86_400_000)
    return detector


def routed(count: int, chunk: int) -> tuple[float, float, float]:
    """Return (source bytes, rows, routed bytes) of an event, where intake takes `chunk` events at once."""
    rules = load_rules(["pack:default"]).rule_set
    router = EventRouter(rules, new_keys(), PARTITIONS, compile_pattern)
    decode = CanonicalFormat().decoder("gateway-1")
    source_bytes = rows = size = 0
    waiting: dict[int, list[Row]] = {}
    for offset, (_, value) in enumerate(events(count)):
        source_bytes += len(value)
        decoded = decode(value, ())
        for partition, row in router.route(decoded, offset):
            waiting.setdefault(partition, []).append(row)
        if offset % chunk == chunk - 1 or offset == count - 1:
            for of_partition in waiting.values():
                rows += len(of_partition)
                size += len(encode_rows(SOURCE, 0, offset, of_partition, resume=False))
            waiting = {}
    return source_bytes / count, rows / count, size / count


def patients_rule(threshold: int) -> RuleSet:
    """Return one rule: so many different patients within ten minutes."""
    only = Rule("patients", "P", "value_count", AllOf(()), ("principal",), 600_000, threshold, "patient")
    return RuleSet((only,))


def one_credential(rules: RuleSet, count: int) -> tuple[int, float, int, int]:
    """Return bytes of state, of state per patient read, of findings, and of the evidence of one finding.

    A credential reads `count` different patients within five minutes.
    """
    router = EventRouter(rules, new_keys(), 1, compile_pattern)
    decode = CanonicalFormat().decoder("gateway-1")
    detector = new_detector(rules)
    rows = []
    for offset, (_, value) in enumerate(events(count)):
        event = orjson.loads(value)
        event |= {"principal": "partner-1", "patient": f"patient-{offset}", "status": 200}
        event["time"] = START_MS + offset * 300_000 // count
        decoded = decode(orjson.dumps(event), ())
        rows += [row for _, row in router.route(decoded, offset)]
    detector.apply(RowsRecord(SOURCE, 0, count - 1, resume=True, rows=rows), 0, START_MS + 300_000)
    outcomes = detector.take_outcomes()
    findings = sum(len(orjson.dumps(found)) for found in outcomes.findings)
    # What the enforcer gathers: every read of the window.
    read = [
        Evidence("f" * 32, *row_evidence(row), row[TIME], SOURCE) for row in rows if row[AXIS] == "principal"
    ]
    evidence = sum(len(key) + len(value) for key, value in encode_evidence(read, "window"))
    state = {"principal": 0, "patient": 0}
    for key in detector.subjects.take_dirty():
        saved = encode_subject(key, 0, detector.subjects.counts_until(key), detector.snapshot_subject(key))
        size = len(saved.key) + len(saved.value) + sum(len(k) + len(v) for k, v in saved.pages.items())
        state[key[0]] = state.get(key[0], 0) + size
    return state["principal"], state["patient"] / count, findings, evidence


def written(count: int, per_flush: int) -> tuple[float, float, int]:
    """Return (subjects saved, bytes of state) for an event, and the bytes of all subjects' last records."""
    rules = load_rules(["pack:default"]).rule_set
    router = EventRouter(rules, new_keys(), 1, compile_pattern)
    decode = CanonicalFormat().decoder("gateway-1")
    detector = new_detector(rules)
    saved_subjects = size = 0
    last: dict[bytes, int] = {}
    rows: list[Row] = []
    for offset, (_, value) in enumerate(events(count)):
        rows += [row for _, row in router.route(decode(value, ()), offset)]
        if offset % per_flush != per_flush - 1:
            continue
        at_ms = START_MS + offset * 1000 // EVENTS_PER_SECOND
        record = RowsRecord(SOURCE, offset - per_flush + 1, offset, resume=offset + 1 == per_flush, rows=rows)
        detector.apply(record, offset, at_ms)
        rows = []
        for key in detector.subjects.take_dirty():
            encoded = encode_subject(
                key, offset, detector.subjects.counts_until(key), detector.snapshot_subject(key)
            )
            saved_subjects += 1
            records = {encoded.key: encoded.value, **encoded.pages}
            size += sum(len(name) + len(content) for name, content in records.items())
            last[encoded.key] = sum(len(name) + len(content) for name, content in records.items())
    return saved_subjects / count, size / count, sum(last.values())


def main() -> None:
    """Print the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    for chunk in (1, 100, 2_000):
        source, rows, size = routed(count, chunk)
        print(
            f"routed, {chunk:>5,} events at once {size:>12,.0f} bytes/event, {rows:.2f} rows ({source:.0f} B source)"
        )
    for seconds in (1, 5, 30):
        subjects, size, last = written(3 * count, EVENTS_PER_SECOND * seconds)
        print(
            f"state, a flush every {seconds:>2} s {size:>12,.0f} bytes/event, {subjects:.2f} subjects/event"
            f" ({last:,} B in all at the end)"
        )
    pack = load_rules(["pack:default"]).rule_set
    for what, rules, reads in (
        ("one event, default pack", pack, 1),
        ("200 patients, default pack", pack, 200),
        ("one event, one rule", patients_rule(200), 1),
        ("full at 200, one rule", patients_rule(200), 200),
        ("full at 40,000, one rule", patients_rule(40_000), 40_000),
    ):
        state, patient, findings, evidence = one_credential(rules, reads)
        print(
            f"{what:<28} {state:>10,} B of state, {patient:,.0f} per patient, {findings:,} of findings,"
            f" {evidence:,} of evidence"
        )


if __name__ == "__main__":
    main()
