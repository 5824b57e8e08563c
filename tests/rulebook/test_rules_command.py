"""`monitor rules` says what rules are, or all that is wrong with them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from click.testing import CliRunner

from monitor.cli.rules import command
from monitor.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


def test_check_of_sound_rules() -> None:
    result = CliRunner().invoke(command, ["check", "pack:default"])
    assert result.exit_code == 0
    assert result.output.startswith("4 rules in 2 files, revision ")
    answer = json.loads(CliRunner().invoke(command, ["check", "--json", "pack:default"]).output)
    assert (answer["ok"], answer["rules"], answer["faults"]) == (True, 4, [])


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
    assert len(lines) == 5
    assert "50 different patients per principal in 10m" in lines[1]


def test_list_as_json() -> None:
    lines = CliRunner().invoke(command, ["list", "pack:default", "--json"]).output.splitlines()
    assert [json.loads(line)["action"] for line in lines] == ["suspend", "suspend", "alert", "alert"]
