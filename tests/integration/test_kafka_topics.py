"""Topics as people treat them: given partitions, deleted, made again, outlived by retention, emptied.

Each start that must not go on refuses with one message, and with one command that works.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]

from monitor.stream.kafka import aiokafka_options
from tests.integration.stack import Stack, wait_for
from tests.integration.test_loop import LIMIT, event
from tests.rig.broker import create_topic, delete_topic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.kafka


@pytest.fixture
def stack(tmp_path: Path, kafka: str, prefix: str) -> Iterator[Stack]:
    """Return an installation on the real Kafka, after `monitor init`."""
    create_topic(kafka, f"{prefix}gate", 3)
    installed = Stack(tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix)
    initialise(installed, "--from", "earliest")
    yield installed
    installed.close()


def initialise(stack: Stack, *arguments: str) -> str:
    done = stack.run("init", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def gate(stack: Stack) -> str:
    return stack.settings.sources[0].topic


def refusal(stack: Stack, *arguments: str) -> str:
    """Start a worker that must refuse; return what it said."""
    worker = stack.spawn("worker", *arguments)
    assert worker.process.wait(60) == 78, worker.said[-2000:]
    return worker.said.replace("\\n", "\n")


def count_until(stack: Stack, who: str, first: int, last: int) -> None:
    """Have a worker count some patients of a credential, and end it."""
    worker = stack.worker()
    stack.ship(event(who, patient) for patient in range(first, last))
    wait_for(lambda: routed_rows(stack, who) >= last, worker)
    assert worker.terminate() == 0


def routed_rows(stack: Stack, who: str) -> int:
    whole = b"".join(record.value for p in range(4) for record in stack.records("routed", p))
    return whole.count(f"gate/{who}".encode())


def test_a_partition_that_is_added_is_read_from_its_first_record(stack: Stack, kafka: str):
    worker = stack.worker()
    add_partitions(kafka, gate(stack), 5)
    send(stack, [event("partner-17", patient) for patient in range(LIMIT)], partitions=(3, 4))
    wait_for(lambda: stack.credential("gate/partner-17"), worker)
    assert "a partition was added" in worker.said
    assert worker.terminate() == 0
    # Also where it was added while nobody ran: `init` says what a worker would do.
    add_partitions(kafka, gate(stack), 6)
    assert f"in {gate(stack)} (1 of 6 partitions)" in initialise(stack)


def test_a_source_that_is_deleted_ends_the_worker_with_its_name(stack: Stack, kafka: str):
    worker = stack.worker()
    delete_topic(kafka, gate(stack))
    assert worker.process.wait(60) == 78
    assert f"topic {gate(stack)}: was deleted while it was read" in worker.said
    assert f"topic {gate(stack)}: does not exist" in refusal(stack)


def test_a_source_that_was_made_again_is_never_taken_for_the_one_before(stack: Stack, kafka: str):
    count_until(stack, "partner-17", 0, 10)
    delete_topic(kafka, gate(stack))
    create_topic(kafka, gate(stack), 3)
    # More than was read of the one before: no position lies beyond its end.
    stack.ship(event("partner-17", patient) for patient in range(100, 100 + LIMIT))
    # Kafka forgets the positions with the topic; where it does not, their note tells (test_beginnings).
    assert "monitor init --from earliest" in refusal(stack)
    initialise(stack, "--from", "earliest")
    worker = stack.worker()
    wait_for(lambda: stack.credential("gate/partner-17"), worker)
    (finding,) = [entry for entry in stack.findings() if entry["principal"] == "partner-17"]
    assert finding["event"]["offset"] < LIMIT
    assert worker.terminate() == 0


def test_retention_that_overtook_a_worker_stops_it_until_a_person_lets_it_go_on(stack: Stack, kafka: str):
    send(stack, [event("partner-17", patient) for patient in range(LIMIT + 30)])
    low = dict.fromkeys(range(3), 7)
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.delete_records(
        [TopicPartition(gate(stack), p, at) for p, at in low.items()]
    ).values():
        future.result()
    said = refusal(stack)
    assert "records 0 to 6 were deleted before" in said
    assert "monitor worker --on-gap continue" in said
    assert not stack.decisions("requested")
    worker = stack.worker("--on-gap", "continue")
    wait_for(lambda: len(stack.decisions("gap")) >= 3, worker)
    gaps = stack.decisions("gap")
    assert len(gaps) == 3
    assert {(gap["topic"], gap["partition"], gap["first"], gap["last"]) for gap in gaps} == {
        (gate(stack), p, 0, 6) for p in range(3)
    }
    lost = [
        line for line in worker.metrics().splitlines() if line.startswith("access_monitor_gap_records_total{")
    ]
    assert sum(float(line.rsplit(" ", 1)[1]) for line in lost) == 21
    wait_for(lambda: stack.credential("gate/partner-17"), worker)
    assert worker.terminate() == 0


def test_positions_that_expired_are_set_again_and_nothing_is_counted_twice(stack: Stack, kafka: str):
    count_until(stack, "partner-17", 0, LIMIT - 1)
    admin = AdminClient({"bootstrap.servers": kafka})
    groups = [stack.settings.group(role) for role in ("intake", "detect", "enforce")]
    for future in admin.delete_consumer_groups(groups).values():
        future.result()
    said = refusal(stack)
    assert "has no position there" in said
    assert "monitor init --from earliest" in said
    initialise(stack, "--from", "earliest")
    worker = stack.worker()
    stack.ship([event("partner-2", 1)])
    wait_for(lambda: routed_rows(stack, "partner-2") >= 1, worker)
    assert not stack.findings(), "what was read again counts once"
    stack.ship([event("partner-17", LIMIT)])
    wait_for(lambda: stack.credential("gate/partner-17"), worker)
    assert worker.terminate() == 0
    assert Counter(entry["id"] for entry in stack.decisions("requested")) == {"partner-17": 1}
    assert {f["id"]: f for f in stack.findings()} == {f["id"]: f for f in stack.fold()}


def test_a_lost_state_topic_is_built_again_from_what_routed_keeps(stack: Stack, kafka: str):
    count_until(stack, "partner-17", 0, LIMIT - 5)
    delete_topic(kafka, stack.settings.topic("state"))
    initialise(stack)
    said = refusal(stack)
    command = f"monitor init --adopt {stack.settings.topic('state')}"
    assert "what was counted is lost" in said
    assert command in said
    initialise(stack, "--adopt", stack.settings.topic("state"))
    worker = stack.worker()
    stack.ship(event("partner-17", patient) for patient in range(LIMIT - 5, LIMIT))
    record = wait_for(lambda: stack.credential("gate/partner-17"), worker)
    assert record["patients"] == LIMIT
    assert worker.terminate() == 0


def test_a_lost_routed_topic_begins_anew_with_its_state(stack: Stack, kafka: str):
    count_until(stack, "partner-17", 0, 10)
    delete_topic(kafka, stack.settings.topic("routed"))
    initialise(stack, "--adopt", stack.settings.topic("routed"))
    worker = stack.worker()
    stack.ship(event("partner-17", patient) for patient in range(100, 100 + LIMIT))
    record = wait_for(lambda: stack.credential("gate/partner-17"), worker)
    assert record["patients"] == LIMIT, "what was counted before is gone with the topic"
    assert worker.terminate() == 0
    assert {f["id"]: f for f in stack.findings()} == {f["id"]: f for f in stack.fold()}


def test_a_lost_findings_topic_leaves_who_is_refused_refused(stack: Stack, kafka: str):
    worker = stack.worker()
    stack.ship(event("partner-17", patient) for patient in range(LIMIT))
    wait_for(lambda: stack.credential("gate/partner-17"), worker)
    assert worker.terminate() == 0
    findings = stack.settings.topic("findings")
    delete_topic(kafka, findings)
    initialise(stack)
    worker = stack.spawn("worker")
    assert worker.process.wait(60) == 70, worker.said[-2000:]
    assert f"monitor init --adopt {findings}" in worker.said
    assert "stays refused (1 credentials)" in initialise(stack, "--adopt", findings).replace("\n", " ")
    worker = stack.worker()
    stack.ship(event("partner-2", patient) for patient in range(LIMIT))
    wait_for(lambda: stack.credential("gate/partner-2"), worker)
    record = stack.credential("gate/partner-17")
    assert record is not None
    assert record["status"] == "suspended"
    assert worker.terminate() == 0
    assert Counter(entry["id"] for entry in stack.decisions("requested")) == {"partner-17": 1, "partner-2": 1}
    assert len(stack.decisions("findings_adopted")) == 1


def test_records_as_producers_send_them(stack: Stack, kafka: str):
    """Every compression; aborted transactions, which must not count; null values; either timestamp type."""
    topic = gate(stack)
    options: dict[str, Any] = aiokafka_options(stack.settings.kafka)
    worker = stack.worker()

    async def send(number: int, codec: str | None) -> None:
        transactional_id = f"{topic}-{number}"
        async with AIOKafkaProducer(
            **options, compression_type=codec, transactional_id=transactional_id
        ) as producer:
            for abort in (True, False, True):
                await producer.begin_transaction()
                for patient in range(10):
                    # The aborted ones are other patients: any that counts makes one too many.
                    seen = event("partner-17", 1000 * abort + 10 * number + patient)
                    await producer.send(topic, json.dumps(seen).encode(), partition=patient % 3)
                await producer.send(topic, None, key=b"x", partition=number % 3)
                await (producer.abort_transaction() if abort else producer.commit_transaction())

    for number, codec in enumerate((None, "gzip", "lz4", "snappy", "zstd")):
        asyncio.run(send(number, codec))
        if number == 2:
            alter_timestamps(kafka, topic)
    record = wait_for(lambda: stack.credential("gate/partner-17"), worker)
    assert record["patients"] == LIMIT
    wait_for(lambda: len(stack.entries("rejected")) >= 5, worker)
    assert {entry["reason"] for entry in stack.entries("rejected")} == {"empty"}
    assert worker.terminate() == 0
    assert {f["id"]: f for f in stack.findings()} == {f["id"]: f for f in stack.fold()}


def send(stack: Stack, events: list[dict[str, Any]], partitions: tuple[int, ...] = (0, 1, 2)) -> None:
    """Send events, to each of the partitions in turn."""

    async def produce() -> None:
        async with AIOKafkaProducer(**aiokafka_options(stack.settings.kafka)) as producer:
            for number, one in enumerate(events):
                partition = partitions[number % len(partitions)]
                await producer.send_and_wait(gate(stack), json.dumps(one).encode(), partition=partition)

    asyncio.run(produce())


def add_partitions(kafka: str, topic: str, count: int) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_partitions([NewPartitions(topic, count)])[topic].result()


def alter_timestamps(kafka: str, topic: str) -> None:
    from confluent_kafka.admin import (  # type: ignore[attr-defined]
        AlterConfigOpType,
        ConfigEntry,
        ConfigResource,
        ResourceType,
    )

    entry = ConfigEntry(
        "message.timestamp.type", "LogAppendTime", incremental_operation=AlterConfigOpType.SET
    )
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.incremental_alter_configs([resource]).values():
        future.result()
