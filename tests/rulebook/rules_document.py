"""docs/rules.md, taken apart: its files, its examples, the commands under each heading."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

TEXT: Final = (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")
EXAMPLES: Final[list[str]] = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


def save_files(folder: Path) -> None:
    """Save what the page says to save, where it says so."""
    found = re.findall(r"Save this as `([^`]+)`.*?```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert [name for name, _ in found] == ["rules/exports.yml", "rules/exports.test.yml", "credentials.yml"]
    for name, content in found:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")


def commands_of(heading: str) -> list[str]:
    """Return the commands under a heading, in order."""
    section = TEXT.split(f"## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
