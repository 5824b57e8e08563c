"""The set of refused credentials, whatever comes through the topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiokafka.structs import ConsumerRecord
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from monitor.authz.register import Register
from monitor.core.events import CredentialStatus
from monitor.observe.metrics import Metrics, samples
from tests.authz.test_service import record, until
from tests.rig.configuration import settings_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.authz.test_service import Asked

STATUSES = st.sampled_from([None, *CredentialStatus])
CHANGES = st.lists(st.tuples(st.sampled_from(["p-1", "p-2", "p-3"]), STATUSES), max_size=30)


def consumed(key: str, value: bytes | None) -> ConsumerRecord:
    raw = key.encode()
    return ConsumerRecord(
        "credentials", 0, 0, 0, 0, raw, value, None, len(raw), 0 if value is None else len(value), ()
    )


@pytest.fixture
def register(tmp_path: Path) -> tuple[Register, Metrics]:
    settings = settings_for(tmp_path, broker="cluster", bootstrap="127.0.0.1:1", prefix="x.")
    metrics = Metrics()
    return Register(settings, metrics), metrics


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES)
def test_the_set_and_its_counts_follow_the_newest_records(
    register: tuple[Register, Metrics], changes: list[tuple[str, CredentialStatus | None]]
):
    followed, metrics = register
    newest: dict[str, CredentialStatus | None] = {
        subject: refusal.status for subject, refusal in followed.refused.items()
    }
    for who, status in changes:
        newest[f"clinic/{who}"] = status
        value = None if status is None else record(status, principal=who)
        followed._apply(consumed(f"clinic/{who}", value))
    for status in (CredentialStatus.SUSPENDED, CredentialStatus.REVOKED):
        refused = {subject for subject, now in newest.items() if now is status}
        assert {subject for subject, why in followed.refused.items() if why.status is status} == refused
        counted = next(
            value
            for name, labels, value in samples(metrics)
            if name == "access_monitor_authz_credentials" and labels == {"status": status.value}
        )
        assert counted == len(refused)


async def test_a_record_that_cannot_be_read_hides_none_after_it(asked: Asked):
    """The one that it is about keeps the status from before: nobody is let in by garbage."""
    await asked.beat()
    await asked.write("clinic/p-1", record(CredentialStatus.REVOKED))
    await until(lambda: _is(asked, "p-1", 403))
    await asked.write("clinic/p-1", b'{"v":2}')
    await asked.write("clinic/p-3", b"not JSON")
    await asked.write("clinic/p-2", record(CredentialStatus.REVOKED, principal="p-2"))
    await until(lambda: _is(asked, "p-2", 403))
    assert await asked.status("p-1") == 403
    assert await asked.status("p-3") == 200


async def test_a_record_that_cannot_be_read_at_the_start_keeps_us_from_being_ready(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
):
    """What it says may be the only word about a revocation, so nobody is judged without it."""
    await asked.service.register.stop()
    await asked.write("clinic/p-1", b'{"v":2}')
    await asked.beat()
    apply, tried = Register._apply, []

    def applied(register: Register, record: ConsumerRecord) -> None:
        tried.append(record.offset)
        apply(register, record)

    monkeypatch.setattr(Register, "_apply", applied)
    asked.service.register = Register(asked.service._settings, asked.service.metrics)
    asked.service.register.start()

    async def came_back() -> bool:
        return len(tried) > 1

    await until(came_back)
    assert set(tried) == {0}
    assert await asked.status("p-2") == 503
    assert (await asked.ask(None, "/-/readyz"))[0] == 503


@pytest.mark.parametrize("path", ["/-/healthz", "/-/readyz", "/-/metrics", "/-/healthz?x", "/-/other"])
async def test_a_path_like_ours_is_no_way_past_us(asked: Asked, path: str):
    await asked.beat()
    await asked.write("clinic/p-1", record(CredentialStatus.REVOKED))
    await until(lambda: _is(asked, "p-1", 403))
    assert (await asked.ask("p-1", path))[0] == 403
    assert (await asked.ask("p-2", path))[0] == 200


async def test_a_header_that_comes_twice_is_refused(asked: Asked):
    await asked.beat()
    await asked.write("clinic/p-1", record(CredentialStatus.REVOKED))
    await until(lambda: _is(asked, "p-1", 403))
    address = f"http://127.0.0.1:{asked.service.port}/appointments/1"
    async with aiohttp.ClientSession() as session:
        for first, second, status in (("p-2", "p-1", 403), ("p-1", "p-2", 403), ("p-2", "p-2", 200)):
            headers = [("x-client-id", first), ("x-client-id", second)]
            async with session.get(address, headers=headers) as response:
                assert response.status == status


async def _is(asked: Asked, principal: str, status: int) -> bool:
    return await asked.status(principal) == status
