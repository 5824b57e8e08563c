"""How many of the gateway's events the monitor has durably counted, as Kafka tells it.

Not by the metrics of a worker: they begin anew with each process, and the demo lets one be killed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from monitor.stream.kafka import consumer_options
from monitor.stream.read import read_to_end

if TYPE_CHECKING:
    from monitor.settings import Settings


async def events_counted(settings: Settings, partitions: int) -> int:
    """Return how many different events of the source lie below the positions that intake has committed.

    A shipper that was killed may have sent some lines twice; Envoy's ids tell. Raises KafkaError.
    """
    topic = settings.sources[0].topic
    consumer = AIOKafkaConsumer(
        **consumer_options(settings.kafka), group_id=settings.group("intake"), auto_offset_reset="earliest"
    )
    try:
        await consumer.start()
        places = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(places)
        committed = {place.partition: await consumer.committed(place) or 0 for place in places}
    finally:
        await consumer.stop()
    ids: set[str] = set()
    for number, end in committed.items():
        if not end:
            continue
        async for records, _, _ in read_to_end(settings.kafka, topic, number):
            ids.update(orjson.loads(record.value)["id"] for record in records if record.offset < end)
    return len(ids)
