"""Writes the tables of docs/observability.md from the catalogue and the alerts: ``python -m tests.observe.document``."""

from __future__ import annotations

import re
from typing import Final

from monitor.observe.metrics import Metrics
from tests.observe.ad_hoc import AD_HOC
from tests.observe.test_alerts import ALERTS, ROOT

PAGE: Final = ROOT / "docs" / "observability.md"
_ROLES: Final = {
    "every": "Every process",
    "worker": "Every worker",
    "intake": "intake",
    "detect": "detect",
    "enforce": "enforce",
    "authz": "monitor authz",
}


def metrics_table() -> str:
    """Return all metrics, by role."""
    lines = ["| Metric | Type | Labels | Meaning |", "|---|---|---|---|"]
    for role, title in _ROLES.items():
        lines.append(f"| **{title}** | | | |")
        for metric in Metrics().catalogue:
            if metric.role == role:
                labels = ", ".join(f"`{label}`" for label in metric.labels)
                hint = f" *Ad hoc: {AD_HOC[metric.name]}.*" if metric.name in AD_HOC else ""
                lines.append(f"| `{metric.name}` | {metric.type} | {labels} | {metric.help}{hint} |")
    return "\n".join(lines)


def alerts_table() -> str:
    """Return all alerts with their pages."""
    lines = ["| Alert | Severity | Team | After | Says |", "|---|---|---|---|---|"]
    for rule in ALERTS:
        page = rule["annotations"]["runbook_url"].removeprefix("docs/")
        summary = re.sub(r"\{\{[^}]*\}\}", "…", rule["annotations"]["summary"].strip()).replace("|", "\\|")
        lines.append(
            f"| [{rule['alert']}]({page}) | {rule['labels']['severity']} | {rule['labels']['team']}"
            f" | {rule.get('for', 'at once')} | {summary} |"
        )
    return "\n".join(lines)


def render(text: str) -> str:
    """Return the page with its tables made anew."""
    for name, table in (("metrics", metrics_table()), ("alerts", alerts_table())):
        begin, end = f"<!-- {name}: generated -->", f"<!-- {name}: end -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n\n{table}\n\n{end}{after}"
    return text


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
