"""The files of deploy/ that no engine runs here: what can be checked of them without one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

from monitor.cli.canary import EVENTS, PRINCIPAL, events
from monitor.rulebook import load_rules
from monitor.settings import load_settings
from tests.observe.test_alerts import ALERTS

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]


def test_images_are_pinned_and_ours_are_built():
    for service in SERVICES.values():
        name, _, tag = service["image"].rpartition(":")
        assert name
        assert re.fullmatch(r"v?\d+\.\d+\.\d+|local(-demo)?", tag), service["image"]
        assert ("build" in service) == name.startswith("access-monitor")


def test_nothing_listens_beyond_this_machine():
    for service in SERVICES.values():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")


def test_every_file_that_is_mounted_is_there():
    for name, service in SERVICES.items():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), f"{name}: {source}"
                assert volume.endswith(":ro")
            else:
                assert source in COMPOSE["volumes"]


def test_servers_have_health_checks_and_ours_may_write_nothing():
    for name in ("kafka", "worker", "authz", "prometheus", "alertmanager", "grafana"):
        assert SERVICES[name]["healthcheck"]["test"]
    for name, service in SERVICES.items():
        if service["image"].startswith("access-monitor"):
            assert service["read_only"], name
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= SERVICES.keys()


def test_the_settings_of_compose_are_settings():
    settings = load_settings(DEPLOY / "compose" / "monitor.yaml", check_files=False)
    assert settings.observe.alertmanagers == ["http://alertmanager:9093"]
    assert settings.response.mode == "shadow"


def test_prometheus_in_compose_differs_by_its_targets_only():
    ours = (DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    composed = (DEPLOY / "compose" / "prometheus.yml").read_text(encoding="utf-8")
    targets = re.compile(r"\[\"[\w.]+:(\d+)\"\]")
    assert targets.sub(r"\1", ours) == targets.sub(r"\1", composed)


def test_the_image_runs_as_nobody_special():
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert text.rstrip().endswith("FROM monitor")
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["10001:10001"]
    for base in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
        assert ":" in base or base in {"build", "monitor"}
    assert text.count("--require-hashes") >= 3


def test_the_canary_exceeds_its_rule_and_the_alert_knows_it():
    rules = load_rules([DEPLOY / "canary.yml"]).rule_set.rules
    (rule,) = rules
    assert (rule.mode, rule.threshold, rule.axis) == ("shadow", EVENTS, "principal")
    (alert,) = [alert for alert in ALERTS if alert["alert"] == "AccessMonitorCanaryMissing"]
    assert rule.id in alert["expr"]
    made = events("gate", 1_772_359_200_250)
    assert len({event["time"] for event in made}) == EVENTS
    assert made[-1]["time"] - made[0]["time"] < rule.timespan_ms
    assert {event["principal"] for event in made} == {PRINCIPAL}
    assert not {"patient", "patients", "object"} & {field for event in made for field in event}
