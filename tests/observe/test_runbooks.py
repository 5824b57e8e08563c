"""The pages that on-call reads: one for each alert, and commands that exist as they are typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Final

import click
import pytest
import yaml

from monitor.cli import cli
from monitor.observe.metrics import Metrics

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "docs" / "runbooks"
PAGES: Final = sorted(FOLDER.glob("*.md"))
HEADINGS: Final = ["What it means", "Is it contained?", "Look here", "Do this", "Undo"]
ALERTS: Final = [
    rule
    for group in yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))[
        "groups"
    ]
    for rule in group["rules"]
]


def test_each_alert_has_a_page_of_its_own_and_each_page_an_alert():
    named = {Path(rule["annotations"]["runbook_url"]).name for rule in ALERTS}
    assert named == {page.name for page in PAGES} - {"README.md"}
    assert len(named) == len(ALERTS)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.stem != "README"], ids=lambda page: page.stem
)
def test_a_page_says_what_it_means_whether_it_is_contained_and_what_to_do(page: Path):
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS
    assert any(f"# {rule['alert']}\n" in text for rule in ALERTS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_of_a_page_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def commands_of(page: Path) -> list[str]:
    """Return the commands of ours that a page names, in the text and in its blocks."""
    text = " ".join(page.read_text(encoding="utf-8").split())
    blocks = re.findall(r"^ *\$ (monitor .*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return blocks + re.findall(r"`(monitor [^`]+)`", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_exist_with_their_options(page: Path):
    for line in commands_of(page):
        check_command(line)


def check_command(line: str) -> None:
    """Fail where a command or an option does not exist; that nothing but arguments is missing is fine."""
    words = shlex.split(line)[1:]
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"{line}: there is no {name}"
        command = found
    if not words or isinstance(command, click.Group):
        return  # named, not typed
    try:
        with command.make_context(command.name or "", words, resilient_parsing=False):
            pass
    except click.exceptions.Exit:
        pass  # --help
    except click.MissingParameter as missing:
        message = f"{line}: {missing.format_message()}"
        raise AssertionError(message) from None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_metrics_of_a_page_exist(page: Path):
    known = {described.name for described in Metrics().catalogue}
    assert set(re.findall(r"\baccess_monitor_[a-z_]+", page.read_text(encoding="utf-8"))) <= known
