"""The alerts that we ship: about metrics that exist, and with words for who gets them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from monitor.observe.metrics import Metrics

ALERTS = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yml"
RULES = [
    rule for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_is_about_metrics_and_labels_that_exist(rule: dict[str, str]):
    known = {metric.name: metric for metric in Metrics().registry.collect()}
    names = re.findall(r"access_monitor_\w+", rule["expr"])
    assert names
    for name in names:
        assert name.removesuffix("_total") in known
    for label in re.findall(r"by \((\w+)\)", rule["expr"]):
        catalogue = Metrics()
        (metric,) = [getattr(catalogue, name.removeprefix("access_monitor_")) for name in names]
        assert label in metric._labelnames


def test_an_alert_says_what_to_do():
    for rule in RULES:
        assert {"summary", "description"} <= set(rule["annotations"])
