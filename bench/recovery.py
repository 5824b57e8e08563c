"""Seconds and memory until a worker has its state again: ``python bench/recovery.py [SUBJECTS] [--events 1]``.

Writes the state of many subjects, made by the default pack, into a `state` topic of four partitions, then
recovers all of it in one process, as a worker does that is alone. Each subject had ``--events`` events, or 1
to 30 of them, 9 on average, where that is not said. Beside it a bare loop that reads the same records and does
nothing. Each of the two is a process of its own, so that its memory is its own; it is printed at its peak, and
with all of the state held, once reading is over. With ``--versions`` each subject was written so often before,
and nothing is compacted: a bad day. ``--pure`` recovers in Python. Without ``--kafka HOST:PORT`` it starts a real
Kafka of its own (`make kafka` fetches it).
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

sys.path.insert(0, str(Path(__file__).parents[1]))

from aiokafka import AIOKafkaProducer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from monitor.core.events import AXIS_PRINCIPAL, RowsRecord, RulesRecord, SourceId
from monitor.core.rules import rule_set_document
from monitor.engine import PURE, detectors
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
    from collections.abc import Callable, Iterator

    from monitor.core.detector import Detector
    from monitor.core.rules import RuleSet

TOPIC = "access-monitor-bench.state"
PARTITIONS = 4
SAMPLES = 300
#: How many events each subject had; None for 1 to 30.
Events = int | None
Found = TypeVar("Found")
NOW_MS = 1_772_359_200_000
LATENESS_MS = 3_600_000


def new_detector(partition: int) -> Detector:
    """Return a detector as a worker makes it."""
    return detectors.new_detector(partition, allowed_lateness_ms=LATENESS_MS, compile_pattern=compile_pattern)


class Recovered(NamedTuple):
    """What a recovery took: MB of memory before it, at its peak, and once it is over."""

    seconds: float
    cpu_seconds: float
    subjects: int
    empty_mb: float
    peak_mb: float
    held_mb: float


def samples(rule_set: RuleSet, events: Events) -> list[tuple[list[object], int | None]]:
    """Return (snapshot, until) of subjects that did a few things each."""
    rng = random.Random(1)
    router = EventRouter(rule_set, Keys(bytes(32), (Epoch("k1", bytes(32)),)), 1, compile_pattern)
    detector = new_detector(0)
    detector.activate(RulesRecord(1, rule_set.revision, rule_set_document(rule_set)), NOW_MS)
    source, offset = SourceId("c", "t", "t", 0), 0
    for number in range(SAMPLES):
        for count in range(rng.choice((1, 1, 3, 10, 30)) if events is None else events):
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


def records(
    subjects: int, versions: int, partition: int, made: list[tuple[list[object], int | None]]
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the records of one partition; subjects have names as long as pseudonyms are."""
    for version in range(versions):
        for number in range(partition, subjects, PARTITIONS):
            snapshot, until_ms = made[number % len(made)]
            encoded = state.encode_subject(
                (AXIS_PRINCIPAL, f"r/k1:{number:024x}"), version, until_ms, snapshot
            )
            yield encoded.key, encoded.value
    yield state.MARKS_KEY, state.encode_single(versions, [1, []])


async def write(kafka: KafkaSettings, subjects: int, versions: int, events: Events) -> int:
    """Fill the topic; return the bytes of values."""
    size = 0
    made = samples(load_rules(["pack:default"]).rule_set, events)
    producer = AIOKafkaProducer(**aiokafka_options(kafka), max_batch_size=900_000, max_request_size=4 << 20)
    async with producer:
        for partition in range(PARTITIONS):
            batch = producer.create_batch()
            for key, value in records(subjects, versions, partition, made):
                size += len(value)
                if batch.append(key=key, value=value, timestamp=NOW_MS) is None:
                    batch.close()
                    await (await producer.send_batch(batch, TOPIC, partition=partition))
                    batch = producer.create_batch()
                    batch.append(key=key, value=value, timestamp=NOW_MS)
            batch.close()
            await (await producer.send_batch(batch, TOPIC, partition=partition))
    return size


