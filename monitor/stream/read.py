"""Reading one partition of our own topics to its end, without a group."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaTimeoutError
from aiokafka.structs import TopicPartition

from monitor.stream.kafka import consumer_options

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from aiokafka.structs import ConsumerRecord

    from monitor.settings import KafkaSettings

# Short: a log that ends with a transaction's marker is known to be read only when a poll is over.
_POLL_MS = 20


async def end_offsets(kafka: KafkaSettings, topics: Sequence[str]) -> dict[str, int]:
    """Return where partition 0 of each topic ends today, what is not committed left out."""
    consumer = AIOKafkaConsumer(**consumer_options(kafka))
    try:
        await consumer.start()
        partitions = [TopicPartition(topic, 0) for topic in topics]
        ends = await consumer.end_offsets(partitions)
        return {tp.topic: ends[tp] for tp in partitions}
    finally:
        await consumer.stop()


async def offset_at(kafka: KafkaSettings, topic: str, since_ms: int, partition: int = 0) -> int | None:
    """Return the first offset of a partition at or after a time, or None where there is none.

    The embedded broker knows of none.
    """
    consumer = AIOKafkaConsumer(**consumer_options(kafka))
    try:
        await consumer.start()
        tp = TopicPartition(topic, partition)
        consumer.assign([tp])
        found = (await consumer.offsets_for_times({tp: max(0, since_ms)}))[tp]
        return None if found is None else int(found.offset)
    finally:
        await consumer.stop()


async def read_to_end(
    kafka: KafkaSettings, topic: str, partition: int, first: int = 0
) -> AsyncGenerator[tuple[Sequence[ConsumerRecord], int, int]]:
    """Yield (records, position after them, end) from offset `first`, or the first kept, to today's end.

    Raises KafkaTimeoutError where the brokers send nothing for longer than a request may take.

    Committed records only. The end is taken at the start; markers of transactions count as
    positions, so it is reached even where the last thing in the log is one.
    """
    consumer = AIOKafkaConsumer(
        **consumer_options(kafka),
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=8 << 20,
    )
    try:
        await consumer.start()
        tp = TopicPartition(topic, partition)
        consumer.assign([tp])
        kept = (await consumer.beginning_offsets([tp]))[tp]
        consumer.seek(tp, max(first, kept))
        end = (await consumer.end_offsets([tp]))[tp]
        position = await consumer.position(tp)
        moved = time.monotonic()
        while position < end:
            fetched = await consumer.getmany(tp, timeout_ms=_POLL_MS, max_records=20_000)
            before, position = position, await consumer.position(tp)
            now = time.monotonic()
            if position > before:
                moved = now
            elif now - moved > kafka.request_timeout_seconds:
                raise KafkaTimeoutError
            yield fetched.get(tp, ()), position, end
    finally:
        await consumer.stop()
