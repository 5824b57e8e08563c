"""What `monitor status` shows, read from Kafka alone: it works from any machine that reaches it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from monitor.core.events import CredentialStatus
from monitor.errors import BrokerUnavailableError, ConfigurationError, Fault
from monitor.stream.kafka import consumer_options
from monitor.stream.reach import wait_for_broker
from monitor.stream.read import read_to_end
from monitor.stream.topics import partition_counts, source_topics
from monitor.wire.credentials import (
    ENFORCER_KEY,
    RULES_KEY,
    CredentialRecord,
    EnforcerRecord,
    RulesInForce,
    decode_credential,
    decode_enforcer,
    decode_rules,
    is_credential,
)

if TYPE_CHECKING:
    from monitor.settings import KafkaSettings, Settings

#: Characters of a person's credential (session, account) that are shown.
_SHOWN_OF_PEOPLE = 6


@dataclass(frozen=True, slots=True)
class Feed:
    """How far a consumer group is behind in a topic, in records over all partitions.

    `lag` is None where the group has no position yet.
    """

    name: str
    topic: str
    end: int
    lag: int | None


@dataclass(frozen=True, slots=True)
class OpenIncident:
    """A credential that is refused now, or whose finding is held; times in epoch milliseconds."""

    incident: str
    credential: str
    status: str
    state: str
    contained: bool
    rule: str
    level: str
    patients: int
    patients_capped: bool
    leaked: int
    since_ms: int
    until_ms: int | None
    summary: str


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of one installation at one moment."""

    at_ms: int
    mode: str
    heartbeat_ms: int | None
    rules_version: int | None
    rules_revision: str | None
    feeds: tuple[Feed, ...]
    incidents: tuple[OpenIncident, ...]

    def plain(self) -> dict[str, Any]:
        """Return a form that JSON can carry."""
        return asdict(self)


async def read_overview(settings: Settings) -> Overview:
    """Return the overview of an installation.

    Raises BrokerUnavailableError where Kafka does not answer, ConfigurationError where nothing was
    initialised yet.
    """
    await wait_for_broker(settings.kafka)
    missing = await _missing_topics(settings)
    if missing:
        faults = [Fault(f"topic {topic}", "does not exist", "run `monitor init`") for topic in missing]
        raise ConfigurationError("there is nothing to show yet", faults)
    try:
        enforcer, rules, credentials = await _ledger(settings)
        feeds = await _feeds(settings)
    except KafkaError as error:
        msg = f"Kafka did not answer: {type(error).__name__}"
        raise BrokerUnavailableError(msg) from None
    incidents = [
        _incident(record)
        for record in credentials
        if record.status is not CredentialStatus.ACTIVE or record.state == "held"
    ]
    incidents.sort(key=lambda incident: (incident.contained, -incident.since_ms))
    return Overview(
        at_ms=int(time.time() * 1000),
        mode=enforcer.mode if enforcer else settings.response.mode,
        heartbeat_ms=enforcer.heartbeat_ms if enforcer else None,
        rules_version=rules.version if rules else None,
        rules_revision=rules.revision if rules else None,
        feeds=feeds,
        incidents=tuple(incidents),
    )


async def _ledger(
    settings: Settings,
) -> tuple[EnforcerRecord | None, RulesInForce | None, list[CredentialRecord]]:
    topic = settings.topic("credentials")
    enforcer: EnforcerRecord | None = None
    rules: RulesInForce | None = None
    credentials: dict[bytes, CredentialRecord] = {}
    async for records, _, _ in read_to_end(settings.kafka, topic, 0):
        for record in records:
            place = f"{topic}-0 offset {record.offset}"
            if record.value is None:
                credentials.pop(record.key, None)
            elif record.key == ENFORCER_KEY:
                enforcer = decode_enforcer(record.value, place)
            elif record.key == RULES_KEY:
                rules = decode_rules(record.value, place)
            elif is_credential(record.key):
                credentials[record.key] = decode_credential(record.value, place)
    return enforcer, rules, list(credentials.values())


async def _feeds(settings: Settings) -> tuple[Feed, ...]:
    intake = settings.group("intake")
    feeds = [
        await _feed(source.name, source.topic, intake, source.kafka or settings.kafka)
        for source in settings.sources
    ]
    for name, topic, role in (("detect", "routed", "detect"), ("enforce", "findings", "enforce")):
        feeds.append(await _feed(name, settings.topic(topic), settings.group(role), settings.kafka))
    return tuple(feeds)


async def _feed(name: str, topic: str, group: str, kafka: KafkaSettings) -> Feed:
    count = (await asyncio.to_thread(partition_counts, kafka))[topic]
    partitions = [TopicPartition(topic, number) for number in range(count)]
    consumer = AIOKafkaConsumer(**consumer_options(kafka), group_id=group)
    await consumer.start()
    try:
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        lag: int | None = 0
        for partition in partitions:
            committed = await consumer.committed(partition)
            if committed is None or lag is None:
                lag = None
            else:
                lag += max(0, ends[partition] - committed)
        return Feed(name, topic, sum(ends.values()), lag)
    finally:
        await consumer.stop()


async def _missing_topics(settings: Settings) -> list[str]:
    ours = await asyncio.to_thread(partition_counts, settings.kafka)
    missing = [settings.topic(name) for name in ("credentials", "routed", "findings")]
    missing = [topic for topic in missing if topic not in ours]
    for kafka, topics in source_topics(settings):
        there = await asyncio.to_thread(partition_counts, kafka)
        missing += [topic for topic in topics if topic not in there]
    return missing


def _incident(record: CredentialRecord) -> OpenIncident:
    name = record.id
    if record.kind in {"session", "account"}:
        name = f"{name[:_SHOWN_OF_PEOPLE]}…"
    return OpenIncident(
        incident=record.incident,
        credential=f"{record.realm}/{name}",
        status=record.status.value,
        state=record.state,
        contained=record.enforced_ms is not None,
        rule=record.rule.title,
        level=record.level,
        patients=record.patients,
        patients_capped=record.patients_capped,
        leaked=record.leaked,
        since_ms=record.since_ms,
        until_ms=record.until_ms,
        # The sentence names the credential: of a person's, only the incident is shown.
        summary=record.summary if name == record.id else "",
    )
