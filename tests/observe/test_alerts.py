"""The alerts that we ship: each fires when it should, is silent when it should not, and says what to do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from monitor.observe.metrics import Metrics

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy" / "prometheus"
#: Alerts of which there is nothing that silences them.
NEVER_SILENT: Final = {"AccessMonitorDeadMansSwitch"}
#: Series that Prometheus or its client makes, not our catalogue.
OTHERS: Final = {"process_start_time_seconds"}


def rules_of(name: str) -> list[dict[str, Any]]:
    plain = yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))
    return [rule for group in plain["groups"] for rule in group["rules"]]


ALERTS: Final = rules_of("alerts.yml")
RECORDED: Final = rules_of("recording.yml")
CASES: Final = yaml.safe_load(Path(__file__).with_name("alerts.yml").read_text(encoding="utf-8"))


def metrics_of(expression: str) -> set[str]:
    """Return our metrics that an expression reads; those of a histogram by the histogram's name."""
    names = re.findall(r"\baccess_monitor_[a-z_]+", expression)
    known = {described.name for described in Metrics().catalogue}
    return {re.sub(r"_(bucket|count|sum)$", "", name) if name not in known else name for name in names}


@pytest.mark.parametrize("rule", [*ALERTS, *RECORDED], ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_is_about_metrics_and_labels_that_exist(rule: dict[str, Any]):
    known = {described.name: described.labels for described in Metrics().catalogue}
    names = metrics_of(rule["expr"])
    assert names <= known.keys()
    recorded = set(re.findall(r"\baccess_monitor:[a-z0-9_:]+", rule["expr"]))
    assert recorded <= {record["record"] for record in RECORDED}
    labels = {label for name in names for label in known[name]} | {"le", "instance", "job"}
    for grouped in re.findall(r"by \(([\w, ]+)\)", rule["expr"]):
        assert set(grouped.split(", ")) <= labels
    assert set(re.findall(r'(\w+)[=!]~?"', rule["expr"])) <= labels


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_who_is_called_what_it_means_and_where_to_read_on(rule: dict[str, Any]):
    assert rule["alert"].startswith("AccessMonitor")
    assert rule["labels"]["severity"] in {"critical", "warning", "info", "none"}
    assert rule["labels"]["team"] in {"security", "privacy"}
    assert {"summary", "description", "runbook_url"} == set(rule["annotations"])
    page = ROOT / rule["annotations"]["runbook_url"].partition("#")[0]
    assert page.is_file()


def test_nobody_is_paged_about_a_patient():
    for rule in ALERTS:
        if rule["labels"]["team"] == "privacy":
            assert rule["labels"]["severity"] != "critical"
        assert not {"patient", "credential", "principal"} & set(re.findall(r"\$labels\.(\w+)", str(rule)))


def test_every_alert_has_series_that_fire_it_and_series_that_do_not():
    assert {rule["alert"] for rule in ALERTS} == CASES.keys()
    for name, cases in CASES.items():
        assert "fires" in cases
        assert ("silent" in cases) == (name not in NEVER_SILENT)


def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("promtool is not here: run `make debian`")
        pytest.skip("promtool is not here: run `make debian`")
    return found


def test_promtool_accepts_the_rules():
    done = subprocess.run(
        [promtool(), "check", "rules", str(DEPLOY / "alerts.yml"), str(DEPLOY / "recording.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_when_it_should_and_is_silent_when_it_should_not(tmp_path: Path):
    tests = []
    for name, cases in CASES.items():
        for kind, case in cases.items():
            tests.append(promtool_test(name, case, fires=kind.startswith("fires")))
    document = {
        "rule_files": [str(DEPLOY / "recording.yml"), str(DEPLOY / "alerts.yml")],
        "evaluation_interval": "1m",
        "tests": tests,
    }
    path = tmp_path / "alerts.test.yml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    done = subprocess.run(
        [promtool(), "test", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def promtool_test(name: str, case: dict[str, Any], *, fires: bool) -> dict[str, Any]:
    """Return promtool's form of a case: how many such alerts fire then, with the labels asked for."""
    labels = "".join(f',{label}="{value}"' for label, value in case.get("labels", {}).items())
    firing = f'sum(ALERTS{{alertname="{name}",alertstate="firing"{labels}}})'
    return {
        "name": f"{name} {'fires' if fires else 'is silent'}",
        "interval": "1m",
        "input_series": [
            {"series": series, "values": str(values)} for series, values in case["series"].items()
        ],
        "promql_expr_test": [
            {
                "expr": firing,
                "eval_time": case["at"],
                "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
            }
        ],
    }
