"""The dashboards: up to date, of Grafana's own form, about metrics that exist, no panel without a question."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from monitor.observe.metrics import Metrics
from tests.observe import dashboards
from tests.observe.test_alerts import ALERTS, RECORDED, metrics_of

if TYPE_CHECKING:
    from pathlib import Path

#: What the Prometheus plugin reads of an annotation; Grafana's schema leaves it to the plugin.
ANNOTATION_FIELDS: Final = tuple(f"{name}: unknown" for name in ("expr", "step", "titleFormat", "textFormat"))


def everything() -> list[str]:
    return [
        *dashboards.expressions().values(),
        *(rule["expr"] for rule in (*ALERTS, *RECORDED)),
    ]


def test_the_json_is_what_the_code_writes():
    script = "import json, build\nprint(json.dumps(build.render()))\n"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=dashboards.ROOT / "grafana",
        capture_output=True,
        text=True,
        check=True,
    )
    written = {path.name: path.read_text(encoding="utf-8") for path in dashboards.FILES}
    assert yaml.safe_load(done.stdout) == written, "run: python grafana/build.py"


@pytest.mark.parametrize("path", dashboards.FILES, ids=lambda path: path.stem)
def test_a_dashboard_is_of_grafanas_own_form(path: Path):
    """What Grafana's schema does not know is lost in its model: then it comes back different."""
    board = dashboards.load(path)
    again = yaml.safe_load(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(board)))
    lost = [line for line in differences(board, again, path.stem) if not line.endswith(ANNOTATION_FIELDS)]
    assert lost == []


def differences(ours: Any, theirs: Any, place: str) -> list[str]:
    """Return where something of ours is missing or different in theirs; what they add is fine."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [
            line
            for name, value in ours.items()
            for line in (
                differences(value, theirs[name], f"{place}.{name}")
                if name in theirs
                else ([] if value is None else [f"{place}.{name}: unknown"])
            )
        ]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [
            line
            for number, pair in enumerate(zip(ours, theirs, strict=True))
            for line in differences(*pair, f"{place}[{number}]")
        ]
    return [] if ours == theirs else [f"{place}: {ours!r} became {theirs!r}"]


@pytest.mark.parametrize("path", dashboards.FILES, ids=lambda path: path.stem)
def test_panels_say_what_they_show_and_do_not_overlap(path: Path):
    board = dashboards.load(path)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["type"] == "text" or (panel["description"] and panel["targets"])
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    assert board["annotations"]["list"][0]["expr"]


def test_every_metric_that_is_asked_for_is_in_the_catalogue():
    known = {described.name for described in Metrics().catalogue}
    for expression in everything():
        assert metrics_of(expression) <= known, expression


def test_provisioning_names_what_the_dashboards_ask_for():
    folder = dashboards.ROOT / "grafana" / "provisioning"
    source = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text(encoding="utf-8"))
    (prometheus,) = source["datasources"]
    for path in dashboards.FILES:
        (variable, *_) = dashboards.load(path)["templating"]["list"]
        assert variable["current"]["value"] == prometheus["uid"]
    provider = yaml.safe_load((folder / "dashboards" / "access-monitor.yaml").read_text(encoding="utf-8"))
    assert provider["providers"][0]["options"]["path"] == "/etc/grafana/dashboards"
