"""Plays a scenario through the path of live: decoding, routing, detectors, statuses, rule sets."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from monitor.core.detector import Detector
from monitor.core.events import AXIS_PRINCIPAL, Row, RowKind, RulesRecord, SourceId
from monitor.core.rules import RuleSet, rule_set_document
from monitor.intake.formats import find_format
from monitor.intake.pseudonym import Pseudonyms
from monitor.intake.rows import EventRouter
from monitor.rulebook import compile_pattern, load_rules
from monitor.trial.cases import KEYS
from monitor.wire import routed

if TYPE_CHECKING:
    from pathlib import Path

EVENTS = SourceId("cluster", "events-id", "events", 0)
STATUSES = SourceId("cluster", "status-id", "status", 0)
DAY_MS = 86_400_000


def moment(text: str) -> int:
    """Return RFC 3339 as epoch milliseconds."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def words(time_ms: int) -> str:
    """Return epoch milliseconds as RFC 3339."""
    return (
        datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


class Play:
    """One run of a scenario over some partitions; `seed` decides what is delivered again and restored."""

    def __init__(self, folder: Path, partitions: int, seed: int) -> None:
        self.folder, self.partitions = folder, partitions
        self.rng = random.Random(seed)
        self.lines = [
            msgspec.json.decode(line) for line in (folder / "events.jsonl").read_bytes().splitlines()
        ]
        options = self.lines.pop(0) if "options" in self.lines[0] else {}
        given = options.get("options", {})
        decoder = find_format("canonical", "scenario").decoder
        self.decode = decoder("r", trust_ids=given.get("event_ids") == "gateway")
        self.classes = given.get("classes", {})
        self.detectors = [self._new(number) for number in range(partitions)]
        self.saved: list[dict[Any, tuple[int, Any]]] = [{} for _ in self.detectors]
        self.version = 0
        self.covered: dict[tuple[SourceId, int], int] = {}
        self.reached = {EVENTS: 0, STATUSES: 0}
        self.sent: list[list[tuple[int, int, bytes]]] = [[] for _ in self.detectors]
        self.names: dict[str, str] = {}
        self.found: dict[str, dict[str, Any]] = {}

    def run(self) -> list[dict[str, Any]]:
        """Return what was found, in words of the scenario."""
        latest_ms = 0
        deliveries = []
        for line in self.lines:
            time_ms = moment(line["time"]) if "time" in line else latest_ms
            latest_ms = max(latest_ms, time_ms)
            deliveries.append((moment(line["delivered"]) if "delivered" in line else latest_ms, line))
        deliveries.sort(key=lambda delivery: delivery[0])
        self._rules("rules.yml", deliveries[0][0] - 100 * DAY_MS)
        for append_ms, line in deliveries:
            if "rules" in line:
                self._rules(line["rules"], append_ms)
            elif "status" in line and isinstance(line["status"], dict):
                self._status(line["status"], append_ms)
            else:
                self._event(line.get("event", line), append_ms)
            self._disturb(append_ms)
        return sorted((self._in_words(one) for one in self.found.values()), key=msgspec.json.encode)

    def _new(self, number: int) -> Detector:
        return Detector(number, allowed_lateness_ms=3_600_000, compile_pattern=compile_pattern)

    def _rules(self, name: str, append_ms: int) -> None:
        loaded = load_rules([self.folder / name]).rule_set
        rule_set = RuleSet(loaded.rules, loaded.allow_lists, self.classes)
        self.router = EventRouter(rule_set, KEYS, self.partitions, compile_pattern)
        self.version += 1
        record = RulesRecord(self.version, rule_set.revision, rule_set_document(rule_set))
        for target in range(self.partitions):
            self._send(target, append_ms, routed.encode_rules(record))

    def _event(self, plain: dict[str, Any], append_ms: int) -> None:
        pseudonyms = Pseudonyms.newest(KEYS)
        for event in self.decode(msgspec.json.encode(plain)):
            self.names |= {pseudonyms.patient(patient): patient for patient, _ in event.patients}
            if event.client_ip is not None:
                self.names[pseudonyms.client_ip(event.client_ip)] = event.client_ip
            self._rows(EVENTS, self.router.route((event,), self.reached[EVENTS]), append_ms)

    def _status(self, status: dict[str, str], append_ms: int) -> None:
        offset, subject = self.reached[STATUSES], status["credential"]
        row = (
            offset,
            RowKind.STATUS.value,
            AXIS_PRINCIPAL,
            subject,
            append_ms,
            offset + 1,
            status["becomes"],
            None,
        )
        self._rows(STATUSES, [(KEYS.partition(AXIS_PRINCIPAL, subject, self.partitions), row)], append_ms)

    def _rows(self, source: SourceId, rows: list[tuple[int, Row]], append_ms: int) -> None:
        offset = self.reached[source]
        self.reached[source] += 1
        for target in sorted({target for target, _ in rows}):
            before = self.covered.get((source, target))
            self.covered[source, target] = offset
            own = [row for at, row in rows if at == target]
            first = 0 if before is None else before + 1
            self._send(
                target, append_ms, routed.encode_rows(source, first, offset, own, resume=before is None)
            )

    def _send(self, target: int, append_ms: int, value: bytes) -> None:
        log = self.sent[target]
        log.append((len(log), append_ms, value))
        self._put(target, len(log) - 1, append_ms, value)

    def _put(self, target: int, offset: int, append_ms: int, value: bytes) -> None:
        detector, record = self.detectors[target], routed.decode(value, "scenario")
        if isinstance(record, RulesRecord):
            detector.activate(record, append_ms)
        else:
            detector.apply(record, offset, append_ms)
        outcomes = detector.take_outcomes()
        assert not outcomes.failed
        assert not outcomes.counters["gaps"]
        for finding in outcomes.findings:
            assert self.found.setdefault(finding["id"], finding) == finding

    def _disturb(self, append_ms: int) -> None:
        """Free what has expired, deliver records again, save and restore: none of it may matter."""
        dice = self.rng.random()
        if dice > 0.02:
            return
        target = self.rng.randrange(self.partitions)
        detector, log, saved = self.detectors[target], self.sent[target], self.saved[target]
        if not log:
            return
        stamp = log[-1][0]
        for key in detector.sweep(append_ms, 100):
            saved[key] = stamp, None
        for key in detector.subjects.take_dirty():
            saved[key] = stamp, _over_the_wire(detector.snapshot_subject(key))
        restored = self.detectors[target] = self._new(target)
        restored.restore_rules(_over_the_wire(detector.snapshot_rules()), stamp)
        for key, (at, plain) in saved.items():
            restored.restore_subject(key, at, plain)
        restored.marks.restore(_over_the_wire(detector.marks.snapshot()))
        for offset, at_ms, value in log[-self.rng.randint(1, 30) :]:
            self._put(target, offset, at_ms, value)

    def _in_words(self, finding: dict[str, Any]) -> dict[str, Any]:
        subject = finding["subject"]
        return {
            "rule": finding["rule"]["title"],
            "subject": self.names.get(subject, subject),
            "time": words(finding["window"]["to_ms"]),
            "value": finding["value"],
            "threshold": finding["threshold"],
            "straggler": finding["straggler"],
            "warming": finding["warming"],
            "patients": finding["patients"],
            "tenants": finding["tenants"],
        }


def _over_the_wire(plain: Any) -> Any:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(plain))
