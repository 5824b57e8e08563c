"""The enforcer and every broker are gone for ten minutes: whoever was let in is, whoever was refused is."""

from __future__ import annotations

import re
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer

from monitor.authz.service import AuthzService
from monitor.core.events import CredentialStatus
from monitor.settings.values import Listen
from tests.authz.test_service import Asked, now_ms, record, until
from tests.rig.configuration import settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from monitor.stream.embedded import EmbeddedBroker

ALERTS = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yml"
MINUTE_SECONDS = 60
OUTAGE_SECONDS = 10 * MINUTE_SECONDS
STEP_SECONDS = 5
MINUTE_MS = 60_000


class Ahead:
    """The time, and what a test adds to it. In seconds."""

    def __init__(self) -> None:
        self.by = 0.0

    def __call__(self) -> float:
        return time.time() + self.by


@asynccontextmanager
async def following(
    folder: Path, embedded: EmbeddedBroker, prefix: str, clock: Ahead, **authz: Any
) -> AsyncIterator[Asked]:
    """Run a service by a clock; it knows a sign of life, and four partners, when this yields."""
    settings = settings_for(
        folder,
        broker="embedded",
        bootstrap=embedded.bootstrap_servers,
        prefix=prefix,
        authz={"realm": "clinic", **authz},
    )
    topic = settings.topic("credentials")
    embedded.create_topic(topic)
    producer = AIOKafkaProducer(bootstrap_servers=embedded.bootstrap_servers)
    await producer.start()
    service = AuthzService(settings, Listen("127.0.0.1", 0), clock)
    await service.start()
    asked = Asked(service, producer, topic)
    try:
        await asked.beat()
        suspended, hour = CredentialStatus.SUSPENDED, 60 * MINUTE_MS
        await asked.write("clinic/ends", record(suspended, now_ms() + 5 * MINUTE_MS, "ends"))
        await asked.write("clinic/suspended", record(suspended, now_ms() + hour, "suspended"))
        await asked.write("clinic/revoked", record(CredentialStatus.REVOKED, principal="revoked"))

        async def knows() -> bool:
            return await asked.status("revoked") == 403

        await until(knows)
        await producer.stop()
        yield asked
    finally:
        await producer.stop()
        await service.stop()


async def test_ten_minutes_without_enforcer_and_brokers_change_nobodys_answer(
    tmp_path: Path, embedded: EmbeddedBroker, prefix: str
):
    """What is real: the service, its port, its reader of Kafka, and that the broker is dead.

    What is simulated: the ten minutes. The service's clock, by which it judges the age of the sign of life
    and the end of suspensions, goes five seconds ahead between two rounds of questions. The reader's pauses
    between two tries to connect are those of the few seconds that the test takes.
    """
    clock = Ahead()
    async with following(tmp_path, embedded, prefix, clock) as asked:
        embedded.close()
        assert await _silent_seconds(asked, clock) < _alert_seconds()
        for passed in range(0, OUTAGE_SECONDS + 1, STEP_SECONDS):
            clock.by = float(passed)
            assert await asked.status("active") == 200
            assert await asked.status("revoked") == 403
            assert await asked.status("suspended") == 403
            if passed < 4 * MINUTE_SECONDS:
                assert await asked.status("ends") == 403
            elif passed >= 5 * MINUTE_SECONDS:
                assert await asked.status("ends") == 200, "its time ends with nobody to say so"
            assert (await asked.ask(None, "/-/readyz"))[0] == 200
            assert await _silent_seconds(asked, clock) >= passed
        assert await _silent_seconds(asked, clock) > _alert_seconds(), "AccessMonitorAuthzStale says so"
        _, headers, _ = await asked.ask("suspended")
        assert 0 < int(headers["Retry-After"]) <= 50 * MINUTE_SECONDS


async def test_whoever_asks_for_it_has_nobody_let_in_by_what_is_too_old(
    tmp_path: Path, embedded: EmbeddedBroker, prefix: str
):
    """The same outage with `authz.deny_when_stale`: until then as ever, and then 503 for all of them."""
    clock = Ahead()
    async with following(tmp_path, embedded, prefix, clock, deny_when_stale="5m") as asked:
        embedded.close()
        clock.by = 4.0 * MINUTE_SECONDS
        assert await asked.status("active") == 200
        clock.by = float(OUTAGE_SECONDS)
        for principal in ("active", "revoked"):
            status, _, body = await asked.ask(principal)
            assert (status, body["error"]) == (503, "stale")


async def _silent_seconds(asked: Asked, clock: Ahead) -> float:
    """Return what the alert compares: the time, less the sign of life that the service exports."""
    _, _, body = await asked.ask(None, "/-/metrics")
    name = "access_monitor_authz_heartbeat_timestamp_seconds"
    found = re.search(rf"^{name} (\S+)$", body.decode(), re.MULTILINE)
    assert found is not None
    return clock() - float(found[1])


def _alert_seconds() -> float:
    """Return from how many silent seconds on AccessMonitorAuthzStale fires."""
    found = re.search(r"alert: AccessMonitorAuthzStale\n.*?> (\d+)\n", ALERTS.read_text(), re.DOTALL)
    assert found is not None
    return float(found[1])
