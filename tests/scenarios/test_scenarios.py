"""Each folder here is a story: its rules say what it shows, and what is found is exactly as expected."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.scenarios import stories_of_people, stories_of_time
from tests.scenarios.generate import write
from tests.scenarios.running import Play

FOLDERS = sorted(path.parent for path in Path(__file__).parent.glob("*/rules.yml"))


def test_there_are_enough_scenarios_and_each_says_what_it_shows():
    assert len(FOLDERS) >= 20
    for folder in FOLDERS:
        assert (folder / "rules.yml").read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
@pytest.mark.parametrize("partitions", [1, 3, 8])
def test_what_is_found_is_what_the_story_says(folder: Path, partitions: int):
    lines = (folder / "expected.jsonl").read_bytes().splitlines()
    expected = sorted((msgspec.json.decode(line) for line in lines), key=msgspec.json.encode)
    assert Play(folder, partitions, seed=partitions).run() == expected


def test_the_folders_are_what_the_stories_tell(tmp_path: Path):
    told = stories_of_people.STORIES + stories_of_time.STORIES
    assert sorted(folder.name for folder in FOLDERS) == sorted(story.name for story in told)
    for story in told:
        write(story, tmp_path)
        for path in (tmp_path / story.name).iterdir():
            assert path.read_bytes() == (Path(__file__).parent / story.name / path.name).read_bytes()
