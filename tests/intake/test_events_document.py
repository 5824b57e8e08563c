"""docs/events.md is true: its examples decode, its table is complete, its reasons are all there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from monitor.intake.canonical import _Record
from monitor.intake.formats import FORMATS

TEXT = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_an_event_of_a_credential(example: str) -> None:
    (event,) = FORMATS["canonical"].decoder("envoy")(example.encode())
    assert event.principal == "partner-17"


def test_the_table_names_every_field() -> None:
    fields = TEXT.split("## Fields")[1].split("## Who counts")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", fields, re.MULTILINE)) == set(_Record.__struct_fields__)
