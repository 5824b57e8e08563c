"""How the role consumers fetch: guards of what fetching.py assumes of aiokafka's private parts."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.structs import TopicPartition

from monitor.stream.fetching import BUSY_WAIT_MS, RoleConsumer, RoleFetcher
from monitor.stream.kafka import aiokafka_options, consumer_options
from tests.rig.broker import create_topic
from tests.rig.configuration import settings_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from monitor.settings import KafkaSettings

pytestmark = pytest.mark.kafka
USUAL_WAIT_MS = 500
DEADLINE_SECONDS = 30


@pytest.fixture
def cluster(tmp_path: Path, kafka: str, prefix: str) -> KafkaSettings:
    return settings_for(tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix).kafka


async def until(condition: Callable[[], Any]) -> None:
    while not condition():  # noqa: ASYNC110 - aiokafka sets no event of ours
        await asyncio.sleep(0.005)


async def test_a_request_beside_buffered_records_is_short(
    cluster: KafkaSettings, kafka: str, prefix: str, monkeypatch: pytest.MonkeyPatch
):
    """Two partitions: one whose records nobody takes yet, and one that is at its end."""
    topic = f"{prefix}fetching"
    create_topic(kafka, topic, 2)
    busy, idle = TopicPartition(topic, 0), TopicPartition(topic, 1)
    waits: dict[frozenset[int], set[int]] = defaultdict(set)
    send = RoleFetcher._proc_fetch_request

    async def seen(self: Any, assignment: Any, node: Any, request: Any) -> Any:
        asked = frozenset(part for _, parts in request.topics for part, _, _ in parts)
        waits[asked].add(request._max_wait_ms)
        return await send(self, assignment, node, request)

    monkeypatch.setattr(RoleFetcher, "_proc_fetch_request", seen)
    async with AIOKafkaProducer(**aiokafka_options(cluster)) as producer:
        for number in range(10):
            await producer.send_and_wait(topic, b"%d" % number, partition=0)
    consumer = RoleConsumer(**consumer_options(cluster), auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([busy, idle])
        async with asyncio.timeout(DEADLINE_SECONDS):
            await until(lambda: waits[frozenset({1})])  # after 100 ms aiokafka asks for the other one alone
            assert waits[frozenset({1})] == {BUSY_WAIT_MS}
            assert [record.value for record in (await consumer.getmany(busy, timeout_ms=1000))[busy]] == [
                b"%d" % number for number in range(10)
            ]
            waits.clear()
            await until(lambda: waits[frozenset({0, 1})])
    finally:
        await consumer.stop()
    assert waits[frozenset({0, 1})] == {USUAL_WAIT_MS}
    assert waits.keys() <= {frozenset({1}), frozenset({0, 1})}


async def test_a_busy_partition_does_not_wait_for_idle_ones(cluster: KafkaSettings, kafka: str, prefix: str):
    """Records that are taken late, of one partition of two: each further fetch comes soon."""
    topic = f"{prefix}fetching"
    create_topic(kafka, topic, 2)
    busy, idle = TopicPartition(topic, 0), TopicPartition(topic, 1)
    async with AIOKafkaProducer(**aiokafka_options(cluster)) as producer:
        for _ in range(6):
            await producer.send_and_wait(topic, bytes(10_000), partition=0)
    options = {**consumer_options(cluster), "fetch_max_wait_ms": DEADLINE_SECONDS * 2_000}
    consumer = RoleConsumer(**options, auto_offset_reset="earliest", max_partition_fetch_bytes=15_000)
    await consumer.start()
    try:
        consumer.assign([busy, idle])
        taken = 0
        fetcher = consumer._fetcher
        async with asyncio.timeout(DEADLINE_SECONDS):
            while taken < 6:
                await until(lambda: busy in fetcher._records and fetcher._in_flight)
                taken += len((await consumer.getmany(busy, timeout_ms=1000))[busy])
    finally:
        await consumer.stop()
