"""The control: plain Faust under the same faults must count wrong, or the rig does not hurt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from confluent_kafka import Consumer, Producer, TopicPartition

from tests.faults.crew import ROOT
from tests.rig.faults import FaultyBroker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PARTITIONS: Final = 4
KEYS: Final = 48
RATE: Final = 400.0
SECONDS: Final = 9.0
#: The table is at rest once nothing was written to it for so long.
_CALM_SECONDS: Final = 5.0
_END_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Miscount:
    """What a topic holds, and what plain Faust made of it."""

    events: int
    counted: int
    wrong_keys: int


def count_naively(fault: str, folder: Path) -> Miscount:
    """Run plain Faust under a fault: ``none``, ``kill`` (kill -9) or ``join`` (a second worker)."""
    with FaultyBroker() as broker:
        broker.create_topic("access", PARTITIONS)
        broker.create_topic("naive-counts-changelog", PARTITIONS)
        environment = {
            **os.environ,
            "NAIVE_ID": "naive",
            "NAIVE_BROKER": broker.bootstrap_servers,
            "NAIVE_FOLDER": str(folder),
        }
        workers: list[subprocess.Popen[bytes]] = []

        def start() -> None:
            command = [sys.executable, "-m", "faust", "-A", "tests.faults.naive", "worker", "-l", "error"]
            with (folder / f"naive-{len(workers)}.log").open("wb") as log:
                workers.append(
                    subprocess.Popen(
                        [*command, "--without-web"],
                        cwd=ROOT,
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )

        def kill() -> None:
            workers[-1].kill()
            workers[-1].wait()
            start()

        acts: dict[str, list[tuple[float, Callable[[], object]]]] = {
            "none": [],
            "kill": [(SECONDS / 2, kill)],
            "join": [(SECONDS / 3, start)],
        }
        try:
            start()
            _wait_for_table(broker.bootstrap_servers, first=True)
            _send(broker.bootstrap_servers, acts[fault])
            _wait_for_table(broker.bootstrap_servers, first=False)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
        return _compare(broker.bootstrap_servers)


def _send(servers: str, acts: list[tuple[float, Callable[[], object]]]) -> None:
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 5, "log_level": 0})
    began, sent = time.monotonic(), 0
    while (passed := time.monotonic() - began) < SECONDS:
        while sent < passed * RATE:
            key = sent % KEYS
            producer.produce("access", b"{}", key=f"k{key}".encode(), partition=key % PARTITIONS)
            sent += 1
        producer.poll(0.01)
        if acts and passed >= acts[0][0]:
            acts.pop(0)[1]()
    producer.flush(30)


def _wait_for_table(servers: str, *, first: bool) -> None:
    """Return once the table holds something (`first`; something is sent for it), or is at rest."""
    if first:
        producer = Producer({"bootstrap.servers": servers, "log_level": 0})
        for key in range(PARTITIONS):
            producer.produce("access", b"{}", key=f"k{key}".encode(), partition=key)
        producer.flush(30)
    before, since = -1, time.monotonic()
    deadline = since + _END_SECONDS
    while time.monotonic() < deadline:
        size = len(_read(servers, "naive-counts-changelog"))
        if size != before:
            before, since = size, time.monotonic()
        if (first and size) or time.monotonic() - since > _CALM_SECONDS:
            return
        time.sleep(0.5)


def _compare(servers: str) -> Miscount:
    truth = Counter(key.decode() for key, _ in _read(servers, "access"))
    counted = {json.loads(key): json.loads(value) for key, value in _read(servers, "naive-counts-changelog")}
    wrong = sum(counted.get(key) != count for key, count in truth.items())
    return Miscount(truth.total(), sum(counted.values()), wrong)


def _read(servers: str, topic: str) -> list[tuple[bytes, bytes]]:
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "control", "log_level": 0})
    found: list[tuple[bytes, bytes]] = []
    try:
        for partition in range(PARTITIONS):
            end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1]
            consumer.assign([TopicPartition(topic, partition, 0)])
            left = end
            while left > 0:
                for record in consumer.consume(min(left, 5_000), timeout=10):
                    key, value = record.key(), record.value()
                    assert key is not None
                    assert value is not None
                    found.append((key, value))
                    left -= 1
    finally:
        consumer.close()
    return found
