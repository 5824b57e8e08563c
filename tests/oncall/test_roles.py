"""Each role is killed in turn: the alert about it fires, and clears when it is back."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import yaml

from monitor.demo.processes import free_ports
from monitor.stream.topics import create_embedded
from tests.integration.stack import Process, Stack
from tests.rig.watchers import ROOT, get, prometheus, prometheus_config, until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from monitor.stream.embedded import EmbeddedBroker

ROLES: Final = ("intake", "detect", "enforce", "authz")


def hastened_rules(folder: Path) -> list[Path]:
    """Return the rules that we ship with each minute of `for` as a second: nobody waits minutes here."""
    paths = []
    for name in ("recording.yml", "alerts.yml"):
        text = (ROOT / "deploy" / "prometheus" / name).read_text(encoding="utf-8")
        paths.append(folder / name)
        paths[-1].write_text(re.sub(r"for: (\d+)m$", r"for: \1s", text, flags=re.MULTILINE), encoding="utf-8")
    return paths


def write_targets(folder: Path, running: Mapping[str, Process], authz_port: int) -> None:
    workers = [
        worker.address().removeprefix("http://") for role, worker in running.items() if role != "authz"
    ]
    for job, targets in (("access-monitor", workers), ("access-monitor-authz", [f"127.0.0.1:{authz_port}"])):
        (folder / f"{job}.json").write_text(json.dumps([{"targets": targets}]), encoding="utf-8")


async def firing(server: str, name: str, **labels: str) -> list[dict[str, Any]]:
    found = await get(f"{server}/api/v1/alerts")
    return [
        alert["labels"]
        for alert in (found["data"]["alerts"] if found else [])
        if alert["state"] == "firing"
        and alert["labels"]["alertname"] == name
        and labels.items() <= alert["labels"].items()
    ]


async def test_each_role_that_is_killed_is_missed_and_then_not(
    tmp_path: Path, embedded: EmbeddedBroker, prefix: str
):
    authz_port, prometheus_port = free_ports(2)
    stack = Stack(
        tmp_path,
        broker="embedded",
        bootstrap=embedded.bootstrap_servers,
        prefix=prefix,
        authz={"listen": f"127.0.0.1:{authz_port}", "realm": "gate"},
    )
    create_embedded(stack.settings, embedded, source_partitions=1)
    assert stack.run("init").returncode == 0

    def start(role: str) -> Process:
        return stack.spawn("authz") if role == "authz" else stack.spawn("worker", "--roles", role)

    config = yaml.safe_load(
        prometheus_config(
            {"access-monitor": [], "access-monitor-authz": []}, hastened_rules(tmp_path), free_ports(1)[0]
        )
    )
    for job in config["scrape_configs"]:
        del job["static_configs"]
        job["file_sd_configs"] = [
            {"files": [str(tmp_path / f"{job['job_name']}.json")], "refresh_interval": "1s"}
        ]
    with ExitStack() as up:
        up.callback(stack.close)
        running = {role: start(role) for role in ROLES}
        write_targets(tmp_path, running, authz_port)
        server = up.enter_context(
            prometheus(tmp_path / "prometheus", yaml.safe_dump(config), prometheus_port)
        )

        async def all_is_well() -> bool:
            up_now = await get(
                f"{server}/api/v1/query", query="count(max by (role) (access_monitor_role_ready) == 1)"
            )
            ready = bool(up_now) and [series["value"][1] for series in up_now["data"]["result"]] == ["4"]
            return ready and not await firing(server, "AccessMonitorRoleMissing")

        await until(all_is_well, "all roles at work")
        for role in ROLES:
            running[role].kill()
            await until(
                lambda role=role: firing(server, "AccessMonitorRoleMissing", role=role),  # type: ignore[misc]
                f"the alert about {role}",
            )
            missed = {labels["role"] for labels in await firing(server, "AccessMonitorRoleMissing")}
            assert missed == {role}
            assert await until(lambda: firing(server, "AccessMonitorDown"), "the alert about the process")
            running[role] = start(role)
            write_targets(tmp_path, running, authz_port)
            await until(all_is_well, f"{role} is back")
