"""Reading one partition of our own topics to its end, without a group."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

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
#: What is read at a time. Several partitions open at once after a kill, and what the most of it ever took stays with
#: the process in pieces: 8 MB and 20,000 records took 30 MB more at each opening, and were no faster.
_FETCH_BYTES = 2 << 20
_RECORDS = 2_000


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
    """Return what `LogReader.offset_at` does."""
    async with LogReader(kafka) as reader:
        return await reader.offset_at(topic, partition, since_ms)


class LogReader:
    """Reads our own topics through one client: `async with LogReader(kafka) as reader`.

    A client costs connections, and memory that Python finds only when it looks for garbage: who reads often
    reads several partitions with one. Who has other work beside it has few records handed over `at_a_time`.
    """

    def __init__(self, kafka: KafkaSettings, at_a_time: int = _RECORDS) -> None:
        self._kafka = kafka
        self._at_a_time = at_a_time
        self._consumer = AIOKafkaConsumer(
            **consumer_options(kafka),
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=_FETCH_BYTES,
        )

    async def __aenter__(self) -> Self:
        try:
            await self._consumer.start()
        except BaseException:
            await self._consumer.stop()
            raise
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._consumer.stop()

    async def offset_at(self, topic: str, partition: int, since_ms: int) -> int | None:
        """Return the first offset of a partition at or after a time, or None where there is none.

        The embedded broker knows of none.
        """
        tp = TopicPartition(topic, partition)
        found = (await self._consumer.offsets_for_times({tp: max(0, since_ms)}))[tp]
        return None if found is None else int(found.offset)

    async def first_kept(self, topic: str, partition: int) -> int:
        """Return the offset of the first record that is not deleted, or where it would be."""
        tp = TopicPartition(topic, partition)
        return int((await self._consumer.beginning_offsets([tp]))[tp])

    async def to_end(
        self, topic: str, partition: int, first: int = 0
    ) -> AsyncGenerator[tuple[Sequence[ConsumerRecord], int, int]]:
        """Yield as `read_to_end` does."""
        consumer, tp = self._consumer, TopicPartition(topic, partition)
        kept = (await consumer.beginning_offsets([tp]))[tp]
        end = (await consumer.end_offsets([tp]))[tp]
        # At once one after the other: in between it would fetch from the beginning, in vain.
        consumer.assign([tp])
        consumer.seek(tp, max(first, kept))
        position = await consumer.position(tp)
        moved = time.monotonic()
        while position < end:
            fetched = await consumer.getmany(tp, timeout_ms=_POLL_MS, max_records=self._at_a_time)
            before, position = position, await consumer.position(tp)
            now = time.monotonic()
            if position > before:
                moved = now
            elif now - moved > self._kafka.request_timeout_seconds:
                raise KafkaTimeoutError
            yield fetched.get(tp, ()), position, end


async def read_to_end(
    kafka: KafkaSettings, topic: str, partition: int, first: int = 0
) -> AsyncGenerator[tuple[Sequence[ConsumerRecord], int, int]]:
    """Yield (records, position after them, end) from offset `first`, or the first kept, to today's end.

    Raises KafkaTimeoutError where the brokers send nothing for longer than a request may take.

    Committed records only. The end is taken at the start; markers of transactions count as
    positions, so it is reached even where the last thing in the log is one.
    """
    async with LogReader(kafka) as reader:
        async for read in reader.to_end(topic, partition, first):
            yield read
