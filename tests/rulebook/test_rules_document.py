"""docs/rules.md is true: what it says to save is read, what it says to type works, its lists are the code's."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from monitor.core.events import DEFAULT_CLASSES, FIELDS
from monitor.observe.metrics import Metrics
from monitor.rulebook import load_rules
from monitor.rulebook.correlations import MAX_THRESHOLD
from monitor.rulebook.detections import MODIFIERS
from monitor.rulebook.directory import load_directory
from tests.rulebook.rules_document import EXAMPLES, TEXT, commands_of, save_files

if TYPE_CHECKING:
    from pathlib import Path

    from monitor.errors import Fault


def _recorded() -> str:
    """Return a day of exports: many by partner-1, few by others."""
    begin = datetime(2026, 3, 2, 8, tzinfo=UTC)
    events = [(begin + timedelta(minutes=number), "partner-1", number) for number in range(30)]
    events += [(begin + timedelta(hours=number), f"partner-{number}", number) for number in range(2, 10)]
    return "".join(
        json.dumps(
            {
                "time": time.isoformat(),
                "status": 200,
                "principal": principal,
                "authenticated": True,
                "route": "/documents/export",
                "patient": f"p-{number}",
            }
        )
        + "\n"
        for time, principal, number in events
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the files that the page says to save, and a recording."""
    save_files(tmp_path)
    (tmp_path / "history.jsonl").write_text(_recorded(), encoding="utf-8")
    return tmp_path


#: What each command must show; a command of the page without an entry here fails.
SHOWN = {
    "check rules/exports.yml": "1 rule",
    "list rules/exports.yml": "One credential exports documents of many patients",
    "show 0f6d1c3b-7f8e-4a3e-9a0e-2b6a54c0d102 rules/exports.yml": "20 different",
    "test rules/exports.yml": "4 passed",
    "test rules --junit results.xml": "4 passed",
    "tune --rules rules/exports.yml history.jsonl": "partner-1",
    "backtest --rules rules/exports.yml history.jsonl": "partner-1 read 20 different patients",
}


@pytest.mark.parametrize("heading", ["Check it", "Test it", "Tune it on your own history"])
def test_what_the_page_says_to_type_works(heading: str, folder: Path):
    commands = commands_of(heading)
    assert commands
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(command)],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        key = command.removeprefix("monitor ").removeprefix("rules ")
        assert SHOWN[key] in done.stdout + done.stderr


def test_the_results_of_tests_are_written_where_the_page_says(folder: Path):
    (command,) = [command for command in commands_of("Test it") if "--junit" in command]
    subprocess.run([sys.executable, "-m", *shlex.split(command)], cwd=folder, check=True, timeout=120)
    assert 'tests="4"' in (folder / "results.xml").read_text(encoding="utf-8")


def test_every_example_loads_beside_the_pack(folder: Path):
    path = folder / "docs.yml"
    path.write_text(
        "---\n".join(example for example in EXAMPLES if example.startswith("title:")), encoding="utf-8"
    )
    rules = {rule.title: rule for rule in load_rules(["pack:default", path]).rule_set.rules}
    exports = rules["One credential exports documents of many patients"]
    assert (exports.threshold, exports.timespan_ms, exports.action) == (20, 3_600_000, "suspend")
    assert rules["One credential takes many records out"].kind == "value_sum"
    assert rules["One credential opens or exports a lot"].aliases


def test_every_response_example_is_one(tmp_path: Path):
    (response,) = [example for example in EXAMPLES if example.startswith("response:")]
    base, correlation = EXAMPLES[0].split("---\n")
    changed = re.sub(r"response:\n(  .*\n)+", response, correlation)
    path = tmp_path / "docs.yml"
    path.write_text(f"{base}---\n{changed}", encoding="utf-8")
    (rule,) = load_rules([path]).rule_set.rules
    assert (rule.mode, rule.ttl_ms) == ("enforce", 86_400_000)


def test_the_directory_is_one(folder: Path):
    faults: list[Fault] = []
    classes = load_directory(folder / "credentials.yml", faults).classes
    assert (faults, classes["clinic-api/sync-1"]) == ([], "bulk-sync")


def test_the_lists_are_complete():
    base = TEXT.split("## Base rules")[1].split("## Correlations")[0]
    named = set(re.findall(r"`(\w+)`", base))
    assert set(FIELDS) <= named
    assert set(MODIFIERS) - {"ignorecase", "multiline", "dotall"} <= named
    assert set(DEFAULT_CLASSES.values()) <= named
    assert f"1 to {MAX_THRESHOLD:,}" in TEXT


def test_the_metrics_exist():
    known = {metric.name for metric in Metrics().registry.collect()}
    for name in re.findall(r"`(access_monitor_\w+)`", TEXT):
        assert name.removesuffix("_total") in known
