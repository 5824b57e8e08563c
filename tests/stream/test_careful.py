"""An event that ends the process is found and left out, and nothing else is lost or counted twice."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.coverage import Marks, pieces
from monitor.core.events import OFFSET, RowsRecord, SourceId
from monitor.stream.careful import MOST_TRIES, Tries, slices
from monitor.stream.chunks import Chunk, Partition
from monitor.stream.partition import OpenPartition
from monitor.wire.positions import PositionNote, past

if TYPE_CHECKING:
    from collections.abc import Sequence

TP = Partition("gate", 0)


class EndError(BaseException):
    """The process ends: nothing but what is durable is left."""


class Record:
    def __init__(self, offset: int) -> None:
        self.offset = offset


class Kafka:
    """What outlives a process: the position with its note, and what was made durable."""

    def __init__(self) -> None:
        self.position = 0
        self.note = PositionNote(partitions=1)
        self.done: list[int] = []
        self.left_out: list[int] = []


class Fragile(OpenPartition):
    """Ends the process at some offsets."""

    def __init__(self, kafka: Kafka, fatal: frozenset[int]) -> None:
        super().__init__(TP, kafka.position)
        self.note = kafka.note
        self._kafka, self._fatal = kafka, fatal
        self._held: list[int] = []

    async def open(self) -> None:
        pass

    async def take(self, records: Sequence[Any]) -> None:
        for record in records:
            if record.offset in self.left_out:
                self._kafka.left_out.append(record.offset)
                continue
            if record.offset in self._fatal:
                raise EndError
            self._held.append(record.offset)

    async def flush(self, *, final: bool) -> int | None:
        raise NotImplementedError

    async def close(self) -> None:
        pass

    async def make_durable(self) -> None:
        self._kafka.done += self._held
        self._held = []
        if self.continuity.next > self._kafka.position:
            self._kafka.position = self.committed = self.continuity.next
            self._kafka.note = self.note = past(self.note)

    async def commit_note(self, _partition: OpenPartition) -> None:
        self._kafka.note = self.note


async def live(kafka: Kafka, fatal: frozenset[int], offsets: list[int], chunk: int) -> bool:
    """Run one process to the end of the log; False where it ends before."""
    partition = Fragile(kafka, fatal)
    tries = Tries(partition, partition.commit_note, partition.make_durable)
    at = kafka.position
    try:
        while at <= offsets[-1]:
            records: Any = [Record(offset) for offset in offsets if offset >= at][:chunk]
            after = records[-1].offset + 1
            await tries.take(Chunk(at, after, records))
            at = after
            await partition.make_durable()
    except EndError:
        return False
    return True


@given(
    gaps=st.lists(st.integers(1, 3), min_size=1, max_size=150),
    fatal=st.sets(st.integers(0, 149), max_size=3),
    chunk=st.integers(1, 150),
)
async def test_what_ends_processes_is_left_out_after_seven_of_them_and_all_else_is_done_once(
    gaps: list[int], fatal: set[int], chunk: int
):
    offsets = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    ends = frozenset(offsets[n] for n in fatal if n < len(offsets))
    kafka = Kafka()
    ended = 0
    while not await live(kafka, ends, offsets, chunk):
        ended += 1
        assert ended <= 7 * len(ends)
    assert kafka.done == [offset for offset in offsets if offset not in ends]
    assert kafka.left_out == sorted(ends)
    assert kafka.note == PositionNote(partitions=1)


async def test_a_process_that_is_ended_from_outside_again_and_again_costs_no_event():
    kafka = Kafka()
    offsets = list(range(200))
    for _ in range(20):
        # Killed as soon as it took something, wherever that was.
        partition = Fragile(kafka, frozenset())
        tries = Tries(partition, partition.commit_note, partition.make_durable)
        records: Any = [Record(offset) for offset in offsets if offset >= kafka.position]
        for part in [*slices(Chunk(kafka.position, 200, records), 50)][:1]:
            await tries.take(part)
    assert kafka.left_out == []
    assert await live(kafka, frozenset(), offsets, 30)
    assert kafka.done == offsets


async def test_ends_for_another_reason_while_an_event_is_made_durable_cost_no_event():
    """Of ten processes nine are ended for another reason, six of them while an event was tried alone."""
    kafka = Kafka()
    offsets = list(range(200))
    for number in range(30):
        partition = Fragile(kafka, frozenset())

        async def flush(partition: Fragile = partition, *, lives: bool = number % 10 == 9) -> None:
            if not lives:
                raise EndError
            await partition.make_durable()

        tries = Tries(partition, partition.commit_note, flush)
        records: Any = [Record(offset) for offset in offsets if offset >= kafka.position]
        with suppress(EndError):
            await tries.take(Chunk(kafka.position, kafka.position + 1, records[:1]))
    assert kafka.left_out == []
    assert kafka.done


async def test_an_idle_opening_leaves_no_note():
    kafka = Kafka()
    for _ in range(2 * MOST_TRIES):
        partition = Fragile(kafka, frozenset())
        Tries(partition, partition.commit_note, partition.make_durable)
    assert kafka.note == PositionNote(partitions=1)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=40), st.integers(1, 10))
def test_slices_join_and_hold_every_record(gaps: list[int], size: int):
    offsets = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    records: Any = [Record(offset) for offset in offsets]
    parts = list(slices(Chunk(0, offsets[-1] + 5, records), size))
    assert [record.offset for part in parts for record in part.records] == offsets
    assert (parts[0].start, parts[-1].next) == (0, offsets[-1] + 5)
    assert all(one.next == two.start for one, two in pairwise(parts))


@pytest.mark.parametrize("resume", [True, False])
@given(counts=st.lists(st.integers(0, 3), max_size=12))
def test_pieces_of_a_routed_record_cover_what_it_covers(resume: bool, counts: list[int]):
    source = SourceId("c", "t", "gate", 0)
    rows: Any = [(10 + offset, 0, n) for offset, count in enumerate(counts) for n in range(count)]
    record = RowsRecord(source, 8, 10 + len(counts), resume, rows)
    marks = Marks()
    if not resume:
        marks.restore([1, [["c", "t", "gate", 0, 7]]])
    seen = []
    for piece in pieces(record):
        prior = marks.admit(piece)
        assert prior is not None
        seen += [row for row in piece.rows if row[OFFSET] > prior]
        assert len({row[OFFSET] for row in piece.rows}) <= 1
    assert seen == rows
    assert marks.mark(source) == record.last
