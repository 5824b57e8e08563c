"""A running installation, a steady load, and credentials that exceed a limit at times fixed before.

What `latency` and `blind` share. The schedule of load and probes is an open loop: each step of a probe is timed
from when its last event was *due*, so that a stall counts for all that it delays, here or in the monitor.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import Producer

from bench.response import OPEN_FUSE
from tests.integration.stack import Stack
from tests.rig import broker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import aiohttp

    from monitor.demo.receiver import Call

PARTITIONS: Final = 4
LIMIT: Final = 5
STEPS: Final = ("finding", "webhook", "refused")
#: Pause between two questions of one credential: at least so long, and this share of how long it asks already.
#: Hundreds that wait would otherwise ask so often that nothing else gets the processor.
ASK_SECONDS: Final = 0.002
ASK_SHARE: Final = 0.04
#: The load itself exceeds no limit of the default pack: each credential sends an event in so many seconds, there
#: are at least so many, and so many of them share as many patients.
LOAD_PAUSE_SECONDS: Final = 4
LOAD_FEWEST: Final = 5_000
LOAD_SHARED: Final = 5
#: The credential that sends half of all, and the source partition where its events are.
HOT: Final = "load-hot"
HOT_PARTITION: Final = 0
#: Of fewer a p99.9 would be the largest.
FEWEST_FOR_P999: Final = 1_000
RULE: Final = f"""\
title: A probe reads
id: 5b0c7f0e-0000-4000-8000-000000000011
name: probe_read
logsource: {{product: access-monitor, category: api_access}}
detection:
  read:
    route: /probe
  condition: read
---
title: A probe reads too many
id: 5b0c7f0e-0000-4000-8000-000000000012
correlation:
  type: value_count
  rules: [probe_read]
  group-by: [principal]
  timespan: 10m
  condition: {{field: patient, gte: {LIMIT}}}
level: high
response: {{action: suspend, ttl: 1h}}
"""


def install(
    folder: Path, bootstrap: str, prefix: str, *, kafka: dict[str, Any] | None = None, **response: Any
) -> Stack:
    """Return an installation with the default pack, the probes' rule and a decision service, initialised."""
    broker.create_topic(bootstrap, f"{prefix}gate", PARTITIONS)
    (folder / "probe.yml").write_text(RULE, encoding="utf-8")
    stack = Stack(
        folder,
        broker="cluster",
        bootstrap=bootstrap,
        prefix=prefix,
        kafka=kafka or {},
        rules={"paths": ["pack:default", str(folder / "probe.yml")]},
        authz={"listen": "127.0.0.1:0", "realm": "gate"},
        # Each probe is a credential of its own.
        response={**OPEN_FUSE, "mode": "enforce", **response},
    )
    done = stack.run("init", "--from", "latest")
    if done.returncode:
        sys.exit(done.stderr)
    return stack


def event(principal: str, route: str, number: int, patient: int) -> bytes:
    """Return one canonical event of now."""
    return orjson.dumps(
        {
            "time": int(time.time() * 1000),
            "principal": principal,
            "principal_kind": "api_key",
            "authenticated": True,
            "status": 200,
            "method": "GET",
            "route": route,
            "object": f"appointment-{number % 1_000_000}",
            "patient": f"patient-{patient}",
            "tenant": f"practice-{number % 5}",
            "client_ip": f"192.0.2.{number % 256}",
            "bytes": 512,
            "records": 1,
            "gateway": "gw-1",
        }
    )


