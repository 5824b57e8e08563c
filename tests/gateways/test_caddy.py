"""Caddy asks the decision service: whom it believes, whom it refuses, what it logs, and when it stands alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
import pytest

from monitor.authz.register import Refusal
from monitor.core.events import CredentialStatus
from tests.gateways.test_recipes import KEYS, PATH, Running, running_with_services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_with_services("caddy", tmp_path) as made:
        yield made


async def test_whoever_is_refused_is_told_why_and_logged(running: Running):
    assert await running.edge.status(PATH, "partner-1") == 200
    await running.refuse("partner-1")
    status, headers, body = await running.edge.get(PATH, "partner-1")
    assert status == 403
    said = orjson.loads(body)
    assert (said["error"], said["incident"]) == ("credential_suspended", "INC-0142")
    assert 3500 < int(headers["retry-after"]) <= 3600
    assert await running.edge.status(PATH, "partner-2") == 200
    lines = await running.edge.logged(3)
    assert [(line["user_id"], line["status"]) for line in lines] == [
        ("partner-1", 200),
        ("partner-1", 403),
        ("partner-2", 200),
    ]
    written = running.edge.log.read_text(encoding="utf-8")
    assert not any(key in written for key in KEYS.values())


async def test_whoever_is_let_in_again_gets_through(running: Running):
    await running.refuse("partner-1", CredentialStatus.REVOKED)
    status, headers, body = await running.edge.get(PATH, "partner-1")
    assert (status, orjson.loads(body)["error"]) == (403, "credential_revoked")
    assert "retry-after" not in headers
    for service in running.services:
        service.register.refused.clear()
    assert await running.edge.status(PATH, "partner-1") == 200


async def test_what_a_client_says_of_itself_is_not_believed(running: Running):
    await running.refuse("partner-1")
    for forged in ({"x_client_id": "partner-2"}, {"x_realm": "other"}, {"X_CLIENT_ID": "partner-2"}):
        assert (await running.edge.get(PATH, "partner-1", **forged))[0] == 403
        assert (await running.edge.get(PATH, "partner-2", x_client_id="partner-1"))[0] == 200


@pytest.mark.parametrize("key", [None, "a-wrong-key"])
async def test_without_a_right_key_nobody_is_asked(running: Running, key: str | None):
    for service in running.services:
        await service._server.stop()
    assert (await running.edge.get(PATH, key, x_client_id="partner-1"))[0] == 401
    (line,) = await running.edge.logged(1)
    assert line["user_id"] == ""


async def test_a_path_like_the_decision_services_own_is_no_way_past_it(running: Running):
    await running.refuse("partner-1")
    for path in ("/-/healthz", "/-/readyz", "/-/metrics"):
        assert await running.edge.status(path, "partner-1") == 403


async def test_one_of_two_decision_services_that_is_gone_lets_nobody_through(running: Running):
    """And with both gone, everybody is let through: that is what the recipe says of itself."""
    await running.refuse("partner-1")
    await running.services[0]._server.stop()
    answers = await asyncio.gather(
        *(running.edge.status(PATH, client) for _ in range(50) for client in ("partner-1", "partner-2"))
    )
    assert answers == [403, 200] * 50
    await running.services[1]._server.stop()
    assert await running.edge.status(PATH, "partner-2") == 200
    assert await running.edge.status(PATH, "partner-1") == 200


async def test_a_service_that_knows_nothing_yet_refuses_nobody(running: Running):
    for service in running.services:
        service.register._caught_up = False
        service.register.refused["clinic-api/partner-1"] = Refusal(CredentialStatus.REVOKED, "INC-1", None)
    assert await running.edge.status(PATH, "partner-1") == 200
