"""A base rule and a correlation that are sound, and what loading texts gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from monitor.errors import ConfigurationError
from monitor.rulebook import load_rules

if TYPE_CHECKING:
    from pathlib import Path

    from monitor.core.rules import Rule, RuleSet

READ = """\
title: A read
id: 3c1d0aaa-2f5e-4f0a-8b8f-5a7c0a7d2e11
name: read
logsource: {product: access-monitor, category: api_access}
detection:
  reading: {method: GET}
  condition: reading
"""
EXPORT = """\
title: An export
id: 3c1d0aaa-2f5e-4f0a-8b8f-5a7c0a7d2e12
name: export
logsource: {product: access-monitor, category: api_access}
detection:
  exporting: {route: /export}
  condition: exporting
"""


def correlation(number: str = "2", title: str = "Many", **parts: str) -> str:
    """Return a correlation; `parts` are lines of its body, by key."""
    body = {
        "type": "value_count",
        "rules": "[read]",
        "group-by": "[principal]",
        "timespan": "10m",
        "condition": "{field: patient, gte: 50}",
    } | {key.replace("_", "-"): value for key, value in parts.items()}
    lines = "".join(f"  {key}: {value}\n" for key, value in body.items())
    return f"title: {title}\nid: 5e5a3daa-6f0b-4d6a-9c55-1f0e6b8a7c0{number}\ncorrelation:\n{lines}"


def load(folder: Path, *documents: str) -> RuleSet:
    """Return the rule set of some documents."""
    path = folder / "rules.yml"
    path.write_text("---\n".join(documents), encoding="utf-8")
    return load_rules([path]).rule_set


def load_one(folder: Path, *documents: str) -> Rule:
    """Return the one rule of some documents."""
    (rule,) = load(folder, *documents).rules
    return rule


def faults_of(folder: Path, *documents: str) -> list[str]:
    """Return the faults of some documents, as a person reads them."""
    with pytest.raises(ConfigurationError) as caught:
        load(folder, *documents)
    return [f"{fault.where}: {fault.problem} ({fault.remedy})" for fault in caught.value.faults]
