"""`monitor rules` says what rules are, or all that is wrong with them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from click.testing import CliRunner

from monitor.cli.rules import command
from monitor.errors import ConfigurationError
from monitor.rulebook import load_rules

if TYPE_CHECKING:
    from pathlib import Path

PACK = load_rules(["pack:default"])
RULES, FILES = len(PACK.rule_set.rules), len(PACK.texts)


def test_check_of_sound_rules() -> None:
    result = CliRunner().invoke(command, ["check", "pack:default"])
    assert result.exit_code == 0
    assert result.output.startswith(f"{RULES} rules in {FILES} files, revision ")
    answer = json.loads(CliRunner().invoke(command, ["check", "--json", "pack:default"]).output)
    assert (answer["ok"], answer["rules"], answer["faults"]) == (True, RULES, [])


def test_check_of_broken_rules(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_text("title: x\n", encoding="utf-8")
    result = CliRunner().invoke(command, ["check", str(path), str(tmp_path / "b.yml")])
    assert isinstance(result.exception, ConfigurationError), "the console command prints it, exit code 78"
    result = CliRunner().invoke(command, ["check", "--json", str(path), str(tmp_path / "b.yml")])
    assert result.exit_code == 78
    answer = json.loads(result.output)
    assert (answer["ok"], len(answer["faults"])) == (False, 3)
    assert answer["faults"][0]["where"].startswith(f"{path}:1 'x'")


def test_list_is_a_table_with_one_line_a_rule() -> None:
    lines = CliRunner().invoke(command, ["list", "pack:default"]).output.splitlines()
    assert len(lines) == RULES + 1
    assert any("150 different patients per principal in 10m" in line for line in lines)


def test_list_as_json() -> None:
    lines = CliRunner().invoke(command, ["list", "pack:default", "--json"]).output.splitlines()
    assert [json.loads(line)["action"] for line in lines] == [rule.action for rule in PACK.rule_set.rules]
