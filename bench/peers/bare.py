"""The limit: `aiokafka` fetches, `orjson` decodes, nothing is counted and nothing is durable."""

from __future__ import annotations

import asyncio

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from peers.telling import BOOTSTRAP, PARTITIONS, TOPIC, Progress


async def main() -> None:
    """Read all events."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=BOOTSTRAP,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=4 << 20,
        fetch_max_bytes=50 << 20,
    )
    await consumer.start()
    consumer.assign([TopicPartition(TOPIC, partition) for partition in range(PARTITIONS)])
    await consumer.seek_to_beginning()
    progress, loads, last = Progress(), orjson.loads, False
    while not last:
        for records in (await consumer.getmany(timeout_ms=1000, max_records=20_000)).values():
            for record in records:
                loads(record.value)
            last = progress.add(len(records))
    progress.tell()
    await consumer.stop()


asyncio.run(main())
