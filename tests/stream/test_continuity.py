"""Records are taken in order, each once, whatever is delivered again; a hole is never passed over."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import InvariantError
from monitor.stream.chunks import Chunk, Partition
from monitor.stream.partition import Continuity

TP = Partition("topic", 0)


class Record:
    def __init__(self, offset: int) -> None:
        self.offset = offset


def log_of(gaps: list[int]) -> list[int]:
    """Return offsets with gaps between them, as markers of transactions and compaction leave them."""
    offsets, at = [], 0
    for gap in gaps:
        at += gap
        offsets.append(at)
        at += 1
    return offsets


@given(
    gaps=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    steps=st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=30),
)
def test_whatever_is_delivered_again_is_taken_once_and_in_order(
    gaps: list[int], steps: list[tuple[int, bool]]
):
    offsets = log_of(gaps)
    end = offsets[-1] + 1
    continuity = Continuity(TP, 0)
    taken: list[int] = []
    position = 0
    for length, back in [*steps, (end, False), (end, False)]:
        if back:
            position = max(0, position - length)  # Faust seeks back to the committed position
        after = min(end, position + length)
        records: Any = [Record(offset) for offset in offsets if position <= offset < after]
        taken += [record.offset for record in continuity.admit(Chunk(position, after, records))]
        position = after
    assert taken == offsets


def test_a_hole_stops_the_worker_with_its_place():
    continuity = Continuity(TP, 5)
    records: Any = [Record(7)]
    with pytest.raises(InvariantError, match="topic-0: records 5 to 6 were not delivered"):
        continuity.admit(Chunk(7, 8, records))
