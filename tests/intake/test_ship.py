"""`monitor ship`: every line reaches the topic, in order, once; what cannot is counted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaTimeoutError

from monitor.errors import BrokerUnavailableError, ConfigurationError, SendError
from monitor.intake.formats import FORMATS
from monitor.intake.lines import FileLines, Line
from monitor.intake.ship import MAX_LINE_BYTES, PositionFile, Shipping, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from monitor.stream.embedded import EmbeddedBroker

KEY = FORMATS["canonical"].message_key
LINES = [
    b'{"principal":"a","n":1}',
    b"not json",
    b"",
    b'{"principal":"b"}',
    b'{"principal":"' + b"x" * 900_000 + b'"}',
    b'{"principal":"a","n":2}',
]


async def test_lines_arrive_as_they_are_keyed_by_principal(embedded: EmbeddedBroker, tmp_path: Path) -> None:
    path = tmp_path / "log"
    too_long = b"y" * (MAX_LINE_BYTES + 1)
    path.write_bytes(b"\n".join([*LINES[:3], too_long, *LINES[3:]]) + b"\n")
    embedded.create_topic("source", 1)
    position = PositionFile(tmp_path / "log.ship-position", "s")
    shipped = await _ship(embedded.bootstrap_servers, path, position)
    assert (shipped.lines, shipped.refused, shipped.refused_lines) == (6, 1, [4])
    records = await _records(embedded.bootstrap_servers, "source", 6)
    assert [record.value for record in records] == LINES
    assert [record.key for record in records] == [b"a", None, None, b"b", None, b"a"]

    with path.open("ab") as file:
        file.write(b"more\n")
    again = await _ship(embedded.bootstrap_servers, path, position)
    assert (again.lines, again.refused) == (1, 0), "it goes on after what was acknowledged"
    assert (await _records(embedded.bootstrap_servers, "source", 7))[-1].value == b"more"


async def test_an_unknown_topic_is_said_so(embedded: EmbeddedBroker) -> None:
    embedded.create_topic("other", 1)
    with pytest.raises(ConfigurationError, match="topic nowhere: not on"):
        await connect(_options(embedded.bootstrap_servers), "nowhere", 5, print)


async def test_an_absent_broker_is_waited_for_and_then_given_up() -> None:
    said: list[str] = []
    with pytest.raises(BrokerUnavailableError, match="no Kafka at 127") as caught:
        await connect(_options("127.0.0.1:1"), "source", 0.3, said.append)
    assert caught.value.exit_code == 69
    assert said == ["no Kafka at 127.0.0.1:1 yet; trying again for 0 s"]


async def test_after_a_failed_line_nothing_is_sent_and_the_position_stays(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"0\n1\n2\n3\n4\n")
    position = PositionFile(tmp_path / "position", "s")
    producer = FailingProducer(fail_at=2)
    shipping = Shipping(producer, "source", KEY)
    with pytest.raises(SendError, match="run the same command again") as caught:
        await shipping.run(FileLines(path, None, 100, follow=False).read(asyncio.Event()), path, position)
    assert caught.value.exit_code == 74
    remembered = position.load()
    assert remembered is not None
    assert (remembered.offset, remembered.lines) == (4, 2)


async def test_acknowledgements_out_of_order_do_not_move_the_position_past_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"0\n1\n2\n")
    position = PositionFile(tmp_path / "position", "s")
    producer = FailingProducer(fail_at=0)
    shipping = Shipping(producer, "source", KEY)
    with pytest.raises(SendError):
        await shipping.run(FileLines(path, None, 100, follow=False).read(asyncio.Event()), path, position)
    assert position.load() is None


def test_a_position_of_another_source_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    position = PositionFile(tmp_path / "position", "kong")
    position.save(path, Line(b"one", 1, 4, path.stat().st_ino))
    assert position.load() is not None
    with pytest.raises(ConfigurationError, match="the position of source 'kong', not of 'envoy'"):
        PositionFile(position.path, "envoy").load()
    position.path.write_bytes(b"{}")
    with pytest.raises(ConfigurationError, match="not a position file"):
        position.load()


class FailingProducer:
    """Acknowledges every line but one, at once."""

    def __init__(self, fail_at: int) -> None:
        self.fail_at = fail_at
        self.sent: list[bytes] = []

    async def send(self, topic: str, value: bytes, *, key: bytes | None) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        if len(self.sent) == self.fail_at:
            future.set_exception(KafkaTimeoutError())
        else:
            future.set_result(None)
        self.sent.append(value)
        return future


def _options(servers: str) -> dict[str, Any]:
    return {"bootstrap_servers": servers.split(","), "request_timeout_ms": 5000}


async def _ship(servers: str, path: Path, position: PositionFile) -> Any:
    producer = await connect(_options(servers), "source", 5, print)
    try:
        reader = FileLines(path, position.load(), MAX_LINE_BYTES, follow=False)
        batches: AsyncIterator[list[Line]] = reader.read(asyncio.Event())
        return await Shipping(producer, "source", KEY).run(batches, path, position)
    finally:
        await producer.stop()


async def _records(servers: str, topic: str, count: int) -> list[Any]:
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, check_crcs=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.seek_to_beginning()
        records: list[Any] = []
        while len(records) < count:
            for batch in (await consumer.getmany(timeout_ms=5000)).values():
                records += batch
        return records
    finally:
        await consumer.stop()
