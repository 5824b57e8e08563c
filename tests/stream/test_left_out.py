"""A routed record that ends processes while it is decoded is left out, and what it covers stays covered."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import AsyncMock, MagicMock

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.events import RowsRecord, SourceId
from monitor.engine import packed
from monitor.errors import InvariantError
from monitor.observe.metrics import Metrics
from monitor.stream import detect
from monitor.stream.careful import Tries
from monitor.stream.chunks import Chunk, Partition
from monitor.stream.detect import DetectPartition
from monitor.wire import routed
from monitor.wire.positions import PositionNote
from monitor.wire.routed_head import covered
from tests.core.samples import EVENTS, event, rule, rules_record
from tests.rig.configuration import settings_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from monitor.stream.partition import OpenPartition

NOW = 1_772_359_200_000
OFFSETS = st.integers(0, (1 << 64) - 1)
TEXTS = st.text(max_size=300)


class EndError(BaseException):
    """The process ends."""


@given(
    source=st.builds(SourceId, TEXTS, TEXTS, TEXTS, st.integers(0, 1 << 31)),
    first=OFFSETS,
    last=OFFSETS,
    resume=st.booleans(),
    former=st.booleans(),
)
def test_what_a_record_covers_is_read_without_its_rows(
    source: SourceId, first: int, last: int, resume: bool, former: bool
) -> None:
    names = {"gw/p": ["gw/q"]} if former else None
    value = routed.encode_rows(source, first, last, [event(last, NOW)], resume=resume, former=names)
    whole = routed.decode(value, "here")
    assert isinstance(whole, RowsRecord)
    assert covered(value, "here") == RowsRecord(whole.source, first, last, resume, ())


def test_a_rule_set_covers_nothing() -> None:
    assert covered(routed.encode_rules(rules_record([rule("many", threshold=2)])), "here") is None


@given(value=st.binary(max_size=40))
def test_what_is_not_ours_is_said_to_be_so(value: bytes) -> None:
    try:
        covered(value, "routed-0 offset 3")
    except InvariantError as error:
        assert "routed-0 offset 3" in str(error)  # noqa: PT017 - some bytes do begin as ours


def record(offset: int, value: bytes) -> Any:
    return SimpleNamespace(
        topic="c.routed", partition=0, offset=offset, timestamp=NOW, value=value, headers=()
    )


def ending_at(fatal: bytes, decode: Callable[..., Any]) -> Callable[..., Any]:
    """Return what decodes as `decode` does, and ends the process at a value."""

    def ending(value: bytes | None, place: str) -> Any:
        if value == fatal:
            raise EndError
        return decode(value, place)

    return ending


@pytest.mark.parametrize("kind", ["rows", "rules"])
async def test_a_record_that_ends_processes_while_it_is_decoded_is_left_out_after_six_of_them(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(tmp_path, broker="embedded", bootstrap="127.0.0.1:1", prefix="c.")
    many = rule("many", threshold=3)
    log = [
        record(0, routed.encode_rules(rules_record([many]))),
        record(1, routed.encode_rows(EVENTS, 0, 0, [event(0, NOW)], resume=True)),
        record(2, routed.encode_rows(EVENTS, 1, 4, [event(2, NOW), event(4, NOW)], resume=False)),
        record(3, routed.encode_rows(EVENTS, 5, 6, [event(5, NOW), event(6, NOW)], resume=False)),
    ]
    if kind == "rules":
        log[2] = record(2, routed.encode_rules(rules_record([rule("other", threshold=1)], 2)))
        log[3] = record(3, routed.encode_rows(EVENTS, 1, 6, [event(5, NOW), event(6, NOW)], resume=False))

    # What takes many records at once leaves rows packed where the native store is there.
    monkeypatch.setattr(detect, "decode", ending_at(log[2].value, packed.decode))
    monkeypatch.setattr(routed, "decode", ending_at(log[2].value, routed.decode))
    note, sent = PositionNote(partitions=1), MagicMock(room=AsyncMock())

    async def live() -> None:
        """Run one process from the beginning of the log: nothing but its notes becomes durable."""
        senders = cast("Any", SimpleNamespace(findings=sent, evidence=sent, rejected=sent))
        part = DetectPartition(Partition("c.routed", 0), 0, settings, Metrics(), senders)
        part.note = note

        async def commit_note(partition: OpenPartition) -> None:
            nonlocal note
            # A flush that comes now commits nothing that is not applied.
            assert (part._position if part._taking else part.continuity.next) <= part._applied + 1
            note = partition.note

        await Tries(part, commit_note, AsyncMock()).take(Chunk(0, 4, log))

    ended = 0
    sent.reset_mock()
    while True:
        try:
            await live()
        except EndError:
            ended += 1
            assert ended <= 6
            sent.reset_mock()
        else:
            break
    assert ended == 6
    said = [orjson.loads(call.args[1]) for call in sent.put.call_args_list]
    [letter] = [one for one in said if "reason" in one]
    assert letter["reason"] == "fatal"
    if kind == "rows":
        assert letter["source"] == {"topic": EVENTS.topic, "partition": EVENTS.partition, "offset": 4}
        assert "offsets 1 to 4" in letter["detail"]
    else:
        assert letter["source"] == {"topic": "c.routed", "partition": 0, "offset": 2}
    # What comes after it joins what it covers, and counts; the rule set before stays in force.
    [found] = [one for one in said if one.get("kind") == "finding"]
    assert (found["rule"]["id"], found["value"]) == ("many", 3)
