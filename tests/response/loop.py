"""The whole loop without a broker: a gateway, the detector, the casebook, and the way back, in simulated time.

What the gateway answers depends on what the book said at the time of the request; what detect hears
depends on when its log came. Both can be torn down and made again from what they saved.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from monitor.core.detector import Detector
from monitor.core.events import RowKind, RowsRecord, SourceId
from monitor.core.evidence import Evidence
from monitor.response import lifecycle
from monitor.response.acting import on_act
from monitor.response.casebook import Casebook
from monitor.response.observing import on_observation
from monitor.wire.credentials import decode_credential, encode, status_entry
from tests.core.samples import compile_pattern, event, rules_record
from tests.response.stage import POLICY

if TYPE_CHECKING:
    from monitor.core.rules import Rule
    from monitor.response.answers import Answer
    from monitor.response.states import Step
    from monitor.wire.acts import Act
    from monitor.wire.credentials import CredentialRecord

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
START_MS = 1_800_000_000_000
EVENTS = SourceId("c", "id-events", "events", 0)
STATUSES = SourceId("c", "id-status", "status", 0)


class Loop:
    """One installation. `now_ms` is the time of whatever comes next; decisions take none."""

    def __init__(self, *rules: Rule, lateness_ms: int = 14 * 24 * HOUR_MS, **policy: Any) -> None:
        self.rules = rules
        self.lateness_ms = lateness_ms
        self.book = Casebook(replace(POLICY, **policy))
        self.detector = self._detector()
        self.detector.activate(rules_record(rules), START_MS - 30 * 24 * HOUR_MS)
        self.now_ms = START_MS
        self.offset = 0
        self.reached = {EVENTS: 0, STATUSES: 0}
        self.kinds: list[str] = []
        self.decisions: list[dict[str, Any]] = []
        self.evidence: list[Evidence] = []
        #: (principal, time of the request, patient) of each success.
        self.served: list[tuple[str, int, str]] = []
        #: When each version was decided, by credential.
        self.history: dict[str, list[tuple[int, bool]]] = {}

    def _detector(self) -> Detector:
        return Detector(
            0,
            allowed_lateness_ms=self.lateness_ms,
            compile_pattern=compile_pattern,
            unpack=msgspec.msgpack.decode,
        )

    def request(
        self, patient: str, principal: str = "p", *, at_ms: int | None = None, append_ms: int | None = None
    ) -> int:
        """Make a request at a time, whose log comes at `append_ms`; return the gateway's answer."""
        at = self.now_ms if at_ms is None else at_ms
        self.now_ms = max(self.now_ms, at if append_ms is None else append_ms)
        refused = [said for when, said in self.history.get(f"gw/{principal}", []) if when < at]
        status = 403 if refused and refused[-1] else 200
        if status == 200:
            self.served.append((principal, at, patient))
        row = event(0, at, principal=principal, patients=[(patient, "t1")], status=status)
        self._apply(EVENTS, row)
        return status

    def act(self, act: Act) -> Answer:
        """Let a person act now."""
        answer = on_act(self.book, act, self.now_ms)
        self._take(answer.step)
        return answer

    def tick(self) -> None:
        """Let time end what is over."""
        for record in list(self.book.records.values()):
            self._take(lifecycle.on_tick(self.book, record, self.now_ms))

    def restart(self) -> None:
        """Tear both down, and make them again from what they saved."""
        saved = {key: self.detector.snapshot_subject(key) for key in list(self.detector.subjects.held)}
        rules, marks = self.detector.snapshot_rules(), self.detector.marks.snapshot()
        self.detector = self._detector()
        stamp = self.offset - 1
        self.detector.restore_rules(_over_the_wire(rules), stamp)
        for key, plain in saved.items():
            self.detector.restore_subject(key, stamp, _over_the_wire(plain))
        self.detector.marks.restore(_over_the_wire(marks))
        records = {subject: decode_credential(encode(r), "here") for subject, r in self.book.records.items()}
        self.book = replace(self.book, records=records)
        for record in records.values():
            self._say(record)  # as every enforcer does that takes over

    def record(self, principal: str = "p") -> CredentialRecord | None:
        """Return the record of a credential."""
        return self.book.records.get(f"gw/{principal}")

    def count(self, kind: str) -> int:
        """How many decisions there were of a kind."""
        return self.kinds.count(kind)

    def _apply(self, source: SourceId, row: Any) -> None:
        at = self.reached[source]
        self.reached[source] += 1
        record = RowsRecord(source, at, at, at == 0, [(at, *row[1:])])
        self.detector.apply(record, self.offset, self.now_ms)
        self.offset += 1
        outcomes = self.detector.take_outcomes()
        assert not outcomes.failed
        for entry in outcomes.evidence:
            assert isinstance(entry, Evidence)
            self.evidence.append(entry)
        for found in outcomes.findings:
            self._take(lifecycle.on_finding(self.book, found, self.now_ms))
        for seen in outcomes.observations:
            self._take(on_observation(self.book.records.get(seen["subject"]), seen, self.now_ms))

    def _take(self, step: Step) -> None:
        self.book.take(step)
        for part in step.parts():
            self.kinds += [decision.kind for decision in part.decisions]
            self.decisions += [{"kind": d.kind, **d.details} for d in part.decisions]
            if part.record is not None and (part.told or part.heard):
                past = self.history.setdefault(part.record.subject, [])
                past.append((self.now_ms, part.record.refused))
                self._say(part.record)

    def _say(self, record: CredentialRecord) -> None:
        entry = status_entry(record)
        row = (
            0,
            RowKind.STATUS.value,
            "principal",
            record.subject,
            entry.at_ms,
            entry.version,
            entry.status.value,
            entry.finding,
            entry.restart_ms,
            entry.reopen_ms,
            entry.watch,
        )
        self._apply(STATUSES, row)


def _over_the_wire(plain: Any) -> Any:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(plain))
