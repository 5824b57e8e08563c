"""docs/rules.md is true: its rules load, and its lists are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from monitor.core.events import FIELDS
from monitor.rulebook import load_rules
from monitor.rulebook.detections import MODIFIERS

TEXT = (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


def test_every_example_loads_beside_the_pack(tmp_path: Path) -> None:
    documents = [example for example in EXAMPLES if example.startswith("title:")]
    assert len(documents) == 3
    path = tmp_path / "docs.yml"
    path.write_text("---\n".join(documents), encoding="utf-8")
    loaded = load_rules(["pack:default", path])
    (rule,) = [rule for rule in loaded.rule_set.rules if "exports documents" in rule.title]
    assert (rule.threshold, rule.timespan_ms, rule.action) == (20, 3_600_000, "suspend")


def test_every_response_example_is_one(tmp_path: Path) -> None:
    (response,) = [example for example in EXAMPLES if example.startswith("response:")]
    (correlation,) = [text for text in EXAMPLES[0].split("---\n") if "correlation:" in text]
    changed = re.sub(r"response:\n(  .*\n)+", response, correlation)
    path = tmp_path / "docs.yml"
    path.write_text(f"{EXAMPLES[0].split('---')[0]}---\n{changed}", encoding="utf-8")
    (rule,) = load_rules([path]).rule_set.rules
    assert (rule.mode, rule.ttl_ms) == ("enforce", 86_400_000)


def test_the_lists_are_complete() -> None:
    base = TEXT.split("## Base rules")[1].split("## Correlations")[0]
    named = set(re.findall(r"`(\w+)`", base))
    assert set(FIELDS) <= named
    assert set(MODIFIERS) - {"ignorecase", "multiline", "dotall"} <= named
