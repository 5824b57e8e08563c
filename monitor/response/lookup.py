"""Which patients an incident touched, by pseudonym; and the record that somebody asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from monitor.errors import BrokerUnavailableError, ConfigurationError, Fault
from monitor.response.evidence import read_evidence
from monitor.stream.kafka import aiokafka_options
from monitor.stream.read import read_to_end
from monitor.wire.credentials import encode

if TYPE_CHECKING:
    from monitor.settings import Settings
    from monitor.wire.credentials import LookUp


@dataclass(slots=True)
class Reads:
    """The successful reads of one patient: how many, the first and the last, in epoch ms."""

    count: int = 0
    first_ms: int = 0
    last_ms: int = 0

    def add(self, time_ms: int) -> None:
        """Note one more."""
        self.first_ms = min(self.first_ms, time_ms) if self.count else time_ms
        self.last_ms = max(self.last_ms, time_ms)
        self.count += 1


@dataclass(frozen=True, slots=True)
class Affected:
    """The patients of an incident: pseudonym → reads. `whole` says that no evidence of a window is missing."""

    incident: str
    whole: bool
    patients: dict[str, Reads] = field(default_factory=dict)


async def record_look_up(settings: Settings, look_up: LookUp) -> None:
    """Write to `control` that somebody looks up ids; the enforcer enters it in the ledger.

    Raises BrokerUnavailableError where Kafka does not take it: then nothing may be shown.
    """
    topic = settings.topic("control")
    try:
        producer = AIOKafkaProducer(**aiokafka_options(settings.kafka), acks="all", enable_idempotence=True)
        await producer.start()
        try:
            await producer.send_and_wait(topic, encode(look_up), partition=0)
        finally:
            await producer.stop()
    except KafkaError as error:
        msg = f"topic {topic}: the look-up was not recorded ({type(error).__name__}), so nothing is shown"
        raise BrokerUnavailableError(msg) from None


async def patients_of(settings: Settings, incident: str) -> Affected:
    """Return the patients in the evidence of an incident; raises ConfigurationError where it is unknown."""
    findings: set[str] = set()
    async for records, _, _ in read_to_end(settings.kafka, settings.topic("decisions"), 0):
        for record in records:
            entry = orjson.loads(record.value)
            if entry.get("incident") == incident and entry.get("finding"):
                findings.add(entry["finding"])
    if not findings:
        fault = Fault(
            incident[:40], "the ledger of this installation does not know it", "it is written like INC-0142"
        )
        raise ConfigurationError("no such incident", [fault])
    rows, complete = await read_evidence(settings, findings)
    affected = Affected(incident, findings <= complete)
    for _, time_ms, _, patients in rows.values():
        for patient, _, _ in patients:
            affected.patients.setdefault(patient, Reads()).add(time_ms)
    return affected
