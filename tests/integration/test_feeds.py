"""What is usual on a feed outlives the worker: it stands beside the committed position."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition

from tests.integration.stack import wait_for
from tests.integration.test_loop import event

if TYPE_CHECKING:
    from tests.integration.stack import Process, Stack


def last_record(worker: Process) -> float:
    for line in worker.metrics().splitlines():
        if line.startswith('access_monitor_feed_last_record_timestamp_seconds{source="gate"}'):
            return float(line.split()[1])
    return 0.0


async def committed_notes(stack: Stack) -> list[str]:
    """Return what stands beside the positions of the source, as Kafka has it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.settings.kafka.bootstrap_servers)
    await admin.start()
    try:
        partitions = [TopicPartition(stack.settings.sources[0].topic, number) for number in range(3)]
        found = await admin.list_consumer_group_offsets(stack.settings.group("intake"), partitions=partitions)
    finally:
        await admin.close()
    return [at.metadata for at in found.values()]


def test_a_worker_goes_on_with_what_the_one_before_found_usual(stack: Stack):
    first = stack.worker("--roles", "intake,enforce")
    stack.ship([event("partner-17", patient) for patient in range(5)])
    seen = wait_for(lambda: last_record(first), first)
    assert first.terminate() == 0
    notes = asyncio.run(committed_notes(stack))
    assert any('"week":"1:' in note for note in notes), notes
    second = stack.worker("--roles", "intake,enforce")
    assert wait_for(lambda: last_record(second), second) >= seen - 1
