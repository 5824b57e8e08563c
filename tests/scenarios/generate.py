"""Writes the scenario folders: ``python -m tests.scenarios.generate``. What is expected is reasoned, not run."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.scenarios import stories_of_people, stories_of_time

if TYPE_CHECKING:
    from tests.scenarios.telling import Document, Story

FOLDER = Path(__file__).parent


def document(title: str, **parts: Any) -> str:
    """Return one rule; JSON is YAML too."""
    identity = uuid.uuid5(uuid.NAMESPACE_URL, f"scenario:{title}")
    lines = [f"title: {title}", f"id: {identity}"]
    lines += [f"{key}: {json.dumps(value)}" for key, value in parts.items()]
    return "\n".join(lines) + "\n"


def rules_text(story: Story, documents: list[Document]) -> str:
    comment = "".join(f"# {line}\n" for line in story.why.strip().splitlines())
    return comment + "---\n".join(document(title, **parts) for title, parts in documents)


def write(story: Story, into: Path = FOLDER) -> None:
    """Write the folder of a story."""
    folder = into / story.name
    folder.mkdir(exist_ok=True)
    (folder / "rules.yml").write_text(rules_text(story, story.rules), encoding="utf-8")
    for name, documents in story.later_rules.items():
        (folder / name).write_text(rules_text(story, documents), encoding="utf-8")
    for name, lines in (("events.jsonl", story.lines), ("expected.jsonl", story.expected)):
        (folder / name).write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    for each in stories_of_people.STORIES + stories_of_time.STORIES:
        write(each)
