"""The whole loop with each real gateway: an attack is stopped, the partner comes back, and stays."""

from __future__ import annotations

import asyncio
import itertools
import re
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from monitor.demo.api import AppointmentsApi
from monitor.demo.appointments import FIRST_ID, make_register
from monitor.demo.processes import Processes, free_ports, monitor_command
from monitor.stream.topics import create_embedded
from tests.gateways.debian import answers
from tests.gateways.edges import GATEWAYS, Edge, running_edge
from tests.integration.stack import Stack, wait_for
from tests.operator.stage import ANNA, hire

if TYPE_CHECKING:
    from pathlib import Path

    from monitor.stream.embedded import EmbeddedBroker
    from tests.integration.stack import Process

REGISTER = make_register(1)
KEYS = {"partner-1": "key-of-partner-1", "partner-2": "key-of-partner-2"}
WHO = "clinic-api/partner-1"


@pytest.mark.parametrize("kind", GATEWAYS)
async def test_an_attack_is_stopped_and_the_partner_comes_back(
    kind: str, tmp_path: Path, embedded: EmbeddedBroker, prefix: str
):
    """Through the commands that people type; after the reinstatement nothing is banned again."""
    staff = hire(tmp_path)
    [operator_port, authz_port] = free_ports(2)
    response: dict[str, Any] = {"mode": "enforce"}
    if kind == "haproxy":
        haproxy = {"type": "haproxy", "name": "haproxy", "realms": ["clinic-api"]}
        places = {"socket": str(tmp_path / "admin.sock"), "map_file": str(tmp_path / "refused.map")}
        response["adapters"] = [{**haproxy, **places}]
        (tmp_path / "refused.map").touch()
    stack = Stack(
        tmp_path,
        broker="embedded",
        bootstrap=embedded.bootstrap_servers,
        prefix=prefix,
        response=response,
        authz={"realm": "clinic-api"},
        operator={**staff.settings, "listen": f"127.0.0.1:{operator_port}"},
    )
    create_embedded(stack.settings, embedded, source_partitions=1)
    try:
        async with AsyncExitStack() as exits:
            api = await exits.enter_async_context(AppointmentsApi(REGISTER))
            processes = await exits.enter_async_context(Processes(tmp_path))
            await asyncio.to_thread(_init, stack)
            worker = await asyncio.to_thread(stack.worker)
            authz = monitor_command("authz", "--listen", f"127.0.0.1:{authz_port}", "-c", str(stack.config))
            await answers(processes, processes.start("authz", authz), authz_port, "/-/healthz")
            edge = await exits.enter_async_context(
                running_edge(
                    kind, tmp_path, processes, api_port=api.port, authz_ports=[authz_port], keys=KEYS
                )
            )
            ship = monitor_command(
                "ship", "--source", "gate", "--follow", str(edge.log), "-c", str(stack.config)
            )
            processes.start("ship", ship)

            taken = await _attack(edge)
            assert 50 <= taken <= len(REGISTER.appointments)
            for _ in range(20):
                assert await edge.status(f"/appointments/{FIRST_ID}", "partner-1") == 403
                assert await edge.status(f"/appointments/{FIRST_ID}", "partner-2") == 200
            await asyncio.to_thread(wait_for, lambda: _state(stack) == "enforced", worker)
            found = len(await asyncio.to_thread(stack.findings))

            said = await asyncio.to_thread(
                stack.run,
                *("credentials", "reinstate", WHO, "--reason", "key replaced", "--yes", "--wait"),
                *("--identity", str(staff.keys[ANNA]), "--server", f"http://127.0.0.1:{operator_port}"),
            )
            assert said.returncode == 0, said.stdout + said.stderr
            await _until_let_in(edge)
            # What a partner does all day, below every limit, and what it read before counts no more.
            for number in range(40):
                assert await edge.status(f"/appointments/{FIRST_ID + number}", "partner-1") == 200
            await asyncio.to_thread(wait_for, lambda: _all_heard(worker, edge), worker)
            assert await asyncio.to_thread(_state, stack) == "reinstated"
            assert len(await asyncio.to_thread(stack.findings)) == found
            assert await edge.status(f"/appointments/{FIRST_ID}", "partner-1") == 200
    finally:
        stack.close()


def _init(stack: Stack) -> None:
    done = stack.run("init", "--from", "earliest")
    assert done.returncode == 0, done.stderr


def _state(stack: Stack) -> str | None:
    record = stack.credential(WHO)
    return None if record is None else str(record["state"])


def _all_heard(worker: Process, edge: Edge) -> bool:
    """Whether the worker has taken every event that the gateway wrote, and detect has judged them."""
    found = re.findall(
        r"^access_monitor_(events_total|lag_records)\{([^}]*)\} (\S+)$", worker.metrics(), re.MULTILINE
    )
    events = sum(float(value) for name, _, value in found if name == "events_total")
    lag = sum(float(value) for name, labels, value in found if name == "lag_records" and "routed" in labels)
    return events >= len(edge.lines) and lag == 0


async def _attack(edge: Edge) -> int:
    """Read one appointment after the other until refused; return how many were read."""
    async with asyncio.timeout(90):
        for number in itertools.count():
            status = await edge.status(f"/appointments/{FIRST_ID + number}", "partner-1")
            if status == 403:
                return number
            assert status == 200
            await asyncio.sleep(0.01)
    raise AssertionError


async def _until_let_in(edge: Edge) -> None:
    async with asyncio.timeout(60):
        while await edge.status(f"/appointments/{FIRST_ID}", "partner-1") != 200:  # noqa: ASYNC110 - another's doing
            await asyncio.sleep(0.05)
