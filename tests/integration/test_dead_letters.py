"""Dead letters: floods are limited, good records go on, a replay counts once, poison stays poison."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from monitor.core.events import AXIS, AXIS_PRINCIPAL, KIND, RowKind, RowsRecord
from monitor.intake.refusals import BURST
from monitor.wire import routed
from tests.integration.stack import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.stack import Process, Stack

OWN = """\
name: own
title: Our own gateway
ids: none
ids_note: it makes none of them
authenticated: always
authenticated_note: it logs nobody else
inbound_identity: it strips them all
events: either
fields:
  time: {path: at, as: epoch_ms}
  status: STATUS
  principal: who
  patients: patient
"""


@pytest.fixture
def broker() -> str:
    """Return the broker without Java: what differs between brokers is not what is tested here."""
    return "embedded"


SECRET = "SECRET-OF-A-PATIENT"


def event(patient: str, **fields: Any) -> dict[str, Any]:
    return {"at": 1_772_359_200_250, "code": 200, "who": "partner-1", "patient": patient} | fields


def counted(stack: Stack) -> int:
    """How many rows of credentials stand in `routed`."""
    rows = 0
    for partition in range(stack.settings.kafka.partitions):
        for record in stack.records("routed", partition):
            entry = routed.decode(record.value, "routed")
            if isinstance(entry, RowsRecord):
                rows += sum(
                    1 for row in entry.rows if row[KIND] == RowKind.EVENT and row[AXIS] == AXIS_PRINCIPAL
                )
    return rows


def total(worker: Process, name: str, *labels: str) -> float:
    return math.fsum(
        float(line.rpartition(" ")[2])
        for line in worker.metrics().splitlines()
        if line.startswith(f"access_monitor_{name}{{") and all(label in line for label in labels)
    )


def read(worker: Process, number: int) -> None:
    """Wait until so many records were read, whatever came of them."""
    wait_for(lambda: total(worker, "events_total") >= number, worker)


def installed(new_stack: Callable[..., Stack], folder: Path, **sections: Any) -> Stack:
    path = folder / "own.yaml"
    path.write_text(OWN.replace("STATUS", "status"), encoding="utf-8")
    sources = [{"name": "gate", "topic": "TOPIC", "realm": "gate", "format": "own"}]
    stack = new_stack(formats=[str(path)], **sections)
    config = json.loads(stack.config.read_text(encoding="utf-8"))
    topic = config["sources"][0]["topic"]
    config["sources"] = [{**sources[0], "topic": topic}]
    stack.config.write_text(json.dumps(config), encoding="utf-8")
    done = stack.run("init", "--from", "earliest")
    assert done.returncode == 0, done.stderr
    return stack


def letters(stack: Stack, *options: str) -> list[dict[str, Any]]:
    done = stack.run("rejected", "list", "--json", "-n", "5000", *options)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_was_rejected_enters_again_once_its_format_is_mended(
    new_stack: Callable[..., Stack], tmp_path: Path
) -> None:
    stack = installed(new_stack, tmp_path)
    worker = stack.worker()
    # A batch of which one can be read; three that cannot for now; one that never can.
    batch = [event("p-1", status=200), event(SECRET), event("p-2", status=201)]
    stack.ship(
        [orjson.dumps(batch).decode(), *(json.dumps(event(f"p-{n}")) for n in (3, 4)), '{"at": SECRET']
    )
    read(worker, 4)
    assert worker.terminate() == 0
    found = letters(stack)
    assert sorted(letter["reason"] for letter in found) == ["missing", "missing", "missing", "not_json"]
    assert [letter["place"].count("/") for letter in found if letter["reason"] == "missing"].count(3) == 1
    assert counted(stack) == 2

    # The format was wrong: the gateway writes `code`.
    (tmp_path / "own.yaml").write_text(OWN.replace("STATUS", "[status, code]"), encoding="utf-8")
    planned = stack.run("rejected", "replay", "--all", "--dry-run")
    assert planned.stdout.count("letter ") == 4
    done = stack.run("rejected", "replay", "--all")
    assert done.returncode == 0, done.stderr
    assert "4 sent to" in done.stderr
    worker = stack.worker()
    read(worker, 4)
    assert worker.terminate() == 0
    assert counted(stack) == 5, "the two of the batch that were read before do not count again"

    # Nothing is sent twice; what cannot be read stays where it is.
    again = stack.run("rejected", "replay", "--all")
    assert "0 sent to" in again.stderr
    assert "4 were sent again before" in again.stderr
    poison = [letter for letter in letters(stack) if letter["reason"] == "not_json"]
    assert [letter["format"] for letter in poison] == ["own", "replay"]
    assert stack.run("rejected", "replay", str(poison[1]["letter"])).returncode == 1

    for command in (("list",), ("list", "--each"), ("show", str(found[0]["letter"]))):
        shown = stack.run("rejected", *command)
        assert shown.returncode == 0, shown.stderr
        assert SECRET not in shown.stdout + shown.stderr
    shown = stack.run("rejected", "show", "--payload", str(poison[0]["letter"]))
    assert '{"at": SECRET' in shown.stdout
    everything = b"".join(record.value or b"" for record in stack.records("rejected"))
    assert b"SECRET" not in everything


def test_a_flood_is_sampled_and_counted_and_stops_no_good_record(
    new_stack: Callable[..., Stack], tmp_path: Path
) -> None:
    stack = installed(new_stack, tmp_path)
    bad = 8 * BURST
    good = 200
    lines = [json.dumps(event("p")) for _ in range(bad)]
    for number in range(good):
        lines.insert(number * 37, json.dumps(event(f"p-{number}", status=200)))
    stack.ship(lines)
    worker = stack.worker()
    read(worker, bad + good)
    rejected = total(worker, "rejected_total", 'reason="missing"')
    withheld = total(worker, "rejected_withheld_total", 'reason="missing"')
    assert worker.terminate() == 0
    kept = len(stack.records("rejected"))
    assert rejected == bad
    assert kept + withheld == bad
    assert BURST <= kept < bad
    assert counted(stack) == good


def test_a_kept_record_is_sent_from_its_letter(new_stack: Callable[..., Stack], tmp_path: Path) -> None:
    keys = str(tmp_path / "privacy.keys")
    stack = installed(new_stack, tmp_path, privacy={"key_file": keys, "keep_rejected_payload": True})
    worker = stack.worker()
    stack.ship([event("p-1\x1b[2J")])
    read(worker, 1)
    assert worker.terminate() == 0
    (letter,) = letters(stack)
    assert letter["payload_kept"]
    shown = stack.run("rejected", "show", "--payload", str(letter["letter"])).stdout
    assert "kept     yes" in shown
    assert re.search(r"p-1\\u001b\[2J", shown)
    for arguments in ((), ("7", "--all"), ("99999",)):
        assert stack.run("rejected", "replay", *arguments).returncode in {2, 78}
