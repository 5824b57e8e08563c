"""Records leave in order, one request per partition at a time, and a failure ends everything."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError

from monitor.errors import SendError
from monitor.stream.sender import WAITING_BYTES, Delivery, OrderedSender


class Batch:
    def __init__(self) -> None:
        self.values: list[bytes] = []

    def append(
        self, *, key: bytes | None, value: bytes, timestamp: int, headers: list[tuple[str, bytes]]
    ) -> object:
        del key, timestamp, headers
        self.values.append(value)
        return object()

    def close(self) -> None:
        pass


class Producer:
    """Acknowledges when it is told to, and notes what was under way together."""

    def __init__(self) -> None:
        self.sent: dict[int, list[bytes]] = {}
        self.under_way: dict[int, asyncio.Future[None]] = {}

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, _topic: str, *, partition: int) -> asyncio.Future[None]:
        assert partition not in self.under_way, "one request per partition"
        self.sent.setdefault(partition, []).extend(batch.values)
        self.under_way[partition] = asyncio.get_running_loop().create_future()
        return self.under_way[partition]

    def acknowledge(self, partition: int) -> None:
        self.under_way.pop(partition).set_result(None)


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def fatal() -> list[BaseException]:
    return []


@pytest.fixture
def producer() -> Producer:
    return Producer()


@pytest.fixture
def sender(producer: Any, fatal: list[BaseException]) -> OrderedSender:
    return OrderedSender(producer, "topic", fatal.append)


async def test_order_holds_within_a_partition_and_partitions_do_not_wait(
    sender: OrderedSender, producer: Producer
):
    delivery = Delivery()
    for number in range(6):
        sender.put(number % 2, b"%d" % number, delivery)
    await settle()
    assert set(producer.under_way) == {0, 1}
    sender.put(0, b"6", delivery)
    producer.acknowledge(1)
    await settle()
    assert producer.sent[0] == [b"0", b"2", b"4"], "the next waits for the acknowledgement"
    producer.acknowledge(0)
    await settle()
    assert producer.sent == {0: [b"0", b"2", b"4", b"6"], 1: [b"1", b"3", b"5"]}
    assert not delivery.done
    producer.acknowledge(0)
    await delivery.wait()
    assert delivery.done


async def test_a_failed_send_is_fatal_and_nothing_follows_it(
    sender: OrderedSender, producer: Producer, fatal: list[BaseException]
):
    delivery = Delivery()
    sender.put(0, b"a", delivery)
    await settle()
    sender.put(0, b"b", delivery)
    producer.under_way[0].set_exception(KafkaTimeoutError())
    await settle()
    assert [type(error) for error in fatal] == [SendError]
    assert "topic-0: not acknowledged (KafkaTimeoutError)" in str(fatal[0])
    assert producer.sent[0] == [b"a"]
    assert not delivery.done


async def test_a_slow_broker_makes_who_sends_wait(sender: OrderedSender, producer: Producer):
    delivery = Delivery()
    for _ in range(WAITING_BYTES // 500_000 + 2):
        sender.put(0, b"x" * 500_000, delivery)
    waiting = asyncio.create_task(sender.room())
    await settle()
    assert not waiting.done()
    while not delivery.done:
        await settle()
        producer.acknowledge(0)
        await settle()
    await waiting
