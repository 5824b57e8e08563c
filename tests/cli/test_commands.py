"""The command line: each command has its help, wrong use is said, secrets are masked."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from monitor.cli import COMMANDS
from monitor.errors import ExitCode
from monitor.rulebook import load_rules
from tests.rig.configuration import write_settings

if TYPE_CHECKING:
    from pathlib import Path


def monitor(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the product's command line."""
    return subprocess.run(
        [sys.executable, "-m", "monitor", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_help_lists_every_command():
    said = monitor("--help").stdout
    assert all(f"\n  {name} " in said for name in COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_has_help(name: str):
    done = monitor(name, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: monitor {name}")
    assert len(done.stdout) > 100


def test_wrong_use_is_exit_code_2():
    assert monitor("nonsense").returncode == ExitCode.USAGE
    assert monitor("worker", "--roles", "cook").returncode == ExitCode.USAGE
    assert monitor("authz", "--listen", "nowhere").returncode == ExitCode.USAGE


def test_config_check_reports_all_and_says_what_mode_means(tmp_path: Path):
    path = write_settings(tmp_path, broker="cluster", bootstrap="127.0.0.1:1", prefix="x.")
    done = monitor("config", "check", "-c", str(path))
    assert done.returncode == 0, done.stderr
    rules = len(load_rules(["pack:default"]).rule_set.rules)
    assert f"1 source(s), {rules} rules, response.mode shadow" in done.stdout
    assert "no credential is refused" in done.stdout
    broken = tmp_path / "broken.yaml"
    broken.write_text("kafka: {bogus: 1}\nsource: []\n")
    done = monitor("config", "check", "-c", str(broken))
    assert done.returncode == ExitCode.CONFIG
    assert "kafka.bogus" in done.stderr
    assert "sources: is required" in done.stderr


def test_config_show_masks_secrets_and_names_origins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kafka = {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_username": "u",
        "sasl_password": "s3cret",
    }
    path = write_settings(tmp_path, broker="cluster", bootstrap="127.0.0.1:1", prefix="x.", kafka=kafka)
    monkeypatch.setenv("MONITOR_RESPONSE__MODE", "enforce")
    done = monitor("config", "show", "-c", str(path))
    assert done.returncode == 0, done.stderr
    assert "s3cret" not in done.stdout + done.stderr
    assert 'sasl_password: "********"  # monitor.yaml' in done.stdout
    assert 'mode: "enforce"  # environment MONITOR_RESPONSE__MODE' in done.stdout
    assert '\n  max_age: "15m"\n' in done.stdout


def test_no_help_shows_the_mark_of_a_paragraph():
    from click import Context, Group

    from monitor.cli import cli

    def texts(group: Group, context: Context) -> list[str]:
        found = []
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            inner = Context(command, parent=context, info_name=name)
            found.append(command.get_help(inner))
            found += texts(command, inner) if isinstance(command, Group) else []
        return found

    helps = texts(cli, Context(cli, info_name="monitor"))
    assert len(helps) > 40
    assert not [text for text in helps if "\\b" in text or "\b" in text]
