"""Each recipe of deploy/ in its real gateway: whom it believes, whom it refuses, and what it logs."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import orjson
import pytest

from monitor.authz.register import Refusal
from monitor.authz.service import AuthzService
from monitor.core.events import CredentialStatus
from monitor.demo.api import AppointmentsApi
from monitor.demo.appointments import FIRST_ID, make_register
from monitor.demo.processes import Processes
from monitor.intake.canonical import decode
from monitor.response.adapters.protocol import Accepted
from monitor.settings.values import Listen
from tests.contracts.conftest import desired, endpoint_of, settings_of
from tests.gateways.edges import GATEWAYS, Edge, running_edge
from tests.response.stage import now_ms, until
from tests.rig.configuration import settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from monitor.intake.event import Event

REGISTER = make_register(1)
KEYS = {"partner-1": "key-of-partner-1", "partner-2": "key-of-partner-2"}
PATH = f"/appointments/{FIRST_ID}"


class Running:
    """A gateway with its API and, where it asks one, a decision service that knows who is refused."""

    def __init__(self, edge: Edge, services: list[AuthzService], folder: Path) -> None:
        self.edge = edge
        self.services = services
        self._folder = folder

    async def refuse(self, client: str, status: CredentialStatus = CredentialStatus.SUSPENDED) -> None:
        """Have the gateway refuse a client, the way that it is told."""
        if self.edge.kind != "haproxy":
            until_ms = now_ms() + 3_600_000 if status is CredentialStatus.SUSPENDED else None
            for service in self.services:
                service.register.refused[f"clinic-api/{client}"] = Refusal(status, "INC-0142", until_ms)
            return
        endpoint = endpoint_of(settings_of("haproxy", self._folder, realms=["clinic-api"]))
        assert await endpoint.adapter.tell(desired(client, status)) == Accepted()

    async def event(self, count: int) -> Event:
        """Return the last of so many events, as intake reads it."""
        await self.edge.logged(count)
        line = self.edge.lines[count - 1]
        (event,) = decode("realm-of-the-source", line)
        return event


async def service_without_kafka(folder: Path, number: int) -> AuthzService:
    """Return a decision service that knows that nobody is refused."""
    home = folder / f"authz-{number}"
    home.mkdir()
    settings = settings_for(
        home, broker="cluster", bootstrap="127.0.0.1:1", prefix="x.", authz={"realm": "clinic-api"}
    )
    service = AuthzService(settings, Listen("127.0.0.1", 0))
    service.register._caught_up, service.register._heartbeat_ms = True, now_ms()
    await service._server.start("127.0.0.1", 0)
    return service


@asynccontextmanager
async def running_with_services(kind: str, folder: Path) -> AsyncIterator[Running]:
    """Run a gateway of a kind with two decision services that know no Kafka, and nothing logged yet."""
    async with AsyncExitStack() as exits:
        services = [await service_without_kafka(folder, number) for number in range(2)]
        for service in services:
            exits.push_async_callback(service._server.stop)
        api = await exits.enter_async_context(AppointmentsApi(REGISTER))
        processes = await exits.enter_async_context(Processes(folder))
        edge = await exits.enter_async_context(
            running_edge(
                kind,
                folder,
                processes,
                api_port=api.port,
                authz_ports=[service.port for service in services],
                keys=KEYS,
            )
        )
        await edge.logged(1)  # of the look whether it answers
        await edge.forget()
        yield Running(edge, services, folder)


@pytest.fixture(params=GATEWAYS)
async def running(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Running]:
    async with running_with_services(request.param, tmp_path) as made:
        yield made


async def test_a_request_becomes_a_canonical_event(running: Running):
    before = now_ms()
    status, headers, body = await running.edge.get(f"{PATH}?a=%22", "partner-1")
    assert status == 200
    event = await running.event(1)
    appointment = REGISTER.appointments[FIRST_ID]
    assert (event.principal, event.principal_kind, event.status) == ("partner-1", "api_key", 200)
    assert event.patients == ((appointment.patient.id, appointment.practice.id),)
    assert (event.object, event.records) == (f"appointment-{FIRST_ID}", 1)
    assert (event.realm, event.route, event.method) == ("clinic-api", "/appointments/{id}", "GET")
    assert event.client_ip == "127.0.0.1"
    assert before - 2000 <= event.time_ms <= now_ms() + 2000
    assert event.bytes is not None
    assert event.bytes >= len(body)
    assert not {"x-patient-id", "x-tenant-id", "x-object-id", "x-record-count"} & set(headers)


async def test_what_a_client_says_of_itself_is_not_believed(running: Running):
    forged = {"x_client_id": "partner-2", "x_realm": "other", "x_patient_id": "p-forged", "x_object_id": "o"}
    assert (await running.edge.get("/appointments/1", "partner-1", **forged))[0] == 404
    event = await running.event(1)
    assert (event.principal, event.realm, event.patients, event.object) == (
        "partner-1",
        "clinic-api",
        (),
        None,
    )
    await running.refuse("partner-1")
    await until(lambda: _refused(running.edge, "partner-1", **forged))
    assert (await running.edge.get(PATH, "partner-2", x_client_id="partner-1"))[0] == 200


@pytest.mark.parametrize("key", [None, "a-wrong-key"])
async def test_without_a_right_key_nobody_is_named(running: Running, key: str | None):
    status, _, _ = await running.edge.get(PATH, key, x_client_id="partner-1")
    assert status == 401
    event = await running.event(1)
    assert (event.principal, event.status) == (None, 401)


async def test_whoever_is_refused_is_told_why_and_logged(running: Running):
    assert await running.edge.status(PATH, "partner-1") == 200
    await running.refuse("partner-1")
    await until(lambda: _refused(running.edge, "partner-1"))
    status, headers, body = await running.edge.get(PATH, "partner-1")
    assert status == 403
    said = orjson.loads(body)
    assert (said["error"], said["incident"]) == ("credential_suspended", "INC-0142")
    if running.edge.kind != "haproxy":  # its map does not know until when
        assert 3500 < int(headers["retry-after"]) <= 3600
    assert await running.edge.status(PATH, "partner-2") == 200
    events = [e for e in await running.edge.logged(4) if e["status"] == 403]
    assert {e["principal"] for e in events} == {"partner-1"}
    assert all(e["authenticated"] in {True, "true"} for e in events)


async def test_a_path_like_the_decision_services_own_is_no_way_past_it(running: Running):
    await running.refuse("partner-1")
    await until(lambda: _refused(running.edge, "partner-1"))
    for path in ("/-/healthz", "/-/readyz", "/_authz", "/@authz_away"):
        assert await running.edge.status(path, "partner-1") in {403, 404}


async def test_one_of_two_decision_services_that_is_gone_lets_nobody_through(running: Running):
    """And with both gone, everybody is let through: that is what the recipes say of themselves."""
    if running.edge.kind == "haproxy":
        pytest.skip("it asks nobody: its map is in its own memory")
    await running.refuse("partner-1")
    await until(lambda: _refused(running.edge, "partner-1"))
    await running.services[0]._server.stop()
    answers = await asyncio.gather(
        *(running.edge.status(PATH, client) for _ in range(50) for client in ("partner-1", "partner-2"))
    )
    assert answers == [403, 200] * 50
    await running.services[1]._server.stop()
    assert await running.edge.status(PATH, "partner-2") == 200
    assert await running.edge.status(PATH, "partner-1") == 200


async def _refused(edge: Edge, client: str, **headers: str) -> bool:
    return (await edge.get(PATH, client, **headers))[0] == 403
