"""Events per second of the whole path with 1, 2 and 3 workers: ``python bench/workers.py [EVENTS]``.

A source topic of six partitions is full when the workers start; real Kafka (``--kafka HOST:PORT``, or one of
its own), the default pack, durable state. Timed is the way from a tenth of the events to all of them, intake
and detect both. The broker runs on the same cores: the last column says what the workers used.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from confluent_kafka import Producer

from bench.events import EVENTS_PER_SECOND, write_events
from tests.integration.stack import Process, Stack
from tests.rig import broker

PARTITIONS = 6


def fill(bootstrap: str, topic: str, path: Path) -> int:
    """Put the lines of a file into a topic; return how many there are."""
    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 20, "queue.buffering.max.messages": 500_000}
    )
    count = 0
    for line in path.read_bytes().splitlines():
        producer.produce(topic, line, partition=count % PARTITIONS)
        count += 1
        if not count % 10_000:
            producer.poll(0)
    producer.flush()
    return count


def metrics(workers: list[Process]) -> Counter[str]:
    """Return the metrics of all workers, added up by name and topic."""
    found: Counter[str] = Counter()
    for worker in workers:
        with urllib.request.urlopen(f"{worker.address()}/metrics", timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith("access_monitor_"):
                    name, value = line.rsplit(" ", 1)
                    found[name.split("{")[0]] += float(value)  # type: ignore[assignment]
    return found


def measure(bootstrap: str, workers: int, path: Path) -> tuple[float, float]:
    """Return (events per second, cores that the workers used)."""
    prefix = f"bench-{os.getpid()}-{workers}."
    with tempfile.TemporaryDirectory(prefix="access-monitor-bench-") as folder:
        broker.create_topic(bootstrap, f"{prefix}gate", PARTITIONS)
        count = fill(bootstrap, f"{prefix}gate", path)
        sections = {"rules": {"paths": ["pack:default"]}, "response": {"mode": "shadow"}}
        kafka = {"partitions": 2 * PARTITIONS}
        stack = Stack(
            Path(folder), broker="cluster", bootstrap=bootstrap, prefix=prefix, kafka=kafka,
            **sections,
        )  # fmt: skip
        try:
            done = stack.run("init", "--from", "earliest")
            if done.returncode:
                sys.exit(done.stderr)
            started = [stack.spawn("worker") for _ in range(workers)]
            for worker in started:
                worker.wait_ready()
            began: float | None = None
            first, before = 0.0, resource.getrusage(resource.RUSAGE_CHILDREN)
            while True:
                now = metrics(started)
                seen = now["access_monitor_events_total"]
                if began is None and seen >= count / 10:
                    began, first = time.perf_counter(), seen
                if seen >= count and not now["access_monitor_lag_records"]:
                    break
                time.sleep(0.1)
            seconds = time.perf_counter() - (began or 0.0)
            for worker in started:
                worker.terminate()
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            return (count - first) / seconds, used / count * 1_000_000
        finally:
            stack.close()


def main() -> None:
    """Print a line for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", nargs="?", type=int, default=300_000)
    parser.add_argument("--workers", default="1,2,3")
    parser.add_argument("--kafka")
    arguments = parser.parse_args()
    bootstrap = arguments.kafka or broker.start(os.getpid())
    one: float | None = None
    with tempfile.TemporaryDirectory(prefix="access-monitor-bench-") as folder:
        path = Path(folder) / "events.jsonl"
        begin_ms = int(time.time() * 1000) - arguments.events * 1000 // EVENTS_PER_SECOND
        write_events(path, arguments.events, begin_ms)
        for workers in map(int, arguments.workers.split(",")):
            rate, used = measure(bootstrap, workers, path)
            one = one or rate
            print(
                f"{workers} workers {rate:>10,.0f} events/s, {rate / one:.2f} times one; {used:,.0f} CPU s per million"
            )


if __name__ == "__main__":
    main()
