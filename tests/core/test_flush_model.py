"""A model of the flush: the real detector, saved step by step, crashing after every step.

The right order gives the findings of a run without a crash. Each wrong order must lose something, or
the model would prove nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from monitor.core.detector import Detector
from monitor.core.events import AXIS, SUBJECT, RowsRecord
from tests.core.samples import (
    EVENTS,
    LATENESS_MS,
    OTHER_EVENTS,
    STATUSES,
    Entry,
    compile_pattern,
    event,
    new_detector,
    over_the_wire,
    put,
    rule,
    rules_record,
    status_row,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monitor.core.events import Row
    from monitor.core.findings import Place

pytestmark = pytest.mark.usefixtures("both_detectors")

RULES = [
    rule("three", timespan_ms=60, threshold=3),
    rule("patients", counted="patient", timespan_ms=60, threshold=3),
    rule("readers", counted="principal", group_by=("patient",), timespan_ms=60, threshold=2),
]
CHUNK = 2
CHUNKS_PER_FLUSH = 2
START = 1_000


class Crashed(Exception):  # noqa: N818 - it is no error here
    """The process ends at this step."""


class RunningStamp(Detector):
    """Compares with the stamp as it runs on, not as it was recovered: wrong."""

    def _event(self, row: Row, place: Place) -> None:
        super()._event(row, place)
        subject = self.subjects.held.get((row[AXIS], row[SUBJECT]))
        if subject is not None and subject.dirty:
            subject.recovered = self._offset


class Durable:
    """What survives a crash."""

    def __init__(self) -> None:
        self.subjects: dict[Any, tuple[int, Any]] = {}
        self.rules: Any = None
        self.marks: Any = None
        self.position = 0
        self.findings: list[dict[str, Any]] = []


class Run:
    """One run over a log, with a crash after a given number of steps."""

    def __init__(self, log: list[Entry], crash_at: int, order: str) -> None:
        self.log, self.crash_at, self.order = log, crash_at, order
        self.durable, self.steps = Durable(), 0
        while True:
            try:
                self._process()
            except Crashed:
                continue
            return

    def _step(self) -> None:
        self.steps += 1
        if self.steps == self.crash_at:
            raise Crashed

    def _process(self) -> None:
        kind = RunningStamp if self.order == "running stamp" else Detector
        self.detector = kind(3, allowed_lateness_ms=LATENESS_MS, compile_pattern=compile_pattern)
        durable = self.durable
        if durable.rules is not None:
            self.detector.restore_rules(*durable.rules)
        for key, (stamp, plain) in durable.subjects.items():
            self.detector.restore_subject(key, stamp, plain)
        if durable.marks is not None:
            self.detector.marks.restore(durable.marks)
        self.position, chunks = durable.position, 0
        while self.position < len(self.log):
            self._step()
            self._chunk()
            chunks += 1
            if chunks % CHUNKS_PER_FLUSH == 0:
                self._flush()
        self._flush()

    def _chunk(self) -> None:
        for entry in self.log[self.position : self.position + CHUNK]:
            put(self.detector, entry)
            self.position += 1

    def _flush(self) -> None:
        durable, detector, position = self.durable, self.detector, self.position
        if position == durable.position:
            return
        stamp = self.log[position - 1].offset
        found = detector.take_outcomes().findings
        dirty = {key: over_the_wire(detector.snapshot_subject(key)) for key in detector.subjects.take_dirty()}
        rules = over_the_wire(detector.snapshot_rules())
        marks = over_the_wire(detector.marks.snapshot())
        if self.order != "state before findings":
            self._findings(found)
        if self.order == "marks serialised late":
            self._chunk()  # the flush waits for acknowledgements, and meanwhile a chunk is applied
        for key, plain in dirty.items():
            self._step()
            durable.subjects[key] = stamp, plain
        self._step()
        durable.rules = rules, stamp
        self._step()
        durable.marks = marks
        if self.order == "marks serialised late":
            durable.marks = over_the_wire(detector.marks.snapshot())
        if self.order == "state before findings":
            self._findings(found)
        self._step()
        durable.position = position

    def _findings(self, found: list[dict[str, Any]]) -> None:
        for one in found:
            self._step()
            self.durable.findings.append(one)


def two_subjects() -> list[Entry]:
    """Return a log of records with rows of several subjects."""
    entries = [Entry(0, START, rules_record(RULES))]
    for number in range(8):
        rows = [
            event(offset, START + offset, principal="k" if offset % 2 == 0 else f"m{offset % 4}")
            for offset in (2 * number, 2 * number + 1)
        ]
        record = RowsRecord(EVENTS, 2 * number, 2 * number + 1, number == 0, rows)
        entries.append(Entry(3 * (number + 1), START + 20, record))
    return entries


def two_routes() -> list[Entry]:
    """Return a log where each source offset gives rows to two subjects."""
    entries = [Entry(0, START, rules_record(RULES))]
    for number in range(6):
        pair = (f"patient-{number % 3}", None)
        same: dict[str, Any] = {"principal": f"p{number % 2}", "patients": [pair]}
        rows = [
            event(number, START + number, **same),
            event(number, START + number, axis="patient", subject=pair[0], **same),
        ]
        record = RowsRecord(OTHER_EVENTS, number, number, number == 0, rows)
        entries.append(Entry(number + 1, START + 20, record))
    return entries


def one_subject_twice_in_a_record() -> list[Entry]:
    """Return a log whose records hold two rows of one subject."""
    entries = [Entry(0, START, rules_record(RULES))]
    for number in range(4):
        rows = [event(offset, START + offset) for offset in (2 * number, 2 * number + 1)]
        record = RowsRecord(EVENTS, 2 * number, 2 * number + 1, number == 0, rows)
        entries.append(Entry(number + 1, START + 20, record))
    return entries


def with_statuses_and_rules() -> list[Entry]:
    """Return a log in which a credential is refused, active again, and the rules change."""
    events = two_subjects()
    statuses = [
        Entry(
            100,
            START + 20,
            RowsRecord(STATUSES, 0, 0, True, [status_row(0, START, 1, "suspended", principal="k")]),
        ),
        Entry(101, START + 20, rules_record([rule("three", timespan_ms=60, threshold=2)], 2)),
        Entry(
            102,
            START + 20,
            RowsRecord(STATUSES, 1, 1, False, [status_row(1, START, 2, "active", principal="k")]),
        ),
    ]
    log = [*events[:4], statuses[0], *events[4:6], statuses[1], *events[6:7], statuses[2], *events[7:]]
    return [Entry(2 * number, entry.append_ms, entry.record) for number, entry in enumerate(log)]


LOGS = {
    make.__name__: make()
    for make in (two_subjects, two_routes, one_subject_twice_in_a_record, with_statuses_and_rules)
}


def oracle(log: list[Entry]) -> tuple[dict[str, bytes], Detector]:
    """Return the findings of a run that is never saved, and its detector."""
    detector = new_detector()
    for entry in log:
        put(detector, entry)
    return text(detector.take_outcomes().findings), detector


def runs(log: list[Entry], order: str) -> Iterator[Run]:
    """Yield the run without a crash, and one for every step."""
    whole = Run(log, -1, order)
    yield whole
    for crash_at in range(1, whole.steps + 1):
        yield Run(log, crash_at, order)


def wrong(log: list[Entry], order: str) -> int:
    """Return how many runs differ from the oracle in their findings."""
    expected, _ = oracle(log)
    different = 0
    for run in runs(log, order):
        try:
            different += text(run.durable.findings) != expected
        except AssertionError:
            different += 1  # one id with two contents
    return different


@pytest.mark.parametrize("name", LOGS)
def test_the_right_order_survives_a_crash_at_every_step(name: str) -> None:
    log = LOGS[name]
    expected, detector = oracle(log)
    assert expected
    changed = set(detector.subjects.take_dirty())
    for run in runs(log, "right"):
        assert text(run.durable.findings) == expected
        assert run.durable.marks == over_the_wire(detector.marks.snapshot())
        assert run.durable.subjects.keys() == changed
        for key, (_, plain) in run.durable.subjects.items():
            assert plain == over_the_wire(detector.snapshot_subject(key))


@pytest.mark.parametrize("order", ["state before findings", "marks serialised late", "running stamp"])
def test_a_wrong_order_loses(order: str) -> None:
    assert sum(wrong(log, order) for log in LOGS.values()) > 0
