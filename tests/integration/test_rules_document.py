"""docs/rules.md, "Roll it out": what it says to type works on an installation that runs."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import pytest

from tests.rulebook.rules_document import commands_of, save_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.stack import Stack

EXPORTS = "One credential exports documents of many patients"


@pytest.mark.parametrize("broker", ["embedded"])
def test_a_rule_is_rolled_out_and_back_as_the_page_says(new_stack: Callable[..., Stack], tmp_path: Path):
    save_files(tmp_path)
    own = tmp_path / "rules" / "exports.yml"
    written = own.read_text(encoding="utf-8")
    base, correlation = written.split("---\n")
    own.write_text(f"{base}---\n{correlation.replace('gte: 20', 'gte: 50')}", encoding="utf-8")
    stack = new_stack(rules={"paths": ["rules"]}, credentials={"directory_file": "credentials.yml"})
    assert stack.run("init", "--from", "earliest").returncode == 0
    stack.worker()
    own.write_text(written, encoding="utf-8")

    said = {}
    for command in commands_of("Roll it out"):
        done = stack.run(*shlex.split(command)[1:])
        # Like diff(1): 1 says that there is a difference.
        assert done.returncode == (1 if command.endswith("diff") else 0), done.stderr
        said[command.split()[2]] = done.stdout + done.stderr

    assert list(said) == ["diff", "publish", "list", "history", "rollback"]
    assert EXPORTS in said["diff"]
    assert "One credential" in said["list"]  # the table breaks its title into lines
    assert "Exports are limited" in said["history"]
    newest, *_ = [json.loads(line) for line in stack.run("rules", "history", "--json").stdout.splitlines()]
    assert newest["reason"] == "Too many false positives"
    shown = stack.run("rules", "show", "0f6d1c3b-7f8e-4a3e-9a0e-2b6a54c0d102").stdout
    assert "gte: 50" in shown
