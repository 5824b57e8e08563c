"""Who is affected? By the commands of docs/privacy.md, over a rotation of keys, recorded in the ledger."""

from __future__ import annotations

import json
import shlex
import time
from typing import TYPE_CHECKING, Any

import pytest

from monitor.intake.key_files import add_epoch, write_new_keys
from tests.integration.stack import wait_for
from tests.integration.test_loop import LIMIT, event
from tests.privacy.test_document import commands

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.stack import Stack


@pytest.mark.timeout(300)
def test_the_patients_of_an_incident_are_found_by_those_who_hold_the_keys(
    new_stack: Callable[..., Stack], tmp_path: Path
):
    write_new_keys(tmp_path / "privacy.keys")
    add_epoch(tmp_path / "privacy.keys", int(time.time() * 1000) - 1_000)
    stack = new_stack()
    assert stack.run("init", "--from", "earliest").returncode == 0
    worker = stack.worker()
    stack.ship([event("partner-17", patient) for patient in range(LIMIT)])
    wait_for(lambda: stack.credential("gate/partner-17"), worker)
    ids = tmp_path / "patients.txt"
    ids.write_text("patient-3\npatient-900\n\npatient-4\npatient-3\n")

    def matched() -> dict[str, Any] | None:
        done = stack.run("match", "--ids", str(ids), "--incident", "INC-0001", "--reason", "x", "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found if found["whole"] else None

    found = wait_for(matched, worker)
    assert found["asked"] == 3
    assert [one["id"] for one in found["affected"]] == ["patient-3", "patient-4"]
    assert found["pseudonyms"] == LIMIT

    said = {}
    for line in commands("pseudonym", "match"):
        arguments = [str(ids) if part == "patients.txt" else part for part in shlex.split(line)]
        done = stack.run(*arguments)
        assert done.returncode == 0, done.stderr
        said[arguments[0], *arguments[2:3]] = done.stdout, done.stderr
    # By both keys, the newest first.
    (of_patient, _) = said["pseudonym", "patient-17"]
    assert [part.split(":")[0] for part in of_patient.strip().split("\t")] == ["patient-17", "k2", "k1"]
    (of_person, _) = said["pseudonym", "clinic-api/alice"]
    assert of_person.startswith("clinic-api/alice\tc1:")
    (match_out, match_err) = said["match", str(ids)]
    assert [line.split("\t")[0] for line in match_out.splitlines()] == ["patient-3", "patient-4"]
    assert "2 of 3 ids" in match_err

    wait_for(lambda: len(stack.decisions("looked_up")) >= 4, worker)
    entries = stack.decisions("looked_up")
    assert {entry["what"] for entry in entries} == {"pseudonym", "match"}
    assert all(entry["by"] and entry["reason"] for entry in entries)
    assert "patient-17" not in json.dumps(entries)

    unknown = stack.run("match", "--ids", str(ids), "--incident", "INC-9999", "--reason", "x")
    assert unknown.returncode == 78
    assert "does not know it" in unknown.stderr
