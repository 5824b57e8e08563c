"""What the monitor says while the demo runs: findings, and the status of credentials, from Kafka."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from monitor.stream.kafka import consumer_options
from monitor.wire.credentials import CredentialRecord, decode_credential

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiokafka.structs import ConsumerRecord

    from monitor.settings import Settings


@dataclass(frozen=True, slots=True)
class Finding:
    """A limit exceeded by a credential; `found_ms` is when detect sent the finding."""

    found_ms: int
    id: str
    rule: str
    action: str
    principal: str
    threshold: int
    event_ms: int
    summary: str


class Follower:
    """Reads `findings` and `credentials` from their beginnings on.

    `findings` holds the first finding that cuts off, per credential; `credentials` the newest record
    per credential.
    """

    def __init__(
        self,
        settings: Settings,
        on_finding: Callable[[Finding], None] = lambda _: None,
        on_credential: Callable[[CredentialRecord], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._on_finding = on_finding
        self._on_credential = on_credential
        self.findings: dict[str, Finding] = {}
        self.credentials: dict[str, CredentialRecord] = {}

    async def follow(self) -> None:
        """Read until cancelled."""
        topics = {
            self._settings.topic("findings"): self._found,
            self._settings.topic("credentials"): self._changed,
        }
        # Findings are written outside transactions; credentials count once committed.
        consumer = AIOKafkaConsumer(**consumer_options(self._settings.kafka), auto_offset_reset="earliest")
        await consumer.start()
        try:
            partitions = [TopicPartition(topic, 0) for topic in topics]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            async for record in consumer:
                topics[record.topic](record)
        finally:
            await asyncio.shield(consumer.stop())

    def _found(self, record: ConsumerRecord) -> None:
        entry: dict[str, Any] = orjson.loads(record.value)
        if entry["kind"] != "finding" or entry["principal"] is None or entry["action"] == "alert":
            return
        finding = Finding(
            found_ms=record.timestamp,
            id=entry["id"],
            rule=entry["rule"]["title"],
            action=entry["action"],
            principal=entry["principal"],
            threshold=entry["threshold"],
            event_ms=entry["event"]["time_ms"],
            summary=entry["summary"],
        )
        if finding.principal not in self.findings:
            self.findings[finding.principal] = finding
            self._on_finding(finding)

    def _changed(self, record: ConsumerRecord) -> None:
        if record.value is None or record.key is None or record.key.startswith(b"@"):
            return
        place = f"{record.topic}-{record.partition} offset {record.offset}"
        credential = decode_credential(record.value, place)
        self.credentials[credential.id] = credential
        self._on_credential(credential)
