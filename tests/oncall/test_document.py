"""docs/observability.md says what there is."""

from __future__ import annotations

from tests.observe.document import PAGE, render


def test_the_tables_are_those_of_the_catalogue_and_the_alerts():
    text = PAGE.read_text(encoding="utf-8")
    assert render(text) == text, "run: python -m tests.observe.document"
