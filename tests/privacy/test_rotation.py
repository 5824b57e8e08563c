"""The file, the rows and the bytes of a rotation of pseudonym keys."""

from __future__ import annotations

import stat
import time
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from monitor.cli import cli
from monitor.core.events import AXIS, CLIENT_IP, OBJECT, PATIENTS, SUBJECT, RowsRecord, SourceId
from monitor.core.rules import AllOf, Rule, RuleSet
from monitor.errors import ConfigurationError
from monitor.intake.event import Event
from monitor.intake.key_files import add_epoch, remove_epoch, write_new_keys
from monitor.intake.keys import Epoch, Keys, load_keys
from monitor.intake.pseudonym import Pseudonyms, phase_at
from monitor.intake.rows import EventRouter, Former
from monitor.rulebook import compile_pattern
from monitor.wire import routed

if TYPE_CHECKING:
    from pathlib import Path

HOUR_MS = 3_600_000
NOW_MS = 1_800_000_000_000
OLD, NEW = Epoch("k1", b"p" * 32), Epoch("k2", b"q" * 32, NOW_MS)
KEYS = Keys(bytes(range(32)), (NEW, OLD))
EVENT = Event(
    NOW_MS,
    "r",
    200,
    principal="partner",
    principal_kind="api_key",
    object="o-1",
    patients=(("p-1", None), ("p-2", None)),
    client_ip="192.0.2.7",
)
SOURCE = SourceId("cluster", "topic-id", "topic", 0)


def router(now_ms: int) -> EventRouter:
    rules = [
        Rule(axis, axis, "event_count", AllOf(()), (axis,), HOUR_MS, 1000)
        for axis in ("principal", "patient", "object", "client_ip")
    ]
    phase = phase_at(KEYS.epochs, now_ms, 3 * HOUR_MS)
    return EventRouter(RuleSet(tuple(rules)), KEYS, 4, compile_pattern, phase)


@pytest.mark.parametrize(
    ("at_ms", "names", "others"),
    [
        (NOW_MS - HOUR_MS, "k1", []),
        (NOW_MS - 60_000, "k1", ["k2"]),
        (NOW_MS, "k2", ["k1"]),
        (NOW_MS + 3 * HOUR_MS - 1, "k2", ["k1"]),
        (NOW_MS + 3 * HOUR_MS, "k2", []),
    ],
)
def test_rows_are_named_by_one_key_and_say_what_others_call_them(at_ms: int, names: str, others: list[str]):
    former: Former = {}
    rows = [row for _, row in router(at_ms).route((EVENT,), 5, former)]
    assert {row[AXIS] for row in rows} == {"principal", "patient", "object", "client_ip"}
    by_id = {epoch.id: Pseudonyms(epoch) for epoch in KEYS.epochs}
    mine = by_id[names]
    for row in rows:
        assert {patient for patient, _ in row[PATIENTS]} <= {mine.patient("p-1"), mine.patient("p-2")}
        assert (row[OBJECT], row[CLIENT_IP]) == (mine.object("o-1"), mine.client_ip("192.0.2.7"))
    for kind, raw in (("patient", "p-1"), ("patient", "p-2"), ("object", "o-1"), ("client_ip", "192.0.2.7")):
        assert former[getattr(mine, kind)(raw)] == [getattr(by_id[other], kind)(raw) for other in others]


def test_a_new_key_moves_no_subject_to_another_partition():
    before, after = (router(at).route((EVENT,), 5) for at in (NOW_MS - HOUR_MS, NOW_MS + HOUR_MS))
    assert [partition for partition, _ in before] == [partition for partition, _ in after]
    assert [row[SUBJECT] for _, row in before] != [row[SUBJECT] for _, row in after]


def test_a_record_bears_the_other_names_of_its_own_rows_alone():
    former: Former = {}
    rows = [row for _, row in router(NOW_MS).route((EVENT,), 5, former)]
    elsewhere = {"k2:" + "0" * 24: ["k1:" + "1" * 24]}
    value = routed.encode_rows(SOURCE, 5, 5, rows, resume=True, former={**former, **elsewhere})
    read = routed.decode(value, "here")
    assert isinstance(read, RowsRecord)
    assert read.former == former
    plain = routed.encode_rows(SOURCE, 5, 5, rows, resume=True)
    assert routed.encode_rows(SOURCE, 5, 5, rows, resume=True, former=elsewhere) == plain


def test_a_file_takes_keys_and_gives_up_old_ones(tmp_path: Path):
    path = tmp_path / "monitor.keys"
    write_new_keys(path)
    first = load_keys(path).epochs[0]
    assert add_epoch(path, NOW_MS) == "k2"
    keys = load_keys(path)
    assert [(epoch.id, epoch.begins_ms) for epoch in keys.epochs] == [("k1", 0), ("k2", NOW_MS)]
    assert keys.epochs[0] == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(ConfigurationError, match="begins later"):
        add_epoch(path, NOW_MS - 1)
    with pytest.raises(ConfigurationError, match="counts by"):
        remove_epoch(path, "k1", NOW_MS - 1)
    with pytest.raises(ConfigurationError, match="no pseudonym key"):
        remove_epoch(path, "k9", NOW_MS)
    remove_epoch(path, "k1", NOW_MS)
    assert [epoch.id for epoch in load_keys(path).epochs] == ["k2"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_of_the_version_before_is_read_and_rotated(tmp_path: Path):
    path = tmp_path / "monitor.keys"
    key = "cHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHA="
    path.touch(0o600)
    path.write_text(f'{{"version":1,"routing":"{key}","pseudonym":{{"id":"k1","key":"{key}"}}}}')
    before = load_keys(path)
    assert before.epochs == (Epoch("k1", b"p" * 32),)
    add_epoch(path, NOW_MS)
    after = load_keys(path)
    assert after.epochs[0] == before.epochs[0]
    assert after.partition("principal", "a/b", 8) == before.partition("principal", "a/b", 8)


def test_the_commands_say_what_goes_on(tmp_path: Path):
    path, run = tmp_path / "monitor.keys", CliRunner().invoke
    assert run(cli, ["keys", "new", str(path)]).exit_code == 0
    done = run(cli, ["keys", "rotate", str(path), "--in", "20m"])
    assert "added key k2" in done.output
    shown = run(cli, ["keys", "show", str(path)]).output
    assert "k1\tcounted by, since the start" in shown
    assert "k2\tbegins " in shown
    refused = run(cli, ["keys", "remove", str(path), "k1", "--yes"]).exception
    assert isinstance(refused, ConfigurationError)
    keys = load_keys(path)
    assert not any(epoch.key.hex() in shown for epoch in keys.epochs)


def test_a_rotation_under_way_is_shown_loudly(tmp_path: Path):
    path, run = tmp_path / "monitor.keys", CliRunner().invoke
    write_new_keys(path)
    add_epoch(path, int(time.time() * 1000) - 1)
    shown = run(cli, ["keys", "show", str(path)]).output
    assert "ROTATION" in shown
    assert "k1\tkept to look up: k2 took its place" in shown


def test_a_key_cannot_begin_before_it_is_everywhere(tmp_path: Path):
    path = tmp_path / "monitor.keys"
    write_new_keys(path)
    refused = CliRunner().invoke(cli, ["keys", "rotate", str(path), "--in", "1m"]).exception
    assert isinstance(refused, ConfigurationError)
    assert len(load_keys(path).epochs) == 1
