"""The seam with Faust, on both brokers: every record once and in order, and every hole seen."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from monitor.stream.chunks import Partition, RoleApp
from monitor.stream.kafka import aiokafka_options, consumer_options
from monitor.stream.partition import OpenPartition
from monitor.stream.role import Role
from tests.rig.broker import create_topic
from tests.rig.configuration import settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from aiokafka.structs import ConsumerRecord

    from monitor.settings import KafkaSettings
    from monitor.stream.chunks import Chunk

DEADLINE_SECONDS = 60.0


class Recording(OpenPartition):
    """Keeps what it took."""

    def __init__(self, tp: Partition, position: int, taken: dict[int, list[bytes]]) -> None:
        super().__init__(tp, position)
        self._taken = taken.setdefault(tp.partition, [])

    async def open(self) -> None:
        pass

    async def take(self, records: Sequence[ConsumerRecord]) -> None:
        self._taken.extend(record.value for record in records)

    async def flush(self, *, final: bool) -> int | None:
        del final
        return self.continuity.next

    async def close(self) -> None:
        pass


class RecordingRole(Role):
    def __init__(self, app: RoleApp, topic: str, on_fatal: Callable[[BaseException], None]) -> None:
        self.taken: dict[int, list[bytes]] = {}
        super().__init__(app, [topic], on_fatal)

    def new_partition(self, tp: Partition, position: int) -> Recording:
        return Recording(tp, position, self.taken)


class Seam:
    """One topic, and roles of one group on it."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self.kafka = kafka
        self.topic = topic
        self.group = f"{topic}-group"
        self.fatal: list[BaseException] = []

    @asynccontextmanager
    async def role(self) -> AsyncIterator[RecordingRole]:
        app = RoleApp("detect", self.kafka, group=self.group, instance=None, on_fatal=self.fatal.append)
        role = RecordingRole(app, self.topic, self.fatal.append)
        await role.start()
        try:
            yield role
        finally:
            await role.stop()

    async def begin_at(self, position: int, partitions: int) -> None:
        consumer = AIOKafkaConsumer(**consumer_options(self.kafka), group_id=self.group)
        await consumer.start()
        try:
            tps = [TopicPartition(self.topic, number) for number in range(partitions)]
            consumer.assign(tps)
            await consumer.commit(dict.fromkeys(tps, position))
        finally:
            await consumer.stop()

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not condition() and not self.fatal:  # noqa: ASYNC110 - Faust sets no event of ours
                await asyncio.sleep(0.02)


@pytest.fixture
def seam(
    tmp_path: Path, broker: str, bootstrap: str, prefix: str, request: pytest.FixtureRequest
) -> Callable[[int], Seam]:
    """Return a function that makes a topic of some partitions."""
    kafka = {"session_timeout_seconds": 6}
    settings = settings_for(tmp_path, broker=broker, bootstrap=bootstrap, prefix=prefix, kafka=kafka)

    def make(partitions: int) -> Seam:
        topic = f"{prefix}seam"
        if broker == "embedded":
            request.getfixturevalue("embedded").create_topic(topic, partitions)
        else:
            create_topic(bootstrap, topic, partitions)
        return Seam(settings.kafka, topic)

    return make