def _make_load(bootstrap: str, topic: str, rate: float, hot: bool, sent: Any) -> None:
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": 2,
            "log_level": 0,
            "queue.buffering.max.messages": 500_000,
        }
    )
    credentials = max(LOAD_FEWEST, int(rate * LOAD_PAUSE_SECONDS))
    route, began, number = "/appointments/{id}", time.monotonic(), 0
    while True:
        due = int((time.monotonic() - began) * rate)
        while number < due:
            who = number * 7919 % credentials
            partition, name = who % PARTITIONS, f"load-{who}"
            patient = who - who % LOAD_SHARED + (who + number // credentials) % LOAD_SHARED
            if hot and number % 2:
                partition, name, patient = HOT_PARTITION, HOT, who
            try:
                producer.produce(topic, event(name, route, number, patient), partition=partition)
            except BufferError:  # more than Kafka takes: what is due waits
                producer.poll(0.01)
                continue
            number += 1
        producer.poll(0)
        sent.value = number - len(producer)
        time.sleep(0.005)


class Load:
    """Events at a steady rate from a process of its own, in steps of 5 ms, until it is closed."""

    def __init__(self, bootstrap: str, topic: str, rate: float, *, hot: bool = False) -> None:
        context = multiprocessing.get_context("spawn")
        self._sent = context.Value("q", 0)
        self._process = context.Process(
            target=_make_load, args=(bootstrap, topic, rate, hot, self._sent), daemon=True
        )
        self._process.start()

    @property
    def sent(self) -> int:
        """How many events Kafka has."""
        if not self._process.is_alive():
            sys.exit("the load has ended by itself")
        return int(self._sent.value)

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.join()


class Probes:
    """Credentials that exceed the limit, one after the other, and when each step was seen."""

    def __init__(self, stack: Stack, bootstrap: str, authz: str) -> None:
        self._stack = stack
        self._topic = stack.settings.sources[0].topic
        self._authz = f"{authz}/probe"
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
        self.due: dict[str, float] = {}
        self.seen: dict[str, dict[str, float]] = {step: {} for step in STEPS}

    def on_call(self, call: Call) -> None:
        """Note a webhook."""
        self.seen["webhook"].setdefault(call.credential.rsplit("/", 1)[-1], time.monotonic())

    async def follow(self) -> None:
        """Note findings as they come."""
        kafka = self._stack.settings.kafka
        consumer = AIOKafkaConsumer(
            bootstrap_servers=",".join(kafka.bootstrap_servers), fetch_max_wait_ms=5, enable_auto_commit=False
        )
        await consumer.start()
        try:
            consumer.assign([TopicPartition(self._stack.settings.topic("findings"), 0)])
            async for record in consumer:
                found = orjson.loads(record.value)
                if found["kind"] == "finding":
                    self.seen["finding"].setdefault(found["principal"], time.monotonic())
        finally:
            await consumer.stop()

    async def wait(self, names: Sequence[str], steps: Sequence[str], seconds: float) -> None:
        """Return once these have been seen at all of these steps, or so many seconds later."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if all(name in self.seen[step] for step in steps for name in names):
                return
            await asyncio.sleep(0.05)

    def close(self) -> None:
        """Wait for what was sent."""
        self._producer.flush()

    async def run(
        self,
        name: str,
        at: float,
        number: int,
        session: aiohttp.ClientSession,
        partition: int | None = None,
    ) -> None:
        """Exceed the limit at a time, then ask until refused."""
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        self.due[name] = at
        where = number % PARTITIONS if partition is None else partition
        for patient in range(LIMIT):
            self._producer.produce(
                self._topic, event(name, "/probe", number, number * LIMIT + patient), partition=where
            )
        self._producer.poll(0)
        headers = {"x-client-id": name}
        while True:
            async with session.get(self._authz, headers=headers) as answer:
                if answer.status != 200:
                    self.seen["refused"][name] = time.monotonic()
                    return
            await asyncio.sleep(max(ASK_SECONDS, (time.monotonic() - at) * ASK_SHARE))


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """Return p50, p99, p99.9 and the largest (p100); None where there are too few to tell."""
    ranked = sorted(values)
    told: dict[str, float | None] = {}
    for share in (0.5, 0.99, 0.999, 1.0):
        at = max(0, -(-len(ranked) * round(share * 1000) // 1000) - 1)
        few = not ranked or (share == 0.999 and len(ranked) < FEWEST_FOR_P999)
        told[f"p{share * 100:g}"] = None if few else round(ranked[at], 1)
    return told
