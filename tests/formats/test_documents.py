"""Each format has a page; what a page says to type or to write is right."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from monitor.cli import cli
from monitor.intake.formats import FORMATS, Catalogue
from monitor.intake.routes import read_routes
from monitor.observe.metrics import Metrics
from monitor.settings.models import Settings, SourceSettings

DOCS = Path(__file__).parents[2] / "docs" / "formats"
PAGES = sorted(DOCS.glob("*.md"))
NAMES = [*(name for name in FORMATS if name != "canonical"), *(spec.name for spec in FORMATS.envelopes)]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_what_to_paste_what_to_check_and_which_traps_there_are(name: str) -> None:
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    for heading in ("## In monitor.yaml", "## Check", "## Traps"):
        assert f"\n{heading}\n" in text
    assert "## In the gateway" in text or "## In the shipper" in text
    assert f"({name}.md)" in (DOCS / "README.md").read_text(encoding="utf-8")
    (source,) = [
        one
        for block in blocks(DOCS / f"{name}.md", "yaml")
        if isinstance(plain := yaml.safe_load(block), dict)
        for one in plain.get("sources", ())
    ]
    settings = SourceSettings.model_validate(source)
    assert FORMATS[settings.format].name == settings.format
    assert name in settings.format.split("+")


def commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in blocks(page, "console"):
            found += [(page.name, line) for line in block.splitlines() if line.startswith("$ monitor ")]
    return found


@pytest.mark.parametrize(("page", "line"), commands())
def test_commands_on_pages_exist_with_their_options(page: str, line: str) -> None:
    words = line.partition("#")[0].split()[2:]
    found: Any = cli
    while isinstance(found, click.Group):
        found = found.get_command(click.Context(found), words.pop(0))
    assert isinstance(found, click.Command), (page, line)
    options = {option for parameter in found.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= options


def test_what_own_md_writes_is_a_format(tmp_path: Path) -> None:
    own, settings, extended = blocks(DOCS / "own.md", "yaml")
    (tmp_path / "own.yaml").write_text(own, encoding="utf-8")
    (tmp_path / "extended.yaml").write_text(extended, encoding="utf-8")
    found = Catalogue([tmp_path / "own.yaml", tmp_path / "extended.yaml"])
    assert {"own", "our-kong"} <= set(found)
    assert set(yaml.safe_load(settings)) <= set(Settings.model_fields)


def test_what_routes_md_writes_are_routes(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    for block in blocks(DOCS / "routes.md", "yaml"):
        plain = yaml.safe_load(block)
        if "sources" in plain:
            SourceSettings.model_validate(plain["sources"][0])
        else:
            path.write_text(block, encoding="utf-8")
            assert read_routes([path])


def test_json_on_pages_is_json_and_metrics_exist() -> None:
    known = {entry.name for entry in Metrics().catalogue}
    for page in PAGES:
        for block in blocks(page, "json"):
            json.loads(block)
        for name in re.findall(r"access_monitor_[a-z_]+_(?:total|seconds)", page.read_text(encoding="utf-8")):
            assert name in known, (page.name, name)


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), (page.name, target)
