"""The recipe of deploy/envoy in a real Envoy: whom it believes, and what it logs of whom."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import ClientError, ClientSession, web

from monitor.demo.api import AppointmentsApi
from monitor.demo.appointments import FIRST_ID, make_register
from monitor.demo.gateway import GatewayPlan, gateway_command, gateway_config, write_gateway
from monitor.demo.processes import Processes, free_ports, until
from monitor.intake.canonical import decode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from monitor.intake.event import Event

KEY = "key-of-partner-1"
CLIENT = "partner-1"
RECIPE = Path(__file__).parents[2] / "deploy" / "envoy" / "envoy.yaml"
REGISTER = make_register(1)


@dataclass
class Edge:
    """A running gateway, its API and a decision service of the test's own."""

    port: int
    log: Path
    refused: set[str] = field(default_factory=set)
    asked: list[dict[str, str]] = field(default_factory=list)

    async def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with (
            ClientSession() as http,
            http.get(f"http://127.0.0.1:{self.port}{path}", headers=named) as answer,
        ):
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.read()

    async def raw(self, request: bytes) -> bytes:
        """Send bytes as they are; return the first line of the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            return await asyncio.wait_for(reader.readline(), 10)
        finally:
            writer.close()
            await writer.wait_closed()

    async def logged(self, count: int) -> list[dict[str, Any]]:
        """Return the lines of the access log once there are `count`."""
        assert await until(lambda: len(self._lines()) >= count, within_seconds=10), self._lines()
        lines = self._lines()
        assert len(lines) == count
        return [json.loads(line) for line in lines]

    async def event(self) -> Event:
        """Return the one event, as intake reads it."""
        await self.logged(1)
        (event,) = decode("realm-of-the-source", self._lines()[0])
        return event

    def _lines(self) -> list[bytes]:
        return self.log.read_bytes().splitlines()


@asynccontextmanager
async def running_edge(folder: Path, *, authz: bool = True) -> AsyncIterator[Edge]:
    port, admin = free_ports(2)
    edge = Edge(port, folder / "envoy.log")

    async def decide(request: web.BaseRequest) -> web.Response:
        if request.path.startswith("/-/"):
            return web.Response()  # whether it is ready
        edge.asked.append({name.lower(): value for name, value in request.headers.items()})
        refused = request.headers.get("x-client-id") in edge.refused
        return web.Response(status=403 if refused else 200, text="refused" if refused else None)

    decisions = web.ServerRunner(web.Server(decide))
    await decisions.setup()
    try:
        await web.TCPSite(decisions, "127.0.0.1", 0).start()
        async with AppointmentsApi(REGISTER) as api, Processes(folder) as processes, ClientSession() as http:
            authz_port = decisions.addresses[0][1] if authz else None
            config = folder / "envoy.json"
            write_gateway(config, GatewayPlan(port, admin, api.port, authz_port, {CLIENT: KEY}))
            child = processes.start("envoy", gateway_command(config))

            async def ready() -> bool:
                try:
                    async with http.get(f"http://127.0.0.1:{admin}/ready") as answer:
                        return answer.ok
                except ClientError:
                    return False

            await processes.wait_until(ready, child, "/ready", within_seconds=30)
            # Envoy's remarks about an API in progress are not the access log.
            edge.log.write_bytes(b"")
            yield edge
    finally:
        await decisions.cleanup()


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    async with running_edge(tmp_path) as edge:
        yield edge


async def test_a_request_becomes_a_canonical_event(edge: Edge):
    appointment = REGISTER.appointments[FIRST_ID]
    status, _, body = await edge.get(f"/appointments/{FIRST_ID}?a=%22", x_api_key=KEY)
    assert status == 200
    event = await edge.event()
    assert (event.principal, event.principal_kind, event.status) == (CLIENT, "api_key", 200)
    assert event.patients == ((appointment.patient.id, appointment.practice.id),)
    assert event.object == f"appointment-{FIRST_ID}"
    assert (event.realm, event.gateway) == ("clinic-api", "envoy-1")
    assert (event.method, event.route) == ("GET", "/appointments/{id}")
    assert (event.bytes, event.records) == (len(body), 1)
    assert event.client_ip == "127.0.0.1"


async def test_a_list_names_its_practice_and_no_patient(edge: Edge):
    await edge.get("/practices/practice-3/appointments", x_api_key=KEY)
    (line,) = await edge.logged(1)
    assert (line["route"], line["tenant"], line["records"]) == (
        "/practices/{id}/appointments",
        "practice-3",
        24,
    )
    assert (await edge.event()).patients == ()


async def test_what_the_api_tells_the_gateway_ends_there(edge: Edge):
    _, headers, _ = await edge.get(f"/appointments/{FIRST_ID}", x_api_key=KEY)
    assert not {"x-patient-id", "x-tenant-id", "x-object-id", "x-record-count"} & set(headers)


async def test_what_a_client_says_of_itself_and_of_records_is_not_believed(edge: Edge):
    forged = {"x_client_id": "hospital", "x_patient_id": "p-forged", "x_tenant_id": "t", "x_object_id": "o"}
    status, _, _ = await edge.get("/appointments/1", x_api_key=KEY, **forged)
    assert status == 404
    (line,) = await edge.logged(1)
    assert line["principal"] == CLIENT
    assert not {"patient", "tenant", "object"} & set(line)
    assert [asked["x-client-id"] for asked in edge.asked] == [CLIENT]


@pytest.mark.parametrize("headers", [{}, {"x_api_key": "wrong"}, {"x_api_key": ""}])
async def test_a_forged_client_header_without_the_key_names_nobody(edge: Edge, headers: dict[str, str]):
    status, _, _ = await edge.get(f"/appointments/{FIRST_ID}", x_client_id=CLIENT, **headers)
    assert status == 401
    (line,) = await edge.logged(1)
    assert "principal" not in line
    assert line["authenticated"] is False
    assert edge.asked == []
    assert (await edge.event()).principal is None


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /a%2fb HTTP/1.1\r\nHost: x\r\nx-client-id: partner-1\r\n\r\n",
        b"GET /%00 HTTP/1.1\r\nHost: x\r\nx-client-id: partner-1\r\nx-api-key: key-of-partner-1\r\n\r\n",
        b"GET /a HTTP/1.1\r\nx-client-id: partner-1\r\n\r\n",
        b"GET /appointments/\xff HTTP/1.1\r\nHost: x\r\nx-client-id: partner-1\r\n\r\n",
        b"NONSENSE\r\n\r\n",
    ],
    ids=["escaped slash", "NUL", "no host", "not UTF-8", "not HTTP"],
)
async def test_a_forged_client_header_on_a_broken_request_names_nobody(edge: Edge, request_: bytes):
    # Envoy answers these before it removes any header.
    assert b" 400 " in await edge.raw(request_)
    event = await edge.event()
    assert (event.principal, event.status) == (None, 400)


async def test_a_refusal_is_logged_under_its_credential(edge: Edge):
    edge.refused.add(CLIENT)
    status, _, body = await edge.get(f"/appointments/{FIRST_ID}", x_api_key=KEY)
    assert (status, body) == (403, b"refused")
    event = await edge.event()
    assert (event.principal, event.status, event.patients) == (CLIENT, 403, ())


async def test_the_key_goes_nowhere(edge: Edge):
    await edge.get(f"/appointments/{FIRST_ID}", x_api_key=KEY)
    await edge.get(f"/appointments/{FIRST_ID}", x_api_key="a-wrong-key")
    await edge.logged(2)
    assert b"key-of" not in edge.log.read_bytes()
    assert b"a-wrong-key" not in edge.log.read_bytes()
    assert KEY not in json.dumps(edge.asked)


async def test_an_address_that_no_route_knows_has_no_template(edge: Edge):
    status, _, _ = await edge.get("/appointments/1/notes", x_api_key=KEY)
    assert status == 404
    event = await edge.event()
    assert (event.principal, event.route) == (CLIENT, None)


async def test_without_a_monitor_nobody_is_asked(tmp_path: Path):
    async with running_edge(tmp_path, authz=False) as edge:
        edge.refused.add(CLIENT)
        status, _, _ = await edge.get(f"/appointments/{FIRST_ID}", x_api_key=KEY)
        assert status == 200
        assert edge.asked == []


def test_the_demo_runs_the_recipe_and_changes_only_what_is_its_own():
    plan = GatewayPlan(1, 2, 3, 4, {CLIENT: KEY})
    config = gateway_config(plan)
    original = gateway_config_of_recipe()
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    other = original["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    key_auth, others_key_auth = manager["http_filters"].pop(0), other["http_filters"].pop(0)
    assert manager == other
    assert key_auth["name"] == others_key_auth["name"]
    assert KEY not in repr(plan)


def gateway_config_of_recipe() -> dict[str, Any]:
    import yaml

    config: dict[str, Any] = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    return config


def test_the_configuration_with_the_keys_is_for_its_owner_alone(tmp_path: Path):
    path = tmp_path / "envoy.json"
    write_gateway(path, GatewayPlan(1, 2, 3, 4, {CLIENT: KEY}))
    assert path.stat().st_mode & 0o777 == 0o600
