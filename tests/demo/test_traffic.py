"""The attacker stops when it is refused; partners never come near a limit."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from monitor.demo.api import AppointmentsApi
from monitor.demo.appointments import make_register
from monitor.demo.attack import patients_rule
from monitor.demo.processes import until
from monitor.demo.traffic import Client, Tally, enumerate_appointments, new_session, work_normally
from monitor.rulebook import load_rules

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REGISTER = make_register(1, appointments=200, patients=150)


@asynccontextmanager
async def refusing_after(allowed: int) -> AsyncIterator[Client]:
    """Yield a client of an API that answers so many requests and refuses the rest."""
    served = 0

    async def answer(_request: web.BaseRequest) -> web.Response:
        nonlocal served
        served += 1
        if served > allowed:
            return web.Response(status=403)
        return web.json_response({"patient": {"id": f"p-{served}"}})

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with new_session() as session:
            yield Client(session, f"http://127.0.0.1:{runner.addresses[0][1]}", "key", Tally("thief"))
    finally:
        await runner.cleanup()


async def test_the_attacker_stops_soon_after_it_is_refused():
    async with refusing_after(20) as client:
        await enumerate_appointments(client, range(5_000), 1_000)
    assert len(client.tally.objects) == len(client.tally.patients) == 20
    assert 1 <= client.tally.refused < 100
    assert client.in_flight == 0


async def test_the_attacker_takes_everything_that_it_gets():
    async with refusing_after(10_000) as client:
        await enumerate_appointments(client, range(300), 1_000)
    assert client.tally.objects == set(range(300))
    assert client.tally.refused == client.tally.failed == 0


@pytest.mark.parametrize("rate", [50, 200])
async def test_the_attacker_keeps_its_rate(rate: int):
    async with refusing_after(10_000) as client:
        await enumerate_appointments(client, range(rate // 2), rate)
    first, last = client.tally.answers[0], max(client.tally.answers, key=lambda answer: answer.sent_ms)
    assert last.sent_ms - first.sent_ms >= (rate // 2 - 1) / rate * 1000 - 5


async def test_a_gateway_that_is_away_counts_as_failed():
    async with new_session() as session:
        client = Client(session, "http://127.0.0.1:9", "key", Tally("agenda"))
        await client.read(1)
        assert await client.list_of("practice-1") == []
    assert (client.tally.failed, client.tally.refused) == (2, 0)


async def test_a_partner_reads_few_patients_however_long_it_works(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("monitor.demo.traffic._PAUSE_SECONDS", 0)
    rule = patients_rule(load_rules(["pack:default"]).rule_set)
    open_hours = asyncio.Event()
    open_hours.set()
    async with AppointmentsApi(REGISTER) as api, new_session() as session:
        client = Client(session, f"http://127.0.0.1:{api.port}", "key", Tally("agenda"))
        work = asyncio.create_task(
            work_normally(client, ["practice-1", "practice-2"], random.Random(1), open_hours)
        )
        assert await until(lambda: len(client.tally.answers) > 300, within_seconds=30)
        open_hours.clear()
        assert await until(lambda: client.in_flight == 0, within_seconds=10)
        work.cancel()
    assert 0 < len(client.tally.patients) < rule.threshold
    assert client.tally.failed == 0
