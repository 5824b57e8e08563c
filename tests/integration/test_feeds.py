"""What is usual on a feed outlives the worker: it stands beside the committed position."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import Consumer, TopicPartition

from tests.integration.stack import wait_for
from tests.integration.test_loop import event

if TYPE_CHECKING:
    from tests.integration.stack import Process, Stack


def last_record(worker: Process) -> float:
    for line in worker.metrics().splitlines():
        if line.startswith('access_monitor_feed_last_record_timestamp_seconds{source="gate"}'):
            return float(line.split()[1])
    return 0.0


def test_a_worker_goes_on_with_what_the_one_before_found_usual(stack: Stack):
    first = stack.worker("--roles", "intake,enforce")
    stack.ship([event("partner-17", patient) for patient in range(5)])
    seen = wait_for(lambda: last_record(first), first)
    assert first.terminate() == 0
    kafka = stack.settings.kafka
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap_servers[0], "group.id": stack.settings.group("intake")}
    )
    committed = consumer.committed(
        [TopicPartition(stack.settings.sources[0].topic, number) for number in range(3)], timeout=30
    )
    consumer.close()
    assert any('"week":"1:' in (partition.metadata or "") for partition in committed)
    second = stack.worker("--roles", "intake,enforce")
    assert wait_for(lambda: last_record(second), second) >= seen - 1
