"""Asking the enforcer for something: an act in `control`, and the ledger's answer to it."""

from __future__ import annotations

import getpass
import socket
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from monitor.core.rules import rule_set_document
from monitor.errors import BrokerUnavailableError, ConfigurationError, Fault, MonitorError
from monitor.stream.kafka import aiokafka_options, consumer_options
from monitor.stream.topics import MESSAGE_BYTES
from monitor.wire.credentials import (
    ACT_BYTES,
    RULES_ACTIVATED,
    RULES_REFUSED,
    RULES_UNCHANGED,
    PublishRules,
    encode,
)

if TYPE_CHECKING:
    from monitor.core.rules import RuleSet
    from monitor.settings import Settings

#: How long whoever publishes waits for the enforcer's answer, in seconds.
ANSWER_SECONDS: Final = 30.0
_POLL_MS: Final = 200
_ANSWERS: Final = frozenset({RULES_ACTIVATED, RULES_UNCHANGED, RULES_REFUSED})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the ledger says to an act: the version in force since, or still."""

    changed: bool
    version: int
    revision: str


def publish_act(
    rule_set: RuleSet,
    text: dict[str, str],
    *,
    by: str,
    reason: str,
    after: int | None = None,
    back_to: int | None = None,
) -> PublishRules:
    """Return the act that puts a rule set in force; `text` holds the files that it was read from.

    With `after` it is refused where another version than that came into force meanwhile.
    """
    return PublishRules(
        revision=rule_set.revision,
        document=rule_set_document(rule_set),
        text=text,
        by=by,
        at_ms=int(time.time() * 1000),
        reason=reason,
        act=uuid.uuid4().hex,
        after=after,
        back_to=back_to,
    )


def this_person() -> str:
    """Return who runs this command, as far as the machine knows: ``user@host``."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "?"  # a container's user often has no name
    return f"{user}@{socket.gethostname()}"


async def send_act(settings: Settings, act: PublishRules) -> None:
    """Write an act to `control`; the enforcer takes it from there, now or when it runs again.

    Raises ConfigurationError where it is too large, BrokerUnavailableError where Kafka does not take it.
    """
    topic = settings.topic("control")
    value = encode(act)
    if len(value) > ACT_BYTES:
        fault = Fault(
            "rules",
            f"{len(value):,} bytes, with their texts; at most {ACT_BYTES:,}",
            "split what one rule lists",
        )
        raise ConfigurationError("the rule set is too large to be published", [fault])
    try:
        producer = AIOKafkaProducer(
            **aiokafka_options(settings.kafka),
            acks="all",
            enable_idempotence=True,
            max_request_size=MESSAGE_BYTES,
        )
        await producer.start()
        try:
            await producer.send_and_wait(topic, value, partition=0)
        finally:
            await producer.stop()
    except KafkaError as error:
        msg = f"topic {topic}: the rule set was not accepted: {type(error).__name__}; publish it again"
        raise BrokerUnavailableError(msg) from None


async def publish(settings: Settings, act: PublishRules, *, seconds: float = ANSWER_SECONDS) -> Answer:
    """Send an act, and return the ledger's answer to it.

    Raises MonitorError where it is refused, BrokerUnavailableError where there is no answer in time:
    the act then stands in `control` and is done when an enforcer runs.
    """
    topic = settings.topic("decisions")
    tp = TopicPartition(topic, 0)
    try:
        consumer = AIOKafkaConsumer(**consumer_options(settings.kafka), auto_offset_reset="earliest")
        await consumer.start()
        try:
            consumer.assign([tp])
            consumer.seek(tp, (await consumer.end_offsets([tp]))[tp])
            await send_act(settings, act)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                for records in (await consumer.getmany(tp, timeout_ms=_POLL_MS)).values():
                    for record in records:
                        entry = orjson.loads(record.value)
                        if entry["kind"] in _ANSWERS and entry.get("act") == act.act:
                            return _answer(entry)
        finally:
            await consumer.stop()
    except KafkaError as error:
        msg = f"{topic}: Kafka did not answer: {type(error).__name__}; the rule set may come into force yet"
        raise BrokerUnavailableError(msg) from None
    msg = (
        f"no enforcer answered within {seconds:g} s: is a worker with the role enforce running? The rule"
        f" set {act.revision} was sent, and comes into force as soon as one is"
    )
    raise BrokerUnavailableError(msg)


def _answer(entry: dict[str, Any]) -> Answer:
    if entry["kind"] == RULES_REFUSED:
        msg = (
            f"the enforcer refused the rule set {entry['revision']}: {entry['reason']}; the one before stays"
        )
        raise MonitorError(msg)
    return Answer(entry["kind"] == RULES_ACTIVATED, entry["version"], entry["revision"])