def memory_mb(name: str) -> float:
    """Return what the kernel says of this process: `VmRSS` today, `VmHWM` at its peak."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split(f"{name}:")[1].split()[0]) / 1024


async def bare(kafka: KafkaSettings) -> float:
    """Return the seconds that reading alone takes."""

    async def read(partition: int) -> None:
        async for _ in read_to_end(kafka, TOPIC, partition):
            pass

    began = time.perf_counter()
    await asyncio.gather(*(read(partition) for partition in range(PARTITIONS)))
    return time.perf_counter() - began


async def recover(kafka: KafkaSettings) -> Recovered:
    """Return what a recovery took."""
    detectors = [new_detector(partition) for partition in range(PARTITIONS)]
    metrics = Metrics()
    empty_mb, cpu, began = memory_mb("VmRSS"), time.process_time(), time.perf_counter()
    found = await asyncio.gather(
        *(SavedState(TOPIC, at, detector, metrics).recover(kafka) for at, detector in enumerate(detectors))
    )
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    held = sum(len(detector.subjects) for detector in detectors)
    subjects = sum(recovery.subjects for recovery in found)
    if held != subjects:
        sys.exit(f"{held:,} of {subjects:,} subjects are held: the measurement is wrong")
    return Recovered(seconds, cpu_seconds, subjects, empty_mb, memory_mb("VmHWM"), memory_mb("VmRSS"))


def run_bare(kafka: KafkaSettings) -> float:
    """Return what `bare` does; for a process of its own."""
    return asyncio.run(bare(kafka))


def run_recover(kafka: KafkaSettings) -> Recovered:
    """Return what `recover` does; for a process of its own."""
    return asyncio.run(recover(kafka))


def alone(work: Callable[[KafkaSettings], Found], kafka: KafkaSettings) -> Found:
    """Return what a new process finds."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(work, kafka).result()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subjects", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--events", type=int)
    parser.add_argument("--versions", type=int, default=1)
    parser.add_argument("--pure", action="store_true")
    parser.add_argument("--kafka")
    arguments = parser.parse_args()
    bootstrap = arguments.kafka or broker.start(os.getpid())
    kafka = KafkaSettings(bootstrap_servers=bootstrap, broker="cluster")
    admin = AdminClient({"bootstrap.servers": bootstrap})
    compacted = NewTopic(TOPIC, PARTITIONS, 1, config={"cleanup.policy": "compact"})
    admin.create_topics([compacted])[TOPIC].result()
    size = asyncio.run(write(kafka, arguments.subjects, arguments.versions, arguments.events))
    count = arguments.subjects * arguments.versions
    print(
        f"{arguments.subjects:,} subjects of {arguments.events or '1 to 30'} events each, "
        f"{count:,} records of {size // count} bytes, {PARTITIONS} partitions"
    )
    bare_seconds = alone(run_bare, kafka)
    if arguments.pure:
        os.environ[PURE] = "1"
    found = alone(run_recover, kafka)
    if found.subjects != arguments.subjects:
        sys.exit(f"{found.subjects:,} subjects came back: the measurement is wrong")
    print(f"reading alone   {bare_seconds:6.1f} s")
    print(
        f"recovered       {found.seconds:6.1f} s  {found.subjects:,} subjects, {found.cpu_seconds:.1f} s of CPU"
    )
    print(f"ratio           {found.seconds / bare_seconds:6.2f}")
    print(f"empty process   {found.empty_mb:6,.0f} MB")
    print(f"at its peak     {found.peak_mb:6,.0f} MB, {found.peak_mb - found.empty_mb:+,.0f} MB")
    print(f"held after it   {found.held_mb:6,.0f} MB, {found.held_mb - found.empty_mb:+,.0f} MB")


if __name__ == "__main__":
    main()
