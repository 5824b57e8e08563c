"""What is told of incidents: native code follows them as Python does, record by record, through statuses and restarts."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import engine
from monitor.core.detector import Detector
from monitor.core.events import CATEGORY, ROUTE, TENANT, Row, RowsRecord
from monitor.core.outcomes import COUNTERS, Outcomes
from monitor.engine.native import NativeDetector
from monitor.engine.packed import decode
from monitor.wire.evidence import encode_evidence
from monitor.wire.routed import encode_rows
from tests.core.samples import (
    EVENTS,
    STATUSES,
    detectors_of,
    event,
    new_detector,
    over_the_wire,
    rule,
    rules_record,
    status_row,
)
from tests.rig.native import native

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.core.events import SourceId

RULES = [
    rule("many", timespan_ms=60, threshold=3),
    rule("read", counted="patient", timespan_ms=20, threshold=2),
    rule("of_patient", counted="principal", group_by=("patient",), timespan_ms=60, threshold=2),
]


def told(outcomes: Outcomes) -> list[Any]:
    """Return all that a detector told, its evidence as bytes."""
    evidence = list(encode_evidence(outcomes.evidence, "later"))
    counters = [outcomes.counters[name] for name in COUNTERS]
    return [outcomes.findings, outcomes.observations, evidence, outcomes.failed, counters]


class Both:
    """The same log through both detectors, which must tell the same after each record."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.detectors = [self._new(Detector), self._new(NativeDetector)]
        self.now_ms = 10_000
        self.offset = 0
        self.reached = {EVENTS: 0, STATUSES: 0}
        self.version = dict.fromkeys("pq", 0)
        self.found: list[str | None] = [None]
        self.seen: list[str] = []
        self.evidence = 0
        for detector in self.detectors:
            detector.activate(rules_record(RULES), 0)

    @staticmethod
    def _new(kind: type[Detector]) -> Detector:
        with detectors_of(kind):
            return new_detector()

    def take(self, source: SourceId, rows: Sequence[Row]) -> None:
        """Let both take a record."""
        first = self.reached[source]
        self.reached[source] += len(rows)
        numbered = [(first + n, *row[1:]) for n, row in enumerate(rows)]
        record = RowsRecord(source, first, first + len(rows) - 1, not first, numbered)
        pure, packed = self.detectors
        pure.apply(record, self.offset, self.now_ms)
        value = encode_rows(source, record.first, record.last, numbered, resume=record.resume)
        again = decode(value, "here")
        assert isinstance(again, RowsRecord)
        packed.apply(again, self.offset, self.now_ms)
        self.offset += 1
        outcomes = pure.take_outcomes()
        assert told(packed.take_outcomes()) == told(outcomes)
        for key in pure.subjects.take_dirty():
            assert plain(packed, key) == plain(pure, key)
        self.found += [found["id"] for found in outcomes.findings if found["axis"] == "principal"]
        self.seen += [seen["what"] for seen in outcomes.observations]
        self.evidence += len(outcomes.evidence)

    def restart(self) -> None:
        """Let each go on with what the other saved."""
        saved = [self._saved(detector) for detector in reversed(self.detectors)]
        self.detectors = [self._new(Detector), self._new(NativeDetector)]
        for detector, (rules, marks, subjects) in zip(self.detectors, saved, strict=True):
            detector.restore_rules(rules, self.offset - 1)
            for key, snapshot in subjects:
                detector.restore_subject(tuple(key), self.offset - 1, snapshot)
            detector.marks.restore(marks)

    @staticmethod
    def _saved(detector: Detector) -> Any:
        subjects = [(key, detector.snapshot_subject(key)) for key in list(detector.subjects.held.keys())]
        return over_the_wire([detector.snapshot_rules(), detector.marks.snapshot(), subjects])

    def step(self) -> None:
        """Let anything happen."""
        rng = self.rng
        self.now_ms += rng.choice((0, 1, 2, 5, 15, 40))
        match rng.random():
            case luck if luck < 0.05:
                self.restart()
            case luck if luck < 0.2:
                self.take(STATUSES, [self._status() for _ in range(rng.randint(1, 2))])
            case _:
                self.take(EVENTS, [self._event() for _ in range(rng.randint(1, 5))])

    def _status(self) -> Row:
        rng = self.rng
        principal = rng.choice("ppq")
        self.version[principal] += rng.choice((-1, 0, 0, 1, 1))
        return status_row(
            0,
            self.now_ms - rng.randint(0, 5),
            max(0, self.version[principal]),
            rng.choice(("active", "active", "suspended", "revoked")),
            principal=principal,
            finding=rng.choice(self.found[-3:]),
            restart_ms=rng.choice((None, None, self.now_ms - rng.randint(0, 9))),
            reopen_ms=rng.choice((None, None, self.now_ms - rng.randint(0, 9))),
            watch=rng.choice((None, *self.found[-3:])),
        )

    def _event(self) -> Row:
        rng = self.rng
        patients = [
            (f"{rng.choice('abc')}", rng.choice(("t1", "t2", None))) for _ in range(rng.randint(0, 2))
        ]
        time_ms = self.now_ms + rng.choice((0, 0, 0, 0, -1, -2, -5, -20, -70, 20))
        status = rng.choice((200, 200, 200, 204, 299, 300, 403, 429, 404))
        columns: dict[str, Any] = {
            "tenant": rng.choice((None, "t3", 'a "b"')),
            "category": rng.choice((None, "x")),
        }
        if rng.random() < 0.2:
            columns |= {"axis": "patient", "subject": rng.choice("abc")}
        row = event(0, time_ms, principal=rng.choice("ppq"), patients=patients, status=status, **columns)
        if rng.random() < 0.03:
            odd = list(row)
            odd[rng.choice((ROUTE, TENANT, CATEGORY))] = rng.choice((7, True, None))
            return odd
        return row


def plain(detector: Detector, key: tuple[str, str]) -> Any:
    """Return what is saved of a subject; the order of its series says nothing."""
    snapshot = over_the_wire(detector.snapshot_subject(key))
    return [*snapshot[:3], sorted(snapshot[3], key=repr), *snapshot[4:]]


@pytest.mark.timeout(600)
@settings(max_examples=300)
@given(st.integers(0, 1 << 32))
def test_native_code_follows_incidents_as_python_does(seed: int) -> None:
    native(engine.store)
    both = Both(random.Random(seed))
    for _ in range(40):
        both.step()


def test_the_logs_above_tell_of_everything() -> None:
    """Else they would compare nothing."""
    native(engine.store)
    seen, evidence = set[str](), 0
    for seed in range(20):
        both = Both(random.Random(seed))
        for _ in range(40):
            both.step()
        seen |= set(both.seen)
        evidence += both.evidence
    assert seen == {"exposed", "leaked", "refused", "quiet"}
    assert evidence > 100
