"""The credential directory gives credentials their class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from monitor.errors import ConfigurationError
from monitor.rulebook import load_rules

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """\
credentials:
  - {realm: gateway, id: sync-1, class: bulk-sync, owner: Integration team, name: Nightly, phone: "+49 0"}
  - realm: gateway
    id: booking
    class: partner
"""


def test_classes_are_by_credential_and_part_of_what_the_rules_mean(tmp_path: Path):
    path = tmp_path / "credentials.yaml"
    path.write_text(TEXT, encoding="utf-8")
    loaded = load_rules(["pack:default"], path)
    assert loaded.rule_set.classes == {"gateway/sync-1": "bulk-sync", "gateway/booking": "partner"}
    assert loaded.rule_set.revision != load_rules(["pack:default"]).rule_set.revision
    # Names and telephone numbers of people stay in the file.
    assert "Nightly" not in str(loaded.texts)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            ("class: partner", "clas: partner"),
            "credentials.yaml:5 document 1 credentials[1].clas: 'clas' is not a key",
        ),
        (("class: partner", "class: Partner!"), "credentials[1].class: expected small letters"),
        (("id: booking", "id: sync-1"), "credentials[1].id: this credential stands there twice"),
        (("id: booking", "id: 5"), "credentials[1].id: expected a text"),
        (("realm: gateway\n", "realm: a/b\n"), "credentials[1].realm: expected 1 to 64 letters"),
        (("    id: booking\n", ""), "credentials[1].id: missing"),
        (("credentials:", "credential:"), "expected one key, credentials, with a list"),
        (("  - realm", "  - 5\n  - realm"), "credentials[1]: expected a mapping"),
    ],
)
def test_each_fault_names_its_place(tmp_path: Path, change: tuple[str, str], expected: str):
    path = tmp_path / "credentials.yaml"
    assert change[0] in TEXT
    path.write_text(TEXT.replace(*change), encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load_rules(["pack:default"], path)
    assert expected in "\n".join(f"{fault.where}: {fault.problem}" for fault in caught.value.faults)


def test_a_directory_that_is_not_there_is_a_fault(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_rules(["pack:default"], tmp_path / "gone.yaml")
