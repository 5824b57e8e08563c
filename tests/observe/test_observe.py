"""What those see who watch the monitor: metrics, probes, log lines."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import aiohttp
import pytest

from monitor.errors import ConfigurationError
from monitor.observe.catalogue import PREFIX, ManyHistogram, samples
from monitor.observe.metrics import MOST_INCIDENTS, Metrics
from monitor.observe.server import ObserveServer
from monitor.settings.values import Listen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NEVER_A_LABEL = {"patient", "principal", "credential", "key", "subject", "session", "ip", "client_ip", "path"}


def test_every_metric_follows_the_conventions():
    for described in Metrics().catalogue:
        assert re.fullmatch(rf"{PREFIX}[a-z][a-z_]*[a-z]", described.name)
        assert (described.type == "counter") == described.name.endswith("_total")
        assert not NEVER_A_LABEL & set(described.labels)
        assert described.help.endswith(".")
        assert ("version" in described.labels or "title" in described.labels) <= described.name.endswith(
            "_info"
        )
        if described.type == "histogram":
            assert described.name.endswith(("_seconds", "_patients"))


def test_the_catalogue_is_what_is_scraped():
    metrics = Metrics()
    scraped = {family.name for family in metrics.registry.collect() if family.name.startswith(PREFIX)}
    assert {described.name.removesuffix("_total") for described in metrics.catalogue} == scraped


def test_a_process_exports_the_metrics_of_its_roles_only():
    authz = {name for name, _, _ in samples(Metrics(roles=["authz"]))}
    assert f"{PREFIX}authz_ready" in authz
    assert "process_start_time_seconds" in authz
    assert not {name for name in authz if name.startswith(f"{PREFIX}rules_")}
    detect = {name for name, _, _ in samples(Metrics(roles=["worker", "detect"]))}
    assert f"{PREFIX}flush_seconds_count" in detect
    assert f"{PREFIX}rules_version" in detect
    assert f"{PREFIX}takeovers_total" not in detect
    assert f"{PREFIX}authz_ready" not in detect


def test_many_equal_observations_count_as_often_as_they_were_made():
    counted = ManyHistogram("seconds", "How long.", (1, 5))
    for value, count in ((0.5, 3), (1, 2), (4, 1), (60, 10)):
        counted.observe(value, count)
    (family,) = counted.collect()
    found = {(sample.name, sample.labels.get("le")): sample.value for sample in family.samples}
    assert found == {
        ("seconds_bucket", "1.0"): 5,
        ("seconds_bucket", "5.0"): 6,
        ("seconds_bucket", "+Inf"): 16,
        ("seconds_count", None): 16,
        ("seconds_sum", None): 607.5,
    }


def test_open_incidents_are_listed_up_to_a_ceiling_and_leave_when_they_end():
    metrics = Metrics()

    def listed() -> list[dict[str, str]]:
        return [labels for name, labels, _ in samples(metrics) if name == f"{PREFIX}incident_info"]

    metrics.list_incidents((f"INC-{number:04d}", "r-1", "requested") for number in range(9_990, 10_050))
    assert len(listed()) == MOST_INCIDENTS
    assert {"incident": "INC-10049", "rule": "r-1", "state": "requested"} in listed()
    assert "INC-9999" not in {labels["incident"] for labels in listed()}
    metrics.list_incidents([("INC-10049", "r-1", "enforced")])
    assert listed() == [{"incident": "INC-10049", "rule": "r-1", "state": "enforced"}]
    metrics.list_incidents([])
    assert listed() == []


def test_what_a_detector_counted_is_added():
    metrics = Metrics()
    metrics.count_detect({"applied": 3, "gaps": 2, "late": 0})
    found = {(name, *labels.values()): value for name, labels, value in samples(metrics)}
    assert found[f"{PREFIX}rows_total", "applied"] == 3
    assert found[(f"{PREFIX}coverage_gaps_total",)] == 2


@pytest.fixture
async def server() -> AsyncIterator[ObserveServer]:
    metrics = Metrics()
    metrics.findings_total.labels("r-1", "enforce", "suspend", "principal").inc()
    served = ObserveServer(Listen("127.0.0.1", 0), metrics.registry)
    await served.start()
    yield served
    await served.stop()


async def get(server: ObserveServer, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{server.port}{path}") as answer,
    ):
        return answer.status, await answer.text()


async def test_prometheus_finds_metrics(server: ObserveServer):
    status, text = await get(server, "/metrics")
    assert status == 200
    assert (
        f'{PREFIX}findings_total{{action="suspend",axis="principal",mode="enforce",rule="r-1"}} 1.0' in text
    )


async def test_probes_say_why_they_fail(server: ObserveServer):
    ready = [False]
    server.add_readiness("roles", lambda: (ready[0], "waiting for partitions"))
    status, text = await get(server, "/readyz")
    assert (status, json.loads(text)["checks"]["roles"]["reason"]) == (503, "waiting for partitions")
    assert (await get(server, "/healthz"))[0] == 200
    ready[0] = True
    assert (await get(server, "/readyz"))[0] == 200


async def test_a_taken_port_is_named(server: ObserveServer):
    second = ObserveServer(Listen("127.0.0.1", server.port), Metrics().registry)
    with pytest.raises(ConfigurationError, match=r"observe\.listen: cannot listen on"):
        await second.start()


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_log_line_moves_no_terminal_and_forges_no_second_line(log_format: str):
    script = (
        "import structlog\n"
        "from monitor.observe.logs import configure_logs\n"
        f"configure_logs({log_format!r})\n"
        "patient = 's3cret-patient'\n"
        "log = structlog.get_logger('monitor.test')\n"
        "log.info('found', text='\\x1b[2Jclean\\r\\nFORGED line')\n"
        "try:\n    raise ValueError('why')\nexcept ValueError:\n    log.exception('failed')\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stderr
    assert "\x1b[2J" not in said
    assert "\r" not in said
    assert not any(line.startswith("FORGED") for line in said.splitlines())
    assert "ValueError: why" in said
    assert "s3cret-patient" not in said.replace("patient = 's3cret-patient'", "")


def test_the_nearest_value_of_a_rule_is_told_for_one_to_two_minutes():
    metrics = Metrics()

    def told(now: float) -> dict[str, float]:
        metrics.tell_nearest(now)
        return {
            labels["rule"]: value
            for name, labels, value in samples(metrics)
            if name == f"{PREFIX}rule_closest_ratio"
        }

    metrics.saw_nearest({"a": 0.5, "b": 0.1}, 60.0)
    metrics.saw_nearest({"a": 0.2}, 61.0)
    assert told(61.0) == {"a": 0.5, "b": 0.1}
    metrics.saw_nearest({"a": 0.3}, 130.0)
    assert told(130.0) == {"a": 0.5, "b": 0.1}
    assert told(185.0) == {"a": 0.3}
    assert told(900.0) == {}
