"""The durable side of the enforcer: one transaction per change, fenced against an older enforcer.

Decisions, credentials and the enforcer's position become visible together or not at all. Each
decision holds the hash of the one before, from the first one on.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec
from aiokafka import AIOKafkaProducer

from monitor.errors import InvariantError
from monitor.stream.kafka import aiokafka_options
from monitor.stream.producers import drop_producer, start_producer, transact
from monitor.stream.read import end_offsets, read_to_end
from monitor.stream.steps import reached
from monitor.wire.credentials import (
    ENFORCER_KEY,
    INCIDENT_KEY,
    RULES_KEY,
    CredentialRecord,
    EnforcerRecord,
    RulesInForce,
    decision_hash,
    decode_credential,
    decode_enforcer,
    decode_rules,
    encode,
    encode_decision,
    is_credential,
)
from monitor.wire.safety import (
    ALLOWED_KEY,
    BREAK_GLASS_KEY,
    FUSE_KEY,
    AllowedRecord,
    BreakGlass,
    FuseRecord,
    decode_allowed,
    decode_break_glass,
    decode_fuse,
    fuse_record,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monitor.response.states import Decision, Step
    from monitor.settings import Settings

#: Readers wait for open transactions, so one that hangs is aborted soon. In milliseconds.
TRANSACTION_TIMEOUT_MS = 10_000


def changes_of(steps: Sequence[Step]) -> dict[bytes, msgspec.Struct | None]:
    """Return the records of `credentials` that steps change, by key; None deletes."""
    changes: dict[bytes, msgspec.Struct | None] = {}
    fuse = None
    for step in steps:
        if step.archived is not None:
            changes[INCIDENT_KEY + step.archived.incident.encode()] = step.archived
        if step.record is not None:
            changes[step.record.subject.encode()] = step.record
        if step.allowed is not None:
            changes[ALLOWED_KEY + step.allowed.subject.encode()] = step.allowed
        fuse = step.fuse or fuse
        if step.glass is not None:
            changes[BREAK_GLASS_KEY] = step.glass
        changes.update(dict.fromkeys(step.forgotten))
    if fuse is not None:
        # The last one alone: it counts all that the others do, and may be long.
        changes[FUSE_KEY] = fuse_record(fuse)
    return changes


class Ledger:
    """Reads and writes `credentials` and `decisions` as the one active enforcer."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._credentials_topic = settings.topic("credentials")
        self._decisions_topic = settings.topic("decisions")
        self._producer: AIOKafkaProducer | None = None
        self._writing = asyncio.Lock()
        #: What of the position is this enforcer's own, whatever the one before left.
        self._own: dict[str, Any] = {"mode": settings.response.mode, "operator": _operator_url(settings)}
        self.position = EnforcerRecord(**self._own)
        #: The mode of the enforcer before, None where there was none.
        self.mode_before: str | None = None
        self.credentials: dict[str, CredentialRecord] = {}
        self.incidents: dict[str, CredentialRecord] = {}
        self.allowed: dict[str, AllowedRecord] = {}
        self.fuse = FuseRecord()
        self.glass = BreakGlass()
        self.rules: RulesInForce | None = None
        self._known = False

    async def take_over(self, *, findings_anew: bool = False) -> None:
        """Fence whoever was active before, and only then read what it left.

        Raises InvariantError where the topics do not belong together: one was emptied or made again. With
        `findings_anew` that may be `findings`.
        """
        kafka = self._settings.kafka
        producer = AIOKafkaProducer(
            **aiokafka_options(kafka),
            transactional_id=f"{kafka.topic_prefix}enforcer",
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            max_request_size=4 << 20,
            linger_ms=0,
        )
        await start_producer(kafka, producer)
        self._producer = producer
        reached("enforce.fenced")
        async for records, _, _ in read_to_end(kafka, self._credentials_topic, 0):
            for record in records:
                self._restore(record.key, record.value, record.offset)
        await self._check_ends(findings_anew)

    async def _check_ends(self, findings_anew: bool) -> None:
        """Raise InvariantError where a topic was emptied: that must not mean that all is allowed."""
        findings = self._settings.topic("findings")
        ends = await end_offsets(self._settings.kafka, [self._decisions_topic, findings])
        # An enforcer gives its first sign of life before it decides anything.
        if not self._known and ends[self._decisions_topic] > 0:
            msg = (
                f"{self._credentials_topic}: holds no sign of an enforcer, but {self._decisions_topic} has"
                " decisions: it was emptied or made again, and who is refused is lost; restore it, or"
                " delete both topics and run `monitor init` to begin anew with nobody refused"
            )
            raise InvariantError(msg)
        if self.position.findings_offset > ends[findings] and not findings_anew:
            msg = (
                f"{findings}-0: decided up to {self.position.findings_offset}, but it ends at"
                f" {ends[findings]}: it was made again, and what is found now would be passed over; stop the"
                f" workers, then `monitor init --adopt {findings}` takes it as it is now"
            )
            raise InvariantError(msg)

    def _restore(self, key: bytes, value: bytes | None, offset: int) -> None:
        place = f"{self._credentials_topic}-0 offset {offset}"
        if value is None:
            self.credentials.pop(key.decode(), None)
            self.incidents.pop(key.removeprefix(INCIDENT_KEY).decode(), None)
            self.allowed.pop(key.removeprefix(ALLOWED_KEY).decode(), None)
        elif key == ENFORCER_KEY:
            self._known = True
            position = decode_enforcer(value, place)
            self.mode_before = position.mode
            self.position = msgspec.structs.replace(position, **self._own)
        elif key == RULES_KEY:
            self.rules = decode_rules(value, place)
        elif key == FUSE_KEY:
            self.fuse = decode_fuse(value, place)
        elif key == BREAK_GLASS_KEY:
            self.glass = decode_break_glass(value, place)
        elif key.startswith(INCIDENT_KEY):
            incident = decode_credential(value, place)
            self.incidents[incident.incident] = incident
        elif key.startswith(ALLOWED_KEY):
            allowed = decode_allowed(value, place)
            self.allowed[allowed.subject] = allowed
        elif is_credential(key):
            credential = decode_credential(value, place)
            self.credentials[credential.subject] = credential

    async def commit(
        self,
        decisions: Sequence[Decision],
        changes: Mapping[bytes, msgspec.Struct | None],
        position: EnforcerRecord,
        rules: RulesInForce | None = None,
    ) -> None:
        """Make a change durable: all of it, or nothing. `changes` of `credentials`: None deletes.

        Raises SendError where Kafka did not take it or another enforcer has taken over: what is in
        memory then ends with this enforcer.
        """
        now_ms = int(time.time() * 1000)
        entries = []
        sequence, previous = position.sequence, position.hash
        for decision in decisions:
            entry = encode_decision(sequence, previous, decision.kind, now_ms, dict(decision.details))
            sequence, previous = sequence + 1, decision_hash(entry)
            entries.append(entry)
        position = msgspec.structs.replace(position, sequence=sequence, hash=previous, heartbeat_ms=now_ms)
        written = [(key, None if record is None else encode(record)) for key, record in changes.items()]
        if rules is not None:
            written.append((RULES_KEY, encode(rules)))
        written.append((ENFORCER_KEY, encode(position)))
        async with self._writing:
            reached("enforce.before-transaction")
            await self._write(entries, written)
            reached("enforce.after-transaction")
        self.position = position
        if rules is not None:
            self.rules = rules

    async def _write(self, entries: Sequence[bytes], written: Sequence[tuple[bytes, bytes | None]]) -> None:
        producer = self._producer
        if producer is None:
            msg = "the ledger was written to before the take-over"
            raise InvariantError(msg)

        async def send() -> None:
            # aiokafka keeps their order: both go through one queue per partition.
            sends = [await producer.send(self._decisions_topic, entry, partition=0) for entry in entries]
            sends += [
                await producer.send(self._credentials_topic, value, key=key, partition=0)
                for key, value in written
            ]
            await asyncio.gather(*sends)
            if entries:  # signs of life come every two seconds: no test could count on a decision
                reached("enforce.in-transaction")

        # Fenced: another enforcer has taken over, or Kafka took longer than the transaction may last.
        what = f"{self._decisions_topic}: a decision was not written"
        await transact(self._settings.kafka, producer, what, send)

    async def drop(self) -> None:
        """Stop writing at once; a change under way is made or not, as Kafka has it."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await drop_producer(producer)

    async def close(self) -> None:
        """Stop writing, after a change that is under way."""
        async with self._writing:
            producer, self._producer = self._producer, None
            if producer is not None:
                await producer.stop()


def _operator_url(settings: Settings) -> str:
    return "" if settings.operator.allowed_signers_file is None else settings.operator.own_url
