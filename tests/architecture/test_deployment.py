"""The units and manifests that we ship: they start commands that exist, and probes and exit codes fit them."""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from monitor.cli import cli
from monitor.errors import ExitCode
from monitor.settings.models import Settings
from monitor.worker import DRAIN_SECONDS

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted(DEPLOY.glob("systemd/*.service"))
MANIFESTS = [
    (path.name, document)
    for path in sorted(DEPLOY.glob("kubernetes/*.yaml"))
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
]
PODS = [(name, document) for name, document in MANIFESTS if document["kind"] in {"StatefulSet", "Deployment"}]


def unit(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(path.read_text(encoding="utf-8"))
    return parser


def assert_a_command(arguments: list[str]) -> None:
    known = CliRunner().invoke(cli, [arguments[0], "--help"])
    assert known.exit_code == 0
    for option in (argument for argument in arguments if argument.startswith("--")):
        assert option in known.output


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_starts_a_command_and_does_not_start_again_what_a_person_must_change(path: Path):
    service = unit(path)["Service"]
    assert_a_command(service["ExecStart"].split()[1:])
    assert service["Restart"] == "always"
    assert service["RestartPreventExitStatus"].split() == [
        str(int(ExitCode.CONFIG)),
        str(int(ExitCode.USAGE)),
    ]
    assert float(service["TimeoutStopSec"].removesuffix("s")) > DRAIN_SECONDS


def test_the_worker_says_when_it_is_ready_and_alive():
    service = unit(DEPLOY / "systemd" / "access-monitor-worker.service")["Service"]
    assert service["Type"] == "notify"
    assert service["WatchdogSec"]


@pytest.mark.parametrize(("name", "pod"), PODS, ids=[name for name, _ in PODS])
def test_a_manifest_is_whole(name: str, pod: dict[str, Any]):
    spec = pod["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == labels
    inner = spec["template"]["spec"]
    assert inner["terminationGracePeriodSeconds"] > DRAIN_SECONDS
    (container,) = inner["containers"]
    assert container["args"][0] == "monitor"
    assert_a_command(container["args"][1:])
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for probe in ("livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] in ports
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in inner["volumes"]}
    for variable in container["env"]:
        section, _, field = variable["name"].removeprefix("MONITOR_").lower().partition("__")
        model = Settings.model_fields[section].annotation
        assert model is not None
        assert field in model.model_fields
    same = [document for other, document in MANIFESTS if other == name]
    for document in same:
        selector = document["spec"].get("selector", {})
        if document["kind"] == "Service":
            assert selector == labels
            assert {port["targetPort"] for port in document["spec"]["ports"]} <= set(ports)


def test_a_worker_pod_has_a_name_that_stays():
    (worker,) = [pod for _, pod in PODS if pod["kind"] == "StatefulSet"]
    (container,) = worker["spec"]["template"]["spec"]["containers"]
    (instance,) = [one for one in container["env"] if one["name"] == "MONITOR_WORKER__INSTANCE"]
    assert instance["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
