"""Two decision services behind a real gateway: one is killed, then Kafka and the enforcer are gone."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer

from monitor.core.events import CredentialStatus
from monitor.demo.api import AppointmentsApi
from monitor.demo.appointments import FIRST_ID, make_register
from monitor.demo.processes import Processes, free_ports, monitor_command, until
from monitor.wire.credentials import EnforcerRecord, encode
from tests.authz.test_service import record
from tests.gateways.debian import answers
from tests.gateways.edges import Edge, running_edge
from tests.rig.configuration import settings_for, write_settings

if TYPE_CHECKING:
    from pathlib import Path

    import aiohttp

    from monitor.stream.embedded import EmbeddedBroker

PATH = f"/appointments/{FIRST_ID}"
KEYS = {"p-1": "key-of-partner-1", "p-2": "key-of-partner-2"}
#: How long the outage lasts here; `tests/authz/test_outage.py` has the ten minutes, by a clock of its own.
OUTAGE_SECONDS = 5.0


@pytest.mark.parametrize("kind", ["caddy", "envoy", "nginx"])
async def test_nobody_gets_through_when_one_is_killed_and_all_is_as_it_was_when_kafka_is_gone(
    kind: str, tmp_path: Path, embedded: EmbeddedBroker, prefix: str
):
    shared = {"broker": "embedded", "bootstrap": embedded.bootstrap_servers, "prefix": prefix}
    config = write_settings(tmp_path, **shared, authz={"realm": "clinic"})
    topic = settings_for(tmp_path, **shared, authz={"realm": "clinic"}).topic("credentials")
    embedded.create_topic(topic)
    async with AsyncExitStack() as exits:
        producer = AIOKafkaProducer(bootstrap_servers=embedded.bootstrap_servers)
        await producer.start()
        await producer.send_and_wait(
            topic, encode(EnforcerRecord(heartbeat_ms=int(time.time() * 1000))), key=b"@enforcer", partition=0
        )
        api = await exits.enter_async_context(AppointmentsApi(make_register(1)))
        processes = await exits.enter_async_context(Processes(tmp_path))
        ports = free_ports(2)
        services = []
        for port in ports:
            listen = ("authz", "--listen", f"127.0.0.1:{port}", "-c", str(config))
            child = processes.start(f"authz-{port}", monitor_command(*listen))
            await answers(processes, child, port, "/-/readyz")
            services.append(child)
        edge = await exits.enter_async_context(
            running_edge(kind, tmp_path, processes, api_port=api.port, authz_ports=ports, keys=KEYS)
        )
        for port in ports:
            await _says(edge.http, port, 200)
        assert await edge.status(PATH, "p-1") == 200
        revoked = record(CredentialStatus.REVOKED, principal="p-1")
        await producer.send_and_wait(topic, revoked, key=b"clinic/p-1", partition=0)
        for port in ports:
            await _says(edge.http, port, 403)

        # Both have the version: from here on nobody may get through.
        asking = asyncio.create_task(_ask(edge, 300))
        await asyncio.sleep(0)
        services[0].signal(signal.SIGKILL)
        assert await until(lambda: services[0].code is not None, within_seconds=20)
        processes._children.remove(services[0])
        refused, let_in = await asking
        assert refused == {403}
        assert let_in == {200}

        # The enforcer has been silent since its first sign of life; now every broker is gone, too.
        await producer.stop()
        embedded.close()
        began = time.monotonic()
        while time.monotonic() - began < OUTAGE_SECONDS:
            refused, let_in = await _ask(edge, 20)
            assert refused == {403}
            assert let_in == {200}


async def _ask(edge: Edge, times: int) -> tuple[set[int], set[int]]:
    """Return the statuses that the revoked and the active credential got."""
    refused, let_in = set(), set()
    for _ in range(times):
        refused.add(await edge.status(PATH, "p-1"))
        let_in.add(await edge.status(PATH, "p-2"))
    return refused, let_in


async def _says(http: aiohttp.ClientSession, port: int, status: int) -> None:
    """Return once a decision service itself answers so about the credential."""
    async with asyncio.timeout(60):
        while True:
            asked = http.get(f"http://127.0.0.1:{port}/", headers={"x-client-id": "p-1"})
            async with asked as answer:
                if answer.status == status:
                    return
            await asyncio.sleep(0.02)
