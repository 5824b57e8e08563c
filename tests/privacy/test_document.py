"""docs/privacy.md: its commands run, its tables name what there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Final

from click.testing import CliRunner

from monitor.cli import cli
from monitor.observe.metrics import Metrics
from monitor.settings.loading import setting_paths
from monitor.settings.models import OWN_TOPICS

DOCUMENT: Final = Path(__file__).parents[2].joinpath("docs", "privacy.md").read_text(encoding="utf-8")
#: Those that need a broker: tests/integration/test_lookup.py runs them.
ELSEWHERE: Final = ("pseudonym", "match")


def commands(*names: str) -> list[str]:
    """Return the lines of the document that run `monitor NAME`, without `monitor`."""
    found = re.findall(r"^\$ monitor (.+)$", DOCUMENT, re.MULTILINE)
    return [line for line in found if line.split()[0] in names]


def test_the_key_commands_run_in_their_order(tmp_path: Path):
    run = CliRunner()
    with run.isolated_filesystem(tmp_path):
        for line in commands("keys"):
            if line.startswith("keys remove"):
                # Its key is the one that counts until the new one begins.
                assert "only older ones can go" in str(run.invoke(cli, shlex.split(line)).exception)
                continue
            done = run.invoke(cli, shlex.split(line))
            assert done.exit_code == 0, (line, done.output, done.exception)
        assert {path.name for path in Path.cwd().iterdir()} == {
            "monitor.keys",
            "monitor.handles",
            "authz.keys",
        }
        assert run.invoke(cli, ["keys", "handles", "monitor.keys", "monitor.handles"]).exit_code == 0


def test_every_command_is_run_somewhere():
    lines = re.findall(r"^\$ monitor (.+)$", DOCUMENT, re.MULTILINE)
    assert len(commands("keys", *ELSEWHERE)) == len(lines) >= 9


def test_the_table_of_flows_has_every_topic():
    rows = re.findall(r"^\| `([a-z]+)` \|", DOCUMENT, re.MULTILINE)
    assert set(rows) == OWN_TOPICS


def test_metrics_settings_and_files_that_it_names_exist():
    metrics = {described.name for described in Metrics().catalogue}
    named = set(re.findall(r"access_monitor_[a-z_]+", DOCUMENT))
    assert named
    assert named <= metrics
    settings = set(setting_paths())
    for name in re.findall(r"`((?:privacy|response)\.[a-z_]+)[`:]", DOCUMENT):
        assert any(path.startswith(name) for path in settings), name
    root = Path(__file__).parents[2]
    for path in re.findall(r"`((?:tests|docs|deploy)/[\w./]+)`", DOCUMENT):
        assert (root / path).exists(), path
    for path in re.findall(r"\]\(([\w./-]+)\)", DOCUMENT):
        assert (root / "docs" / path).exists(), path
