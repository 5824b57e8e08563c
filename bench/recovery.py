"""Seconds until a worker has its state again: ``python bench/recovery.py [SUBJECTS] [--kafka HOST:PORT]``.

Writes the state of many subjects (made by the default pack from 1 to 30 events each) into a `state`
topic of four partitions, then recovers all of it in one process, as a worker does that is alone. Beside
it, in the same breath, a bare loop that reads the same records and does nothing. With ``--versions`` each
subject was written so often before, and nothing is compacted: a bad day. Without ``--kafka`` it starts a
real Kafka of its own (`make kafka` fetches it).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from aiokafka import AIOKafkaProducer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from monitor.core.events import AXIS_PRINCIPAL, RowsRecord, RulesRecord, SourceId
from monitor.core.rules import rule_set_document
from monitor.engine import detectors
from monitor.intake.canonical import decode
from monitor.intake.keys import Epoch, Keys
from monitor.intake.rows import EventRouter
from monitor.observe.metrics import Metrics
from monitor.rulebook import compile_pattern, load_rules
from monitor.settings import KafkaSettings
from monitor.stream.kafka import aiokafka_options
from monitor.stream.read import read_to_end
from monitor.stream.saved import SavedState
from monitor.wire import state
from tests.rig import broker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monitor.core.detector import Detector
    from monitor.core.rules import RuleSet

TOPIC = "access-monitor-bench.state"
PARTITIONS = 4
SAMPLES = 300
NOW_MS = 1_772_359_200_000
LATENESS_MS = 3_600_000


def new_detector(partition: int) -> Detector:
    """Return a detector as a worker makes it."""
    return detectors.new_detector(partition, allowed_lateness_ms=LATENESS_MS, compile_pattern=compile_pattern)


def samples(rule_set: RuleSet) -> list[tuple[list[object], int | None]]:
    """Return (snapshot, until) of subjects that did a few things each."""
    rng = random.Random(1)
    router = EventRouter(rule_set, Keys(bytes(32), (Epoch("k1", bytes(32)),)), 1, compile_pattern)
    detector = new_detector(0)
    detector.activate(RulesRecord(1, rule_set.revision, rule_set_document(rule_set)), NOW_MS)
    source, offset = SourceId("c", "t", "t", 0), 0
    for number in range(SAMPLES):
        for count in range(rng.choice((1, 1, 3, 10, 30))):
            line = (
                f'{{"time":{NOW_MS + 1_000 * count},"status":200,"principal":"p{number}","authenticated":true,'
                f'"patient":"p-{rng.randrange(10_000)}","object":"a-{rng.randrange(10_000)}","records":1,'
                f'"tenant":"t-{rng.randrange(20)}","route":"/appointments/{{id}}"}}'
            )
            rows = [row for _, row in router.route(decode("r", line.encode()), offset)]
            detector.apply(RowsRecord(source, offset, offset, not offset, rows), offset, NOW_MS + 60_000)
            offset += 1
    keys = [key for key in detector.subjects.take_dirty() if key[0] == AXIS_PRINCIPAL]
    return [(detector.snapshot_subject(key), detector.subjects.counts_until(key)) for key in keys]


def records(subjects: int, versions: int, partition: int, rule_set: RuleSet) -> Iterator[tuple[bytes, bytes]]:
    """Yield the records of one partition."""
    made = samples(rule_set)
    for version in range(versions):
        for number in range(partition, subjects, PARTITIONS):
            snapshot, until_ms = made[number % len(made)]
            encoded = state.encode_subject((AXIS_PRINCIPAL, f"r/p{number}"), version, until_ms, snapshot)
            yield encoded.key, encoded.value
    yield state.MARKS_KEY, state.encode_single(versions, [1, []])


async def write(kafka: KafkaSettings, subjects: int, versions: int, rule_set: RuleSet) -> int:
    """Fill the topic; return the bytes of values."""
    size = 0
    producer = AIOKafkaProducer(**aiokafka_options(kafka), max_batch_size=900_000, max_request_size=4 << 20)
    async with producer:
        for partition in range(PARTITIONS):
            batch = producer.create_batch()
            for key, value in records(subjects, versions, partition, rule_set):
                size += len(value)
                if batch.append(key=key, value=value, timestamp=NOW_MS) is None:
                    batch.close()
                    await (await producer.send_batch(batch, TOPIC, partition=partition))
                    batch = producer.create_batch()
                    batch.append(key=key, value=value, timestamp=NOW_MS)
            batch.close()
            await (await producer.send_batch(batch, TOPIC, partition=partition))
    return size


async def bare(kafka: KafkaSettings) -> float:
    """Return the seconds that reading alone takes."""

    async def read(partition: int) -> None:
        async for _ in read_to_end(kafka, TOPIC, partition):
            pass

    began = time.perf_counter()
    await asyncio.gather(*(read(partition) for partition in range(PARTITIONS)))
    return time.perf_counter() - began


async def recover(kafka: KafkaSettings) -> tuple[float, int]:
    """Return the seconds of a recovery, and how many subjects came back."""
    detectors = [new_detector(partition) for partition in range(PARTITIONS)]
    metrics = Metrics()
    began = time.perf_counter()
    found = await asyncio.gather(
        *(SavedState(TOPIC, at, detector, metrics).recover(kafka) for at, detector in enumerate(detectors))
    )
    seconds = time.perf_counter() - began
    return seconds, sum(recovery.subjects for recovery in found)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subjects", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--versions", type=int, default=1)
    parser.add_argument("--kafka")
    arguments = parser.parse_args()
    bootstrap = arguments.kafka or broker.start(os.getpid())
    kafka = KafkaSettings(bootstrap_servers=bootstrap, broker="cluster")
    admin = AdminClient({"bootstrap.servers": bootstrap})
    compacted = NewTopic(TOPIC, PARTITIONS, 1, config={"cleanup.policy": "compact"})
    admin.create_topics([compacted])[TOPIC].result()
    rule_set = load_rules(["pack:default"]).rule_set
    size = asyncio.run(write(kafka, arguments.subjects, arguments.versions, rule_set))
    count = arguments.subjects * arguments.versions
    print(
        f"{arguments.subjects:,} subjects, {count:,} records of {size // count} bytes, {PARTITIONS} partitions"
    )
    alone = asyncio.run(bare(kafka))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu = time.process_time()
    seconds, subjects = asyncio.run(recover(kafka))
    if subjects != arguments.subjects:
        sys.exit(f"{subjects:,} subjects came back: the measurement is wrong")
    cpu = time.process_time() - cpu
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"reading alone   {alone:6.1f} s")
    print(
        f"recovered       {seconds:6.1f} s  {subjects:,} subjects, {cpu:.1f} s of CPU, {grown:,.0f} MB more at its peak"
    )
    print(f"ratio           {seconds / alone:6.2f}")


if __name__ == "__main__":
    main()
