"""Where a role goes on, and when it must not: positions are checked against the topic that they are of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from monitor.core.coverage import Marks
from monitor.core.events import RowsRecord, SourceId
from monitor.errors import ConfigurationError, InvariantError
from monitor.stream.beginnings import Beginnings
from monitor.stream.chunks import Partition
from monitor.wire.positions import PositionNote, decode_note, encode_note

if TYPE_CHECKING:
    from monitor.stream.gaps import Gap

TP = Partition("gate", 2)


class Thread:
    def __init__(self, committed: dict[int, tuple[int, str]], bounds: tuple[int, int]) -> None:
        self._committed, self._bounds = committed, bounds

    async def committed(self, topic: str, count: int) -> dict[int, tuple[int, str]]:
        return {number: found for number, found in self._committed.items() if number < count}

    async def bounds(self, tp: Partition) -> tuple[int, int]:
        return self._bounds


class App:
    group = "intake"

    def __init__(self, thread: Thread) -> None:
        self.thread = thread


class Met:
    """Keeps the gaps that were met; the policy is to go on."""

    def __init__(self) -> None:
        self.gaps: list[Gap] = []

    async def met(self, gap: Gap) -> None:
        self.gaps.append(gap)


async def begin(
    committed: dict[int, tuple[int, str]], bounds: tuple[int, int], met: Met | None = None
) -> tuple[int, PositionNote]:
    app: Any = App(Thread(committed, bounds))
    gaps: Any = met
    return await Beginnings(app, {"gate": "id-2"}, gaps).of(TP)


def note(topic_id: str | None = "id-2", partitions: int = 3, **fields: Any) -> str:
    return encode_note(PositionNote(topic_id=topic_id, partitions=partitions, **fields))


async def test_a_position_goes_on_where_it_is_of_this_topic():
    assert await begin({2: (7, note())}, (0, 9)) == (7, PositionNote(topic_id="id-2", partitions=3))


async def test_a_position_that_a_person_set_with_kafkas_tools_is_taken():
    assert await begin({2: (7, "")}, (0, 9)) == (7, PositionNote(topic_id="id-2"))


async def test_a_topic_that_was_made_again_is_refused_although_the_position_would_fit():
    with pytest.raises(ConfigurationError, match="monitor init --adopt gate"):
        await begin({2: (7, note("id-1"))}, (0, 9))


async def test_a_position_beyond_the_end_is_refused():
    with pytest.raises(ConfigurationError, match="goes on at 10, but the topic ends at 9"):
        await begin({2: (10, note())}, (0, 9))


async def test_a_partition_that_was_added_begins_at_its_first_record():
    position, found = await begin({0: (5, note(partitions=2)), 1: (5, note(partitions=2))}, (0, 9))
    assert (position, found.partitions) == (0, 2)


@pytest.mark.parametrize(
    "committed",
    [{}, {0: (5, ""), 1: (5, "")}, {0: (5, note()), 1: (5, note())}],
    ids=["new", "tools", "expired"],
)
async def test_a_partition_that_had_a_position_once_is_never_guessed(committed: dict[int, tuple[int, str]]):
    with pytest.raises(ConfigurationError, match="monitor init --from earliest"):
        await begin(committed, (0, 9))


async def test_records_that_retention_took_are_a_gap_with_its_range():
    met = Met()
    position, found = await begin({2: (3, note())}, (5, 9), met)
    assert [(gap.partition, gap.first, gap.last) for gap in met.gaps] == [(2, 3, 4)]
    assert (position, found.holes_below) == (5, 9)


def test_a_note_is_read_back_and_one_of_a_newer_version_is_refused():
    whole = PositionNote(topic_id="id", partitions=4, holes_below=9, tries=2, slice=16, trying=(7, 3))
    assert decode_note(encode_note(whole), "gate-0") == whole
    assert decode_note("set by hand", "gate-0") == PositionNote()
    with pytest.raises(InvariantError, match=r"gate-0.+version 2"):
        decode_note('{"v":2,"topic_id":"x"}', "gate-0")


def test_only_across_a_known_hole_is_a_record_taken():
    source = SourceId("c", "t", "gate", 0)
    marks = Marks()
    after_hole = RowsRecord(source, 5, 8, False, [])
    assert marks.admit(after_hole) is None
    assert marks.admit(after_hole, across_holes=True) == -1
    assert marks.mark(source) == 8