@asynccontextmanager
async def sending(seam: Seam, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(**aiokafka_options(seam.kafka), **options)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def test_nothing_of_a_stay_that_is_over_stays_in_memory(seam: Callable[[int], Seam]):
    gate = seam(1)
    await gate.begin_at(0, 1)
    kept: list[weakref.ref[Any]] = []
    for _ in range(2):
        async with gate.role() as role:
            await gate.until(partial(attrgetter("ready"), role))
            kept += [weakref.ref(role), weakref.ref(role.app)]
        del role
    # What the loop still holds of the last one goes with the next turns.
    await gate.until(lambda: gc.collect() is not None and not any(one() for one in kept))
    assert not gate.fatal


async def test_every_record_arrives_once_and_in_order(seam: Callable[[int], Seam]):
    gate = seam(3)
    await gate.begin_at(0, 3)
    sent: dict[int, list[bytes]] = {number: [] for number in range(3)}
    async with gate.role() as role, sending(gate) as producer:
        for number in range(300):
            partition = number % 3
            sent[partition].append(b"%d" % number)
            await producer.send_and_wait(gate.topic, b"%d" % number, partition=partition)
        await gate.until(lambda: sum(map(len, role.taken.values())) >= 300)
        await gate.until(lambda: all(part.committed == 100 for part in role.partitions))
    assert role.taken == sent
    assert not gate.fatal


async def test_the_first_record_after_a_start_is_not_lost(seam: Callable[[int], Seam]):
    """The only record there is: no later one would show the hole (a fetch that began too early)."""
    gate = seam(1)
    async with sending(gate) as producer:
        for number in range(4):
            gate.group = f"{gate.topic}-{number}"
            await gate.begin_at(number, 1)
            async with gate.role() as role:
                await producer.send_and_wait(gate.topic, b"%d" % number, partition=0)
                await gate.until(lambda role=role: role.taken.get(0))  # type: ignore[misc]
                assert role.taken == {0: [b"%d" % number]}
    assert not gate.fatal


async def test_who_gives_a_partition_up_commits_nothing_of_it_and_goes_on(seam: Callable[[int], Seam]):
    """A record is being tried, or a flush waits for another partition, while this one is given up."""
    gate = seam(2)
    await gate.begin_at(0, 2)
    async with gate.role() as role:
        await gate.until(lambda: role.ready)
        gone, kept = sorted(role.partitions, key=lambda part: part.tp)
        await role._give_up(gone.tp)
        assert await role._commit_note(gone) is False
        assert await role._commit({gone.tp: 0, kept.tp: 0}) is True
    assert not gate.fatal


@pytest.mark.parametrize("times", [1, 2])
async def test_what_faust_drops_is_fetched_again(seam: Callable[[int], Seam], times: int):
    gate = seam(1)
    await gate.begin_at(0, 1)
    async with gate.role() as role, sending(gate) as producer:
        dropped = dropping(role, times)
        for number in range(40):
            await producer.send_and_wait(gate.topic, b"%d" % number, partition=0)
        await gate.until(lambda: len(role.taken.get(0, [])) >= 40)
    assert len(dropped) == times
    assert role.taken == {0: [b"%d" % number for number in range(40)]}
    assert not gate.fatal


async def test_what_faust_drops_before_a_silence_is_fetched_again(seam: Callable[[int], Seam]):
    gate = seam(1)
    await gate.begin_at(0, 1)
    async with gate.role() as role, sending(gate) as producer:
        dropped = dropping(role, 1)
        for number in range(11):
            await producer.send_and_wait(gate.topic, b"%d" % number, partition=0)
        await gate.until(lambda: dropped)
        assert await role.fetch_again(Partition(gate.topic, 0))  # as `lag` does, when it sees that
        await gate.until(lambda: len(role.taken.get(0, [])) >= 11)
    assert role.taken == {0: [b"%d" % number for number in range(11)]}
    assert not gate.fatal


async def test_a_hole_that_stays_ends_the_process(seam: Callable[[int], Seam]):
    gate = seam(1)
    await gate.begin_at(0, 1)
    async with gate.role() as role, sending(gate) as producer:
        dropping(role, 1_000)
        for number in range(40):
            await producer.send_and_wait(gate.topic, b"%d" % number, partition=0)
        await gate.until(lambda: gate.fatal)
    assert "were not delivered" in str(gate.fatal[0])
    assert b"10" not in role.taken.get(0, [])


def dropping(role: RecordingRole, times: int) -> list[Chunk]:
    """Have the chunk with offset 10 dropped so many times, as Faust does at the end of a rebalance."""
    take = role._take
    dropped: list[Chunk] = []

    async def take_or_drop(tp: Any, chunk: Chunk) -> None:
        if len(dropped) < times and any(record.offset == 10 for record in chunk.records):
            dropped.append(chunk)
            rest = [record for record in chunk.records if record.offset > 10]
            if rest:  # what comes after it in the same chunk shows the hole
                await take(tp, replace(chunk, start=11, records=rest))
        else:
            await take(tp, chunk)

    role._take = take_or_drop  # type: ignore[method-assign]
    return dropped


@pytest.mark.kafka
async def test_markers_of_transactions_are_no_hole_and_aborted_records_never_arrive(
    tmp_path: Path, kafka: str, prefix: str
):
    topic = f"{prefix}seam"
    create_topic(kafka, topic, 1)
    settings = settings_for(tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix)
    gate = Seam(settings.kafka, topic)
    await gate.begin_at(0, 1)
    kept = []
    async with gate.role() as role, sending(gate, transactional_id=f"{prefix}gateway") as producer:
        for number in range(12):
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"%d" % number, partition=0)
            if number % 3 == 2:
                await producer.abort_transaction()
            else:
                await producer.commit_transaction()
                kept.append(b"%d" % number)
        await gate.until(lambda: len(role.taken.get(0, [])) >= len(kept))
    assert role.taken == {0: kept}
    assert not gate.fatal


@pytest.mark.kafka
async def test_a_second_member_joins_and_leaves_and_nothing_is_lost_or_repeated(
    tmp_path: Path, kafka: str, prefix: str
):
    topic = f"{prefix}seam"
    create_topic(kafka, topic, 4)
    settings = settings_for(
        tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix, kafka={"session_timeout_seconds": 6}
    )
    gate = Seam(settings.kafka, topic)
    await gate.begin_at(0, 4)
    sent = 0

    async def send_some(producer: AIOKafkaProducer) -> None:
        nonlocal sent
        for number in range(sent, sent + 80):
            await producer.send_and_wait(topic, b"%d" % number, partition=number % 4)
        sent += 80

    async with gate.role() as first, sending(gate) as producer:
        await send_some(producer)
        async with gate.role() as second:
            await gate.until(lambda: len(second.partitions) == 2 and len(first.partitions) == 2)
            await send_some(producer)
            await gate.until(lambda: sum(map(len, second.taken.values())) >= 40)
        await gate.until(lambda: len(first.partitions) == 4)
        await send_some(producer)
        await gate.until(
            lambda: sum(len(part) for role in (first, second) for part in role.taken.values()) >= sent
        )
    assert not gate.fatal
    both = [value for role in (first, second) for part in role.taken.values() for value in part]
    assert sorted(map(int, both)) == list(range(sent))
    assert all(part == sorted(part, key=int) for role in (first, second) for part in role.taken.values())


async def test_without_a_position_the_message_says_what_to_run(seam: Callable[[int], Seam]):
    gate = seam(1)
    async with gate.role():
        await gate.until(lambda: gate.fatal)
    assert "`monitor init --from earliest`" in str(gate.fatal[0])


async def test_a_position_beyond_the_end_stops(seam: Callable[[int], Seam]):
    gate = seam(1)
    await gate.begin_at(10, 1)
    async with gate.role():
        await gate.until(lambda: gate.fatal)
    assert "goes on at 10, but the topic ends at 0" in str(gate.fatal[0])
