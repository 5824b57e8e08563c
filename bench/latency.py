"""From an event's append to Kafka to the finding, the webhook and the first refusal, under load.

Real Kafka, one worker with all roles, one decision service. Beside a load of events at a steady rate, fresh
credentials exceed a small limit; the schedule of both is fixed before (an open loop), and each step is timed
from when the last event of a credential was *due*, so that a stall counts for all that it delays.

``python bench/latency.py [--rates 100,1000,10000] [--seconds 30] [--probes 20] [--json FILE] [--kafka H:P]``
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import Producer

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.response import OPEN_FUSE
from monitor.demo.receiver import WebhookReceiver, new_secret
from tests.integration.stack import Stack
from tests.rig import broker

if TYPE_CHECKING:
    from monitor.demo.receiver import Call

PARTITIONS: Final = 4
LIMIT: Final = 5
STEPS: Final = ("finding", "webhook", "refused")
#: Pause between two questions of one credential: at least so long, and this share of how long it asks already.
#: Hundreds that wait would otherwise ask so often that nothing else gets the processor.
ASK_SECONDS: Final = 0.002
ASK_SHARE: Final = 0.04
LOAD_CREDENTIALS: Final = 50_000
PATIENCE_SECONDS: Final = 60.0
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


def event(principal: str, route: str, number: int) -> bytes:
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
            "patient": f"patient-{number % 99_991}",
            "tenant": f"practice-{number % 5}",
            "client_ip": f"192.0.2.{number % 256}",
            "bytes": 512,
            "records": 1,
            "gateway": "gw-1",
        }
    )


def make_load(bootstrap: str, topic: str, rate: float, seconds: float) -> None:
    """Append events at a steady rate, in steps of 5 ms; in a process of its own."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 2, "log_level": 0})
    began, sent = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        for _ in range(int(passed * rate) - sent):
            producer.produce(
                topic, event(f"load-{sent * 7919 % LOAD_CREDENTIALS}", "/appointments/{id}", sent)
            )
            sent += 1
        producer.poll(0)
        time.sleep(0.005)
    producer.flush()


class Probes:
    """Credentials that exceed the limit, one after the other, and when each step was seen."""

    def __init__(self, stack: Stack, bootstrap: str, topic: str, authz: str) -> None:
        self._stack = stack
        self._topic = topic
        self._authz = authz
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

    def close(self) -> None:
        """Wait for what was sent."""
        self._producer.flush()

    async def run(self, name: str, at: float, number: int, session: aiohttp.ClientSession) -> None:
        """Exceed the limit at a time, then ask until refused."""
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        self.due[name] = at
        for patient in range(LIMIT):
            self._producer.produce(
                self._topic, event(name, "/probe", number + patient), partition=number % PARTITIONS
            )
        self._producer.poll(0)
        headers = {"x-client-id": name}
        while time.monotonic() < at + PATIENCE_SECONDS:
            async with session.get(self._authz, headers=headers) as answer:
                if answer.status != 200:
                    self.seen["refused"][name] = time.monotonic()
                    return
            await asyncio.sleep(max(ASK_SECONDS, (time.monotonic() - at) * ASK_SHARE))


async def measure(folder: Path, bootstrap: str, rate: float, seconds: float, probes: float) -> dict[str, Any]:
    """Return the times of each step at one load."""
    prefix = f"bench-{os.getpid()}-{rate:g}."
    topic = f"{prefix}gate"
    broker.create_topic(bootstrap, topic, PARTITIONS)
    secret = new_secret()
    (folder / "hook.secret").write_text(secret, encoding="utf-8")
    (folder / "hook.secret").chmod(0o600)
    (folder / "probe.yml").write_text(RULE, encoding="utf-8")
    receiver = WebhookReceiver(secret)
    async with receiver:
        url = f"http://127.0.0.1:{receiver.port}/hooks/access-monitor"
        stack = Stack(
            folder,
            broker="cluster",
            bootstrap=bootstrap,
            prefix=prefix,
            rules={"paths": ["pack:default", str(folder / "probe.yml")]},
            authz={"listen": "127.0.0.1:0", "realm": "gate"},
            response={
                # Each probe is a credential of its own.
                **OPEN_FUSE,
                "mode": "enforce",
                "adapters": [
                    {
                        "type": "webhook",
                        "name": "bench",
                        "url": url,
                        "secret_file": str(folder / "hook.secret"),
                        "private_addresses": True,
                    }
                ],
            },
        )
        load = None
        try:
            done = await asyncio.to_thread(stack.run, "init", "--from", "latest")
            if done.returncode:
                sys.exit(done.stderr)
            worker, authz = stack.spawn("worker"), stack.spawn("authz")
            await asyncio.to_thread(worker.wait_ready)
            address = await asyncio.to_thread(authz.address)
            many = Probes(stack, bootstrap, topic, f"{address}/probe")
            receiver.on_call = many.on_call
            following = asyncio.create_task(many.follow())
            load = multiprocessing.get_context("spawn").Process(
                target=make_load, args=(bootstrap, topic, rate, seconds + 10)
            )
            load.start()
            begin = time.monotonic() + 5  # by then the load is under way
            async with aiohttp.ClientSession() as session:
                await asyncio.gather(
                    *(
                        many.run(f"probe-{number}", begin + number / probes, number, session)
                        for number in range(int(seconds * probes))
                    )
                )
            await asyncio.sleep(0.5)
            following.cancel()
            many.close()
            return figures(many)
        finally:
            if load is not None:
                load.terminate()
            stack.close()


def figures(probes: Probes) -> dict[str, Any]:
    """Return percentiles of each step in milliseconds; what was never seen is named."""
    told: dict[str, Any] = {"probes": len(probes.due)}
    for step in STEPS:
        seen = probes.seen[step]
        values = sorted((seen[name] - due) * 1000 for name, due in probes.due.items() if name in seen)
        told[step] = {"missing": len(probes.due) - len(values)}
        for share in (0.5, 0.99, 0.999, 1.0):
            at = max(0, -(-len(values) * round(share * 1000) // 1000) - 1)
            told[step][f"p{share * 100:g}"] = round(values[at], 1) if values else None
    return told


def main() -> None:
    """Print a table, one line for each load and step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", default="100,1000,10000")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument(
        "--probes", type=float, default=20.0, help="credentials a second that exceed the limit"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--kafka", help="HOST:PORT of a broker; default: one of its own")
    options = parser.parse_args()
    bootstrap = options.kafka or broker.start(os.getpid())
    report = {}
    print(f"{'events/s':>9} {'to':<9}{'p50':>9}{'p99':>9}{'p99.9':>9}{'max':>9}  ms, of probes")
    for rate in map(float, options.rates.split(",")):
        with tempfile.TemporaryDirectory(prefix="access-monitor-bench-") as folder:
            told = asyncio.run(measure(Path(folder), bootstrap, rate, options.seconds, options.probes))
        report[f"{rate:g}"] = told
        for step in STEPS:
            one = told[step]
            missing = f", {one['missing']} never" if one["missing"] else ""
            print(
                f"{rate:>9,.0f} {step:<9}"
                + "".join(f"{one[name]!s:>9}" for name in ("p50", "p99", "p99.9", "p100"))
                + f"  {told['probes']}{missing}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
