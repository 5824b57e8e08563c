"""What the dashboards ask Prometheus, read from the JSON that Grafana gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "grafana" / "dashboards"
FILES: Final = sorted(FOLDER.glob("*.json"))


def load(path: Path) -> dict[str, Any]:
    """Return a dashboard."""
    board: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return board


def expressions() -> dict[str, str]:
    """Return "dashboard / panel / query" → PromQL, of all panels and annotations."""
    found = {}
    for path in FILES:
        board = load(path)
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                found[f"{path.stem} / {panel['title']} / {target['refId']}"] = target["expr"]
        for annotation in board["annotations"]["list"]:
            found[f"{path.stem} / annotation {annotation['name']}"] = annotation["expr"]
    return found
