"""`monitor init`: where groups begin and which rules are published first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition
from click.testing import CliRunner

from monitor.cli.init import command
from monitor.core.rules import rule_set_from_document
from monitor.errors import ConfigurationError
from monitor.stream.first_run import initialise
from monitor.stream.read import read_to_end
from monitor.stream.starts import Start, parse_start, set_start
from monitor.stream.topics import create_embedded, create_topics
from tests.rig.broker import create_topic
from tests.rig.configuration import settings_for, write_settings

if TYPE_CHECKING:
    from pathlib import Path

    from monitor.settings import Settings
    from monitor.stream.embedded import EmbeddedBroker

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATEST = Start("latest", -1)
EARLIEST = Start("earliest", -2)
PARTITIONS = 2


@pytest.fixture
def settings(
    broker: str, bootstrap: str, prefix: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Settings:
    """Settings on either broker, with all topics there."""
    settings = settings_for(tmp_path, broker=broker, bootstrap=bootstrap, prefix=prefix)
    if broker == "embedded":
        embedded: EmbeddedBroker = request.getfixturevalue("embedded")
        create_embedded(settings, embedded, PARTITIONS)
    else:
        create_topics(settings)
        create_topic(bootstrap, settings.sources[0].topic, PARTITIONS)
    return settings


async def send(settings: Settings, topic: str, partition: int, *times_ms: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers, acks="all")
    await producer.start()
    try:
        for time_ms in times_ms:
            await producer.send_and_wait(topic, b"{}", partition=partition, timestamp_ms=time_ms)
    finally:
        await producer.stop()


async def positions(settings: Settings, role: str, topic: str, partitions: int) -> list[int | None]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka.bootstrap_servers,
        group_id=settings.group(role),
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        return [await consumer.committed(TopicPartition(topic, number)) for number in range(partitions)]
    finally:
        await consumer.stop()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("24h", NOW - timedelta(hours=24)),
        ("90m", NOW - timedelta(minutes=90)),
        ("7d", NOW - timedelta(days=7)),
        ("2026-03-01T06:00:00Z", NOW - timedelta(hours=6)),
        ("2026-03-01T07:00:00+01:00", NOW - timedelta(hours=6)),
    ],
)
def test_a_start_is_a_moment(text: str, moment: datetime):
    assert parse_start(text, NOW) == Start(text, int(moment.timestamp() * 1000))


@pytest.mark.parametrize(
    "text", ["", "yesterday", "24", "-1h", "2026-03-01T06:00:00", "2026-03-01T12:00:01Z"]
)
def test_what_is_no_moment_of_the_past_is_refused_with_a_remedy(text: str):
    with pytest.raises(ConfigurationError, match=r"--from: .+\(.+\)"):
        parse_start(text, NOW)


async def test_latest_begins_after_what_is_there(settings: Settings):
    source = settings.sources[0].topic
    await send(settings, source, 1, 1, 2, 3)
    said = await set_start(settings, LATEST)
    assert await positions(settings, "intake", source, PARTITIONS) == [0, 3]
    assert f"group {settings.group('intake')} begins at latest in {source} (all 2 partitions)" in said


async def test_our_own_topics_begin_at_their_beginning(settings: Settings):
    # Of today: Kafka deletes at some moment what is older than the topic's retention.
    await send(settings, settings.topic("findings"), 0, int(datetime.now(UTC).timestamp() * 1000))
    await set_start(settings, LATEST)
    assert await positions(settings, "enforce", settings.topic("findings"), 1) == [0]
    assert await positions(settings, "detect", settings.topic("routed"), 4) == [0] * 4
    assert await positions(settings, "intake", settings.topic("status"), 1) == [0]


async def test_a_position_that_exists_is_never_moved(settings: Settings):
    source = settings.sources[0].topic
    await set_start(settings, EARLIEST)
    await send(settings, source, 0, 1, 2)
    said = await set_start(settings, LATEST)
    assert await positions(settings, "intake", source, PARTITIONS) == [0, 0]
    assert f"group {settings.group('intake')} keeps its positions in {source}" in said


@pytest.mark.parametrize("broker", [pytest.param("cluster", marks=pytest.mark.kafka)])
async def test_a_time_begins_at_the_first_record_from_then_on(settings: Settings):
    source = settings.sources[0].topic
    hour = 3600 * 1000
    now = int(datetime.now(UTC).timestamp() * 1000)
    await send(settings, source, 0, now - 3 * hour, now - 2 * hour, now - hour)
    await send(settings, source, 1, now - 3 * hour)
    await set_start(settings, Start("2h", now - 2 * hour))
    assert await positions(settings, "intake", source, PARTITIONS) == [1, 1]


@pytest.mark.parametrize("broker", ["embedded"])
async def test_the_embedded_broker_knows_no_times(settings: Settings):
    with pytest.raises(ConfigurationError, match="use latest or earliest"):
        await set_start(settings, Start("24h", 1))


async def test_the_first_rules_are_published_once(settings: Settings):
    first: list[str] = []
    again: list[str] = []
    await initialise(settings, LATEST, first.append)
    await initialise(settings, LATEST, again.append)
    entries = [
        orjson.loads(record.value)
        async for records, _, _ in read_to_end(settings.kafka, settings.topic("control"), 0)
        for record in records
    ]
    assert [entry["kind"] for entry in entries] == ["publish_rules"]
    assert rule_set_from_document(entries[0]["document"]).revision == entries[0]["revision"]
    assert any("published the first rule set" in sentence for sentence in first)
    assert any("it stays as it is" in sentence for sentence in again)


@pytest.mark.parametrize("broker", ["embedded"])
async def test_rules_that_the_enforcer_holds_are_not_published_over(settings: Settings):
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers)
    await producer.start()
    try:
        await producer.send_and_wait(settings.topic("credentials"), b"{}", key=b"@rules")
    finally:
        await producer.stop()
    said: list[str] = []
    await initialise(settings, LATEST, said.append)
    assert not any("first rule set" in sentence for sentence in said)


@pytest.mark.kafka
def test_the_command_makes_a_cluster_ready(kafka: str, prefix: str, tmp_path: Path):
    path = write_settings(tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix)
    create_topic(kafka, f"{prefix}gate")
    done = CliRunner().invoke(command, ["--config", str(path), "--from", "24h"], catch_exceptions=False)
    assert done.exit_code == 0
    for part in (f"created topic {prefix}routed", "published the first rule set", "begins at 24h"):
        assert part in done.output


def test_the_plan_needs_no_broker(prefix: str, tmp_path: Path):
    path = write_settings(tmp_path, broker="cluster", bootstrap="127.0.0.1:1", prefix=prefix)
    done = CliRunner().invoke(command, ["--config", str(path), "--plan"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "kafka-topics.sh" in done.output
