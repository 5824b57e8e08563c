"""The embedded broker, as aiokafka sees it."""

from __future__ import annotations

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from monitor.errors import BrokerUnavailableError
from monitor.stream.embedded import EmbeddedBroker
from tests.rig.faults import FaultyBroker


async def send(broker: EmbeddedBroker, topic: str, *values: bytes, **options: object) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers, acks="all", **options)
    try:
        await producer.start()
        for value in values:
            await producer.send_and_wait(topic, value, partition=0)
    finally:
        await producer.stop()


async def test_keeps_records_in_order_and_positions_of_a_group(embedded: EmbeddedBroker):
    embedded.create_topic("events", 2)
    await send(embedded, "events", b"a", b"b")
    tp = TopicPartition("events", 0)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=embedded.bootstrap_servers, group_id="group", enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign([tp])
        await consumer.seek_to_beginning(tp)
        first, second = await consumer.getone(tp), await consumer.getone(tp)
        assert [(first.offset, first.value), (second.offset, second.value)] == [(0, b"a"), (1, b"b")]
        await consumer.commit({tp: 2})
        assert await consumer.committed(tp) == 2
    finally:
        await consumer.stop()


def test_a_cluster_of_several_nodes_names_each():
    with EmbeddedBroker(3) as broker:
        assert len(set(broker.bootstrap_servers.split(","))) == 3


def test_two_brokers_live_side_by_side():
    with EmbeddedBroker() as one, EmbeddedBroker() as two:
        assert one.bootstrap_servers != two.bootstrap_servers
        one.create_topic("events")
        two.create_topic("events")


def test_a_topic_that_exists_is_refused(embedded: EmbeddedBroker):
    embedded.create_topic("events")
    with pytest.raises(BrokerUnavailableError, match="events was not created"):
        embedded.create_topic("events")


def test_nothing_can_be_asked_of_a_broker_that_does_not_run():
    with pytest.raises(BrokerUnavailableError, match="not running"):
        EmbeddedBroker().create_topic("events")


def test_closing_twice_is_closing():
    with EmbeddedBroker() as broker:
        broker.close()
    assert broker.bootstrap_servers == ""


def test_says_nothing_on_stderr(capfd: pytest.CaptureFixture[str]):
    with EmbeddedBroker() as broker:
        broker.create_topic("events")
    assert capfd.readouterr() == ("", "")


async def test_a_fault_that_was_asked_for_reaches_the_client():
    message_too_large = 10
    produce = 0
    with FaultyBroker() as broker:
        broker.create_topic("events")
        broker.fail_requests(produce, message_too_large)
        with pytest.raises(KafkaError):
            await send(broker, "events", b"a")
        await send(broker, "events", b"b")


async def test_a_node_that_went_down_comes_back_with_its_records():
    with FaultyBroker() as broker:
        broker.create_topic("events")
        await send(broker, "events", b"a")
        broker.down()
        with pytest.raises(KafkaError):
            await send(broker, "events", b"b", request_timeout_ms=500)
        broker.up()
        await send(broker, "events", b"c")
