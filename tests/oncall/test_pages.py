"""Pages with the real Alertmanager: at once, once, to everyone, until it is contained."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from monitor.core.events import CredentialStatus
from monitor.demo.processes import free_ports
from monitor.observe import alertmanager as pushing
from monitor.observe.catalogue import samples
from monitor.observe.metrics import Metrics
from monitor.observe.server import ObserveServer
from monitor.response.pager import Pager
from monitor.settings import ObserveSettings
from monitor.settings.values import Listen
from monitor.wire.credentials import CredentialRecord, RuleName
from tests.response.stage import finding
from tests.rig.watchers import (
    ROOT,
    Receiver,
    alertmanager,
    alertmanager_config,
    get,
    prometheus,
    prometheus_config,
    receiver,
    until,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def record(number: int = 1, **changes: Any) -> CredentialRecord:
    now_ms = int(time.time() * 1000)
    plain: dict[str, Any] = {
        "realm": "gate",
        "id": f"partner-{number}",
        "kind": "api_key",
        "status": CredentialStatus.SUSPENDED,
        "version": 1,
        "state": "requested",
        "since_ms": now_ms,
        "until_ms": None,
        "incident": f"INC-{number:04d}",
        "finding": f"f{number}",
        "rule": RuleName("r-1", "Many patients"),
        "level": "high",
        "summary": f"partner-{number} read 50 patients in 10 min",
        "patients": 50,
        "patients_capped": False,
        "leaked": 0,
        "webhook_id": "w",
        "attempts": 0,
        "detected_ms": now_ms,
        "requested_ms": now_ms,
    }
    return CredentialRecord(**{**plain, **changes})


def observe(*urls: str, **changes: Any) -> ObserveSettings:
    return ObserveSettings(alertmanagers=list(urls), **changes)


@pytest.fixture
async def desk() -> AsyncIterator[Receiver]:
    async with receiver() as receiving:
        yield receiving


async def firing(url: str, **labels: str) -> list[dict[str, Any]]:
    alerts = await get(f"{url}/api/v2/alerts") or []
    return [alert for alert in alerts if labels.items() <= alert["labels"].items()]


async def test_an_incident_is_told_to_every_alertmanager_and_ends_in_each(tmp_path: Path, desk: Receiver):
    """One of them comes up late: it hears all that still fires."""
    ports = free_ports(2)
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    config = alertmanager_config(desk.port)
    metrics = Metrics()
    pager = Pager(observe(*urls, incident_url="https://console.test/incidents/{incident}"), metrics)
    with ExitStack() as up:
        up.enter_context(alertmanager(tmp_path / "a", config, ports[0]))
        await until(lambda: get(f"{urls[0]}/-/ready"), "the first Alertmanager")
        pager.start([])
        try:
            pager.show([record()])
            (told,) = await until(lambda: desk.of("page", incident="INC-0001"), "a page")
            assert told["status"] == "firing"
            assert told["annotations"]["credential"] == "gate/partner-1"
            assert told["annotations"]["incident_url"] == "https://console.test/incidents/INC-0001"
            up.enter_context(alertmanager(tmp_path / "b", config, ports[1]))
            await until(lambda: firing(urls[1], incident="INC-0001"), "the second Alertmanager hears of it")
            pager.show([record(state="enforced", enforced_ms=int(time.time() * 1000))])
            for url in urls:
                await until(partial(_gone, url), "it ends")
        finally:
            await pager.stop()
    counts = {
        (labels["alertmanager"], labels["result"]): value
        for name, labels, value in samples(metrics)
        if name == "access_monitor_pages_total"
    }
    assert counts["0", "failed"] == 0
    assert counts["1", "failed"] > 0


async def _gone(url: str) -> bool:
    return await firing(url) == [] and await get(f"{url}/api/v2/alerts") is not None


async def test_a_page_goes_on_while_it_is_not_contained_over_restarts_and_takeovers(
    tmp_path: Path, desk: Receiver, monkeypatch: pytest.MonkeyPatch
):
    """Three times `resolve_timeout`, with a restart of Alertmanager and another enforcer in between."""
    monkeypatch.setattr(pushing, "REPEAT_SECONDS", 0.5)
    monkeypatch.setattr(pushing, "LAPSE_SECONDS", 3.0)
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    config = alertmanager_config(desk.port, resolve_timeout="3s")
    first = Pager(observe(url), Metrics())
    began = time.monotonic()
    with alertmanager(tmp_path / "am", config, port):
        await until(lambda: get(f"{url}/-/ready"), "Alertmanager")
        first.start([record()])
        await until(lambda: firing(url, incident="INC-0001"), "the page")
        await first.stop()  # as at a takeover: nobody says that it ended
    second = Pager(observe(url), Metrics())
    second.start([record()])
    try:
        with alertmanager(tmp_path / "am", config, port):
            await until(lambda: get(f"{url}/-/ready"), "Alertmanager again")
            while time.monotonic() - began < 9.5:
                await until(lambda: firing(url, incident="INC-0001"), "the page after the restart")
                await asyncio.sleep(0.2)
            assert not [alert for alert in desk.of("page") if alert["status"] == "resolved"]
            await second.stop()
            # What kept it there was the pushing: without it, it lapses.
            await until(lambda: _gone(url), "the end")
    finally:
        await second.stop()


async def test_a_takeover_ends_what_was_contained_meanwhile(tmp_path: Path, desk: Receiver):
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    with alertmanager(tmp_path / "am", alertmanager_config(desk.port), port):
        await until(lambda: get(f"{url}/-/ready"), "Alertmanager")
        first, second = Pager(observe(url), Metrics()), Pager(observe(url), Metrics())
        first.start([record()])
        await until(lambda: firing(url, incident="INC-0001"), "the page")
        await first.stop()
        second.start([record(state="enforced", enforced_ms=int(time.time() * 1000))])
        try:
            await until(lambda: _gone(url), "the end")
        finally:
            await second.stop()


async def test_what_is_pushed_and_what_is_scraped_is_one_notification(tmp_path: Path, desk: Receiver):
    """Prometheus fires the same alert from `incident_info` while it is pushed: nobody is called twice."""
    am_port, prometheus_port = free_ports(2)
    url = f"http://127.0.0.1:{am_port}"
    metrics = Metrics()
    metrics.list_incidents([("INC-0001", "r-1", "requested")])
    served = ObserveServer(Listen("127.0.0.1", 0), metrics.registry)
    await served.start()
    config = prometheus_config(
        {"access-monitor": [f"127.0.0.1:{served.port}"], "access-monitor-authz": []},
        [ROOT / "deploy" / "prometheus" / "alerts.yml"],
        am_port,
    )
    pager = Pager(observe(url), Metrics())
    alerts = alertmanager_config(desk.port).replace("group_interval: 15s", "group_interval: 1s")
    with ExitStack() as up:
        up.enter_context(alertmanager(tmp_path / "am", alerts, am_port))
        await until(lambda: get(f"{url}/-/ready"), "Alertmanager")
        server = up.enter_context(prometheus(tmp_path / "prometheus", config, prometheus_port))
        pager.start([record()])
        try:
            await until(lambda: desk.of("page", incident="INC-0001"), "the page")
            await until(lambda: _scraped(server), "Prometheus fires it too")
            # Prometheus has sent it when Alertmanager has heard of another one that only it fires.
            await until(lambda: firing(url, alertname="AccessMonitorDeadMansSwitch"), "it has sent")
            await asyncio.sleep(3)  # several times the group's interval
            (one,) = await firing(url, alertname="AccessMonitorIncident")
            assert one["labels"]["incident"] == "INC-0001"
            assert len(desk.of("page", incident="INC-0001")) == 1
        finally:
            await pager.stop()
            await served.stop()


async def _scraped(server: str) -> bool:
    found = await get(f"{server}/api/v1/alerts")
    return found is not None and any(
        alert["labels"]["alertname"] == "AccessMonitorIncident" for alert in found["data"]["alerts"]
    )


async def test_what_is_about_a_patient_goes_to_privacy_and_pages_nobody(tmp_path: Path, desk: Receiver):
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    config = alertmanager_config(desk.port).replace("group_wait: 1m", "group_wait: 0s")
    with alertmanager(tmp_path / "am", config, port):
        await until(lambda: get(f"{url}/-/ready"), "Alertmanager")
        pager = Pager(observe(url), Metrics())
        pager.start([])
        try:
            pager.found(finding(1, None, action="alert"))
            pager.found(finding(2, "partner-1", action="alert", mode="shadow"))
            pager.found(finding(3, "partner-2", action="alert", axis="principal"))
            (about,) = await until(lambda: desk.of("privacy"), "what is about a patient")
            assert about["labels"]["alertname"] == "AccessMonitorPatientFinding"
            assert "a-patient" not in str(about)
            (other,) = await until(lambda: desk.of("ticket"), "the other finding")
            assert other["annotations"]["credential"] == "gate/partner-2"
            assert desk.of("page") == []
        finally:
            await pager.stop()


@pytest.mark.parametrize(
    ("names", "kind", "named"),
    [(True, "api_key", True), (False, "api_key", False), (True, "session", False), (True, "account", False)],
)
async def test_names_can_be_switched_off_and_are_never_those_of_people(
    *, names: bool, kind: str, named: bool
):
    pager = Pager(observe(alert_names=names), Metrics())
    text = str(pager._alert(record(kind=kind)).plain(0))
    assert ("partner-1" in text) == named
    assert "INC-0001" in text


async def test_many_incidents_are_one_page_and_a_missing_role_hides_what_follows_from_it(
    tmp_path: Path, desk: Receiver
):
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    many = {"severity": "critical", "team": "security"}
    config = alertmanager_config(desk.port).replace("group_wait: 10s", "group_wait: 1s")
    with alertmanager(tmp_path / "am", config, port):
        await until(lambda: get(f"{url}/-/ready"), "Alertmanager")
        told = pushing.AlertDesk([url], Metrics())
        now = time.time()
        causes = [
            {"alertname": "AccessMonitorManyIncidents"},
            {"alertname": "AccessMonitorRoleMissing", "role": "detect"},
        ]
        told.want([pushing.Alert({**many, **labels}, {}, now) for labels in causes])
        told.start()
        await until(lambda: desk.of("page", alertname="AccessMonitorRoleMissing"), "the causes")
        follow = [
            {"alertname": "AccessMonitorIncident", "incident": f"INC-{n:04d}", "rule": "r"} for n in range(20)
        ]
        follow += [{"alertname": "AccessMonitorBlind"}, {"alertname": "AccessMonitorLag", "group": "g"}]
        other = {"alertname": "AccessMonitorDeliveryStuck"}
        told.want([pushing.Alert({**many, **labels}, {}, now) for labels in [*causes, *follow, other]])
        try:
            await until(lambda: desk.of("page", alertname="AccessMonitorDeliveryStuck"), "another cause")
            assert {alert["labels"]["alertname"] for alert in desk.of("page")} == {
                "AccessMonitorManyIncidents",
                "AccessMonitorRoleMissing",
                "AccessMonitorDeliveryStuck",
            }
        finally:
            await told.stop()
