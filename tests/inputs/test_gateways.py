"""Real gateways into a real Kafka: each request arrives, as what it was, also where the collector dies.

INPUT_REQUESTS says how many requests each gateway gets: 10,000 in the full proof, fewer in CI.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import pytest

from monitor.intake.inputs import Input
from monitor.stream.read import read_to_end
from tests.formats.samples import FIXTURES
from tests.inputs.collectors import Collector, Rsyslog, Ship
from tests.inputs.gateways import GATEWAYS, Gateway, Running, why_not
from tests.inputs.traffic import CLIENTS, Api, Request, Sent, number_of, requests, send
from tests.integration.stack import Stack
from tests.rig.broker import create_topic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from monitor.intake.event import Event

REQUESTS: Final = int(os.environ.get("INPUT_REQUESTS", "800"))
DEADLINE_SECONDS: Final = 120.0
#: A gateway's clock is ours; HAProxy and Caddy cut to milliseconds, and nginx to its cached time.
SLACK_MS: Final = 50
WAYS: Final = [
    ("nginx", "ship"),
    ("haproxy", "rsyslog"),
    ("caddy", "ship"),
    ("envoy", "ship"),
    ("nginx", "rsyslog"),
]


def needs(*programs: str) -> None:
    """Skip where a program is not here; in CI that is a failure."""
    for reason in filter(None, map(why_not, programs)):
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture
def stack(tmp_path: Path, kafka: str, prefix: str) -> Iterator[Stack]:
    made = Stack(tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix)
    create_topic(kafka, f"{prefix}gate")
    with closing(made):
        yield made


async def records(stack: Stack) -> list[bytes]:
    """What stands in the source's topic now."""
    topic = stack.settings.sources[0].topic
    return [
        record.value or b""
        async for batch, _, _ in read_to_end(stack.settings.kafka, topic, 0)
        for record in batch
    ]


def is_request(record: bytes) -> bool:
    """Whether a record is of one of our requests, and not of the look whether the gateway is up."""
    return b"n=" in record


async def arrive(stack: Stack, wanted: int) -> list[bytes]:
    """The records once each request has arrived."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        found = [record for record in await records(stack) if is_request(record)]
        numbers = {number_of(record) for record in found}
        if len(numbers) >= wanted:
            return found
        missing = sorted(set(range(wanted)) - numbers)
        assert time.monotonic() < deadline, f"{len(found)} records, {len(missing)} missing: {missing[:5]} …"
        await asyncio.sleep(0.3)


async def drive(
    stack: Stack, running: Running, collector: Collector, wanted: list[Request]
) -> dict[int, Sent]:
    """Send requests; kill the collector while they go on, and start it again."""
    quarter = len(wanted) // 4
    sent = await send(running.port, wanted[:quarter])
    # It is at work: what it has read and not yet brought is what a power cut could lose.
    await arrive(stack, 1)
    halfway = asyncio.Event()
    under_way = asyncio.create_task(send(running.port, wanted[quarter : 3 * quarter], halfway))
    await halfway.wait()
    collector.kill()
    sent |= await under_way
    collector.start()
    return sent | await send(running.port, wanted[3 * quarter :])


def compare(event: Event, request: Request, sent: Sent) -> None:
    assert event.principal == request.principal
    assert event.status == request.status
    assert event.method == "GET"
    assert sent.begun_ms - SLACK_MS <= event.time_ms <= sent.answered_ms + SLACK_MS
    if request.status == 200:
        assert tuple(patient for patient, _ in event.patients) == request.patients
        assert event.tenant == request.tenant
        assert event.category is not None
    assert event.client_ip in {"127.0.0.1", None}


@pytest.mark.kafka
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "by"), WAYS, ids=["-".join(way) for way in WAYS])
async def test_every_request_arrives_as_what_it_was(
    name: str, by: str, stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway: Gateway = GATEWAYS[name]
    needs(gateway.program, *(["rsyslogd"] if by == "rsyslog" else []))
    config = json.loads(stack.config.read_text(encoding="utf-8"))
    config["sources"][0] |= {"format": gateway.format, "routes": [str(FIXTURES / "routes.yaml")]}
    stack.config.write_text(json.dumps(config), encoding="utf-8")
    wanted = requests(REQUESTS)
    async with Api() as api:
        running = Running(gateway, tmp_path, api.port)
        collector: Any = (Ship if by == "ship" else Rsyslog)(stack, running.log, tmp_path)
        try:
            collector.start()
            sent = await drive(stack, running, collector, wanted)
            found = await arrive(stack, len(wanted))
            collector.stop()
        finally:
            running.stop()
            collector.kill()  # also where something failed; one that ended is left alone
    # The API heard of the clients that the gateway knows, never of their keys.
    assert api.seen == set(CLIENTS)
    assert api.keys == set()

    read = Input(gateway.format, "gate", routes=(FIXTURES / "routes.yaml",), trust_ids=gateway.ids)
    decode = read.decoder()
    ids: dict[int, set[str | None]] = {}
    times: Counter[int] = Counter()
    for record in found:
        number = number_of(record)
        (event,) = decode(record)
        compare(event, wanted[number], sent[number])
        ids.setdefault(number, set()).add(event.event_id)
        times[number] += 1
        assert not any(key.encode() in record for key in CLIENTS.values())
    assert set(times) == set(range(REQUESTS))
    repeats = sum(count - 1 for count in times.values())
    if gateway.ids:
        # A repeat has the id of the first one, so it counts once; no two requests share one.
        assert all(len(each) == 1 and None not in each for each in ids.values())
        assert len({event_id for each in ids.values() for event_id in each}) == REQUESTS
    with capsys.disabled():
        told = "told by their ids" if gateway.ids else "not told apart"
        print(f"\n{name} by {by}: {REQUESTS} requests, 0 lost, {repeats} repeated ({told})")
