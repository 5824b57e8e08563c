"""The `state` topic made anew, where it was lost or `routed` is another topic than it was built from."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from aiokafka import AIOKafkaProducer
from confluent_kafka import KafkaError, KafkaException

from monitor.core.detector import Detector
from monitor.errors import BrokerUnavailableError, ConfigurationError, Fault
from monitor.rulebook import compile_pattern
from monitor.stream.kafka import aiokafka_options
from monitor.stream.producers import drop_producer, start_producer, transact
from monitor.stream.reach import admin_client
from monitor.stream.read import read_to_end
from monitor.stream.rules import read_rules_in_force
from monitor.stream.topics import create_topics, partition_counts
from monitor.wire import state
from monitor.wire.state import unpack_subject

if TYPE_CHECKING:
    from monitor.settings import Settings

_GONE_SECONDS: Final = 30.0
#: Below every offset: what is written here is older than anything that a worker writes.
_BEFORE_ALL: Final = -1


async def make_state_anew(settings: Settings) -> list[str]:
    """Delete `state`, create it, and put the rule set in force in it; windows are counted again from `routed`.

    Returns sentences that say what was done. Raises ConfigurationError where Kafka refuses.
    """
    topic = settings.topic("state")
    if settings.kafka.broker == "embedded":
        fault = Fault(topic, "the embedded broker forgets its topics with itself", "start it anew")
        raise ConfigurationError("The state cannot be made anew", [fault])
    await asyncio.to_thread(_delete, settings, topic)
    await asyncio.to_thread(create_topics, settings)
    await _seed_rules(settings, topic)
    return [f"made {topic} anew: what `routed` keeps is counted again when a worker runs"]


async def read_stamps(settings: Settings) -> dict[int, int]:
    """Return the last offset of `routed` that each partition of `state` stands for, where it has marks."""
    stamps: dict[int, int] = {}
    topic = settings.topic("state")
    for partition in range(settings.kafka.partitions):
        found = state.RecoveredState(f"{topic}-{partition}")
        async for records, _, _ in read_to_end(settings.kafka, topic, partition):
            for record in records:
                if record.key == state.MARKS_KEY:
                    found.add(record.key, record.value, record.offset)
        marks = found.single(state.MARKS_KEY)
        if marks is not None:
            stamps[partition] = marks[0]
    return stamps


def _delete(settings: Settings, topic: str) -> None:
    kafka = settings.kafka
    admin = admin_client(kafka)  # must live until the answer is there
    try:
        admin.delete_topics([topic])[topic].result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            fault = Fault(f"topic {topic}", f"not deleted: {error.args[0].str()}", "grant Delete on it")
            raise ConfigurationError("Kafka refused to delete a topic", [fault]) from None
    deadline = time.monotonic() + _GONE_SECONDS
    while topic in partition_counts(kafka):
        if time.monotonic() > deadline:
            msg = f"topic {topic}: deleted, but Kafka still shows it; run `monitor init` again"
            raise BrokerUnavailableError(msg)
        time.sleep(0.2)


async def _seed_rules(settings: Settings, topic: str) -> None:
    """Write the rule set in force, since its announcement in `routed` may be kept no more."""
    in_force = await read_rules_in_force(settings)
    if in_force is None:
        return
    detector = Detector(0, allowed_lateness_ms=0, compile_pattern=compile_pattern, unpack=unpack_subject)
    # Its windows are complete from now on only: until then they say that they are warming.
    detector.activate(in_force.record(), int(time.time() * 1000))
    value = state.encode_single(_BEFORE_ALL, detector.snapshot_rules())
    kafka = settings.kafka
    for partition in range(kafka.partitions):
        producer = AIOKafkaProducer(
            **aiokafka_options(kafka),
            transactional_id=f"{kafka.topic_prefix}detect-{partition}",
            max_request_size=4 << 20,
        )
        await start_producer(kafka, producer)
        try:

            async def send(producer: AIOKafkaProducer = producer, partition: int = partition) -> None:
                await producer.send_and_wait(topic, value, key=state.RULES_KEY, partition=partition)

            await transact(kafka, producer, f"{topic}-{partition}: the rule set was not written", send)
        finally:
            await drop_producer(producer)
