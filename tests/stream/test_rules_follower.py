"""Each process hears of the rule set in force, and of every one after it, whoever owns what."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer

from monitor.errors import ConfigurationError, InvariantError
from monitor.stream.rules import RulesFollower, read_rules_in_force
from monitor.stream.topics import create_embedded, create_topics
from monitor.wire.credentials import RulesInForce, encode
from tests.response.stage import until
from tests.rig.configuration import settings_for

if TYPE_CHECKING:
    from pathlib import Path

    from monitor.settings import Settings


@pytest.fixture
def settings(
    broker: str, bootstrap: str, prefix: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Settings:
    """Settings on either broker, with our topics there."""
    settings = settings_for(tmp_path, broker=broker, bootstrap=bootstrap, prefix=prefix)
    if broker == "embedded":
        create_embedded(settings, request.getfixturevalue("embedded"))
    else:
        create_topics(settings)
    return settings


def rules(version: int) -> RulesInForce:
    document = {"version": 1, "rules": []}
    return RulesInForce(
        version=version, revision=f"r{version}", document=document, text={}, published_ms=1, by="x"
    )


async def write(settings: Settings, *versions: int, other: bytes = b"@enforcer") -> None:
    """Write rule sets to `credentials`, each followed by another record, in transactions as the ledger does."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka.bootstrap_servers, transactional_id=settings.topic("test")
    )
    await producer.start()
    try:
        for version in versions:
            async with producer.transaction():
                topic = settings.topic("credentials")
                await producer.send(topic, encode(rules(version)), key=b"@rules", partition=0)
                await producer.send(topic, b"{}", key=other, partition=0)
    finally:
        await producer.stop()


async def test_a_process_hears_of_the_newest_and_then_of_each(settings: Settings):
    await write(settings, 1, 2)
    fatal: list[BaseException] = []
    followers = [RulesFollower(settings, fatal.append) for _ in range(2)]
    heard: list[list[int]] = [[], []]
    for follower, versions in zip(followers, heard, strict=True):
        follower.tell(lambda entry, versions=versions: versions.append(entry.version))  # type: ignore[misc]
        follower.start()
    assert [(await follower.first()).version for follower in followers] == [2, 2]
    assert heard == [[2], [2]], "what was replaced before the start is not news"
    await write(settings, 3, 4)
    await until(lambda: heard == [[2, 3, 4], [2, 3, 4]])
    late: list[int] = []
    followers[0].tell(lambda entry: late.append(entry.version))
    assert late == [4]
    for follower in followers:
        await follower.stop()
    assert fatal == []


async def test_it_waits_for_the_first_and_takes_no_older_one(settings: Settings):
    fatal: list[BaseException] = []
    follower = RulesFollower(settings, fatal.append)
    heard: list[int] = []
    follower.tell(lambda entry: heard.append(entry.version))
    follower.start()
    first = asyncio.create_task(follower.first())
    await write(settings, 3)
    assert (await first).version == 3
    await write(settings, 2, 4)
    await until(lambda: heard == [3, 4])
    await follower.stop()
    assert fatal == []


async def test_one_that_dies_ends_the_process(settings: Settings):
    fatal: list[BaseException] = []
    follower = RulesFollower(settings, fatal.append)
    follower.start()
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers)
    await producer.start()
    try:
        await producer.send_and_wait(settings.topic("credentials"), b"{}", key=b"@rules", partition=0)
    finally:
        await producer.stop()
    await until(lambda: fatal)
    assert isinstance(fatal[0], InvariantError)
    await follower.stop()


async def test_what_is_in_force_can_be_read_at_once(settings: Settings):
    assert await read_rules_in_force(settings) is None
    await write(settings, 1, 2)
    assert await read_rules_in_force(settings) == rules(2)


@pytest.mark.kafka
async def test_without_topics_it_says_what_to_do(kafka: str, prefix: str, tmp_path: Path):
    settings = settings_for(tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix)
    with pytest.raises(ConfigurationError, match="run `monitor init`"):
        await read_rules_in_force(settings)
