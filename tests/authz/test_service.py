"""The decision service: who is refused, when it knows, and what it does when Kafka is gone."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest
from aiokafka import AIOKafkaProducer

from monitor.authz.service import AuthzService
from monitor.core.events import CredentialStatus
from monitor.errors import ConfigurationError
from monitor.intake.keys import load_keys
from monitor.intake.pseudonym import credential_pseudonyms
from monitor.settings.values import Listen
from monitor.wire.credentials import CredentialRecord, EnforcerRecord, RuleName, encode
from tests.rig.configuration import settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from monitor.stream.embedded import EmbeddedBroker

DEADLINE_SECONDS = 20.0
HOUR_MS = 3_600_000


class Asked:
    """A running service, and the topic that it follows."""

    def __init__(self, service: AuthzService, producer: AIOKafkaProducer, topic: str) -> None:
        self.service = service
        self._producer = producer
        self._topic = topic

    async def write(self, key: str, value: bytes | None) -> None:
        await self._producer.send_and_wait(self._topic, value, key=key.encode(), partition=0)

    async def beat(self) -> None:
        await self.write("@enforcer", encode(EnforcerRecord(heartbeat_ms=now_ms())))

    async def ask(self, principal: str | None, path: str = "/appointments/1", **headers: str) -> Any:
        if principal is not None:
            headers["x-client-id"] = principal
        address = f"http://127.0.0.1:{self.service.port}{path}"
        async with (
            aiohttp.ClientSession() as session,
            session.post(address, headers=headers) as response,
        ):
            body = await response.read()
            return response.status, dict(response.headers), orjson.loads(body) if body[:1] == b"{" else body

    async def status(self, principal: str) -> int:
        status, _, _ = await self.ask(principal)
        return int(status)


@pytest.fixture
async def asked(tmp_path: Path, embedded: EmbeddedBroker, prefix: str) -> AsyncIterator[Asked]:
    settings = settings_for(
        tmp_path,
        broker="embedded",
        bootstrap=embedded.bootstrap_servers,
        prefix=prefix,
        authz={"realm": "clinic"},
    )
    embedded.create_topic(settings.topic("credentials"))
    producer = AIOKafkaProducer(bootstrap_servers=embedded.bootstrap_servers)
    await producer.start()
    service = AuthzService(settings, Listen("127.0.0.1", 0))
    await service.start()
    yield Asked(service, producer, settings.topic("credentials"))
    await service.stop()
    await producer.stop()


def now_ms() -> int:
    return int(time.time() * 1000)


def record(status: CredentialStatus, until_ms: int | None = None, principal: str = "p-1") -> bytes:
    return encode(
        CredentialRecord(
            realm="clinic",
            id=principal,
            kind="api_key",
            status=status,
            version=1,
            state="accepted",
            since_ms=now_ms(),
            until_ms=until_ms,
            incident="INC-0001",
            finding="f",
            rule=RuleName("r", "Reads"),
            level="high",
            summary="p-1 read much",
            patients=50,
            patients_capped=False,
            leaked=0,
            webhook_id="msg_1",
            attempts=0,
            detected_ms=0,
            requested_ms=0,
        )
    )


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await condition():  # noqa: ASYNC110 - it is another process's doing
            await asyncio.sleep(0.01)


async def test_nobody_is_judged_before_an_enforcer_gave_a_sign_of_life(asked: Asked):
    async def caught_up() -> bool:
        return "sign of life" in asked.service.register.waiting_for

    await until(caught_up)
    status, _, body = await asked.ask("p-1")
    assert (status, body["error"]) == (503, "not_ready")
    assert (await asked.ask(None, "/-/readyz"))[0] == 503
    await asked.beat()
    await until(lambda: _is(asked, "p-1", 200))
    assert (await asked.ask(None, "/-/readyz"))[0] == 200


async def test_a_suspended_credential_is_refused_until_its_time_is_over(asked: Asked):
    await asked.beat()
    await asked.write("clinic/p-1", record(CredentialStatus.SUSPENDED, now_ms() + HOUR_MS))
    await until(lambda: _is(asked, "p-1", 403))
    _, headers, body = await asked.ask("p-1", "/any/other/path?with=query")
    assert (body["error"], body["incident"]) == ("credential_suspended", "INC-0001")
    assert 3590 <= int(headers["Retry-After"]) <= 3600
    assert await asked.status("p-2") == 200
    await asked.write("clinic/p-1", record(CredentialStatus.SUSPENDED, now_ms() - 1))
    await until(lambda: _is(asked, "p-1", 200))


async def test_a_person_is_refused_by_the_id_that_the_gateway_presents(asked: Asked, tmp_path: Path):
    person = credential_pseudonyms(load_keys(tmp_path / "privacy.keys").credential_key)("clinic/session-1")
    await asked.beat()
    await asked.write(f"clinic/{person}", record(CredentialStatus.SUSPENDED, now_ms() + HOUR_MS))
    await until(lambda: _is(asked, "session-1", 403))
    assert await asked.status("session-2") == 200


async def test_a_revoked_credential_is_refused_until_somebody_reinstates_it(asked: Asked):
    await asked.beat()
    await asked.write("clinic/p-1", record(CredentialStatus.REVOKED))
    await until(lambda: _is(asked, "p-1", 403))
    _, headers, body = await asked.ask("p-1")
    assert body["error"] == "credential_revoked"
    assert "Retry-After" not in headers
    await asked.write("clinic/p-1", record(CredentialStatus.ACTIVE))
    await until(lambda: _is(asked, "p-1", 200))
    await asked.write("clinic/p-1", record(CredentialStatus.REVOKED))
    await until(lambda: _is(asked, "p-1", 403))
    await asked.write("clinic/p-1", None)
    await until(lambda: _is(asked, "p-1", 200))


async def test_equal_ids_of_two_realms_are_two_credentials(asked: Asked):
    await asked.beat()
    await asked.write("other/p-1", record(CredentialStatus.REVOKED))
    await asked.write("clinic/p-2", record(CredentialStatus.REVOKED))
    await until(lambda: _is(asked, "p-2", 403))
    assert await asked.status("p-1") == 200


async def test_without_a_credential_nothing_is_allowed(asked: Asked):
    await asked.beat()
    await until(lambda: _is(asked, "p-1", 200))
    status, _, body = await asked.ask(None)
    assert (status, body["error"]) == (401, "no_principal")


async def test_the_last_known_set_outlives_kafka(asked: Asked, embedded: EmbeddedBroker):
    await asked.beat()
    await asked.write("clinic/p-1", record(CredentialStatus.REVOKED))
    await until(lambda: _is(asked, "p-1", 403))
    embedded.close()
    for _ in range(50):
        assert await asked.status("p-1") == 403
        assert await asked.status("p-2") == 200
    assert (await asked.ask(None, "/-/readyz"))[0] == 200


async def test_metrics_count_answers_and_name_nobody(asked: Asked):
    await asked.beat()
    await asked.write("clinic/p-1", record(CredentialStatus.REVOKED))
    await until(lambda: _is(asked, "p-1", 403))
    _, _, body = await asked.ask(None, "/-/metrics")
    text = body.decode()
    assert 'access_monitor_authz_decisions_total{decision="credential_revoked"}' in text
    assert 'access_monitor_authz_credentials{status="revoked"} 1.0' in text
    assert "p-1" not in text


async def test_a_taken_port_is_named(asked: Asked, tmp_path: Path, embedded: EmbeddedBroker, prefix: str):
    settings = settings_for(tmp_path, broker="embedded", bootstrap=embedded.bootstrap_servers, prefix=prefix)
    second = AuthzService(settings, Listen("127.0.0.1", asked.service.port))
    with pytest.raises(ConfigurationError, match=r"authz\.listen"):
        await second.start()


async def _is(asked: Asked, principal: str, status: int) -> bool:
    return await asked.status(principal) == status
