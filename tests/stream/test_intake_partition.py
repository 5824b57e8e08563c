"""Intake covers its offsets: whatever the chunks, detect applies each row once and in order."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from monitor.core.coverage import Marks
from monitor.core.events import OFFSET, RowsRecord, SourceId
from monitor.intake.batch import pieces_of
from monitor.observe.metrics import Metrics
from monitor.stream import intake
from monitor.stream.chunks import Chunk, Partition
from monitor.stream.intake import IntakePartition
from monitor.wire import routed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.core.events import Row
    from monitor.intake.batch import Piece
    from monitor.stream.sender import Delivery

SOURCE = SourceId("cluster", "id", "gate", 0)
METRICS = Metrics()


class Log:
    """Stands for the routed topic and its sender: it keeps what was put, and acknowledges at once."""

    def __init__(self) -> None:
        self.records: dict[int, list[RowsRecord]] = {}

    def put(self, partition: int, value: bytes, _delivery: Delivery, *, headers: object = ()) -> None:
        del headers
        record = routed.decode(value, "routed")
        assert isinstance(record, RowsRecord)
        self.records.setdefault(partition, []).append(record)

    async def room(self) -> None:
        pass


class Outlet:
    def __init__(self, log: Log) -> None:
        self.routed: Any = log
        self.rejected: Any = log
        self.metrics = METRICS


class Reader(IntakePartition):
    """Makes of each record as many rows as its value says, spread over partitions."""

    def rows(self, records: Sequence[Any], targets: dict[int, list[Piece]], delivery: Delivery) -> None:
        del delivery
        for record in records:
            own: dict[int, list[Row]] = {}
            for number, partition in enumerate(record.value):
                own.setdefault(partition, []).append([record.offset, 0, "axis", str(number), 0])
            for partition, rows in own.items():
                targets.setdefault(partition, []).extend(pieces_of(partition, rows))


class Record:
    def __init__(self, offset: int, value: list[int]) -> None:
        self.offset = offset
        self.value = value


@given(
    spread=st.lists(st.lists(st.integers(0, 2), max_size=4), min_size=1, max_size=40),
    chunks=st.lists(st.integers(1, 9), min_size=1, max_size=20),
    restarts=st.sets(st.integers(0, 20), max_size=4),
    largest=st.sampled_from([60, 200, 512_000]),
    together=st.sampled_from([1, 3, 2_000]),
)
async def test_each_row_is_applied_once_and_in_order(
    spread: list[list[int]], chunks: list[int], restarts: set[int], largest: int, together: int
):
    before = intake.ROUTED_BYTES, intake.ROUTED_ROWS
    intake.ROUTED_BYTES, intake.ROUTED_ROWS = largest, together
    try:
        log = await run(spread, chunks, restarts)
    finally:
        intake.ROUTED_BYTES, intake.ROUTED_ROWS = before
    for partition in range(3):
        marks = Marks()
        applied: list[int] = []
        for record in log.records.get(partition, []):
            assert record.first <= record.rows[0][OFFSET]
            assert record.rows[-1][OFFSET] <= record.last
            prior = marks.admit(record)
            assert prior is not None, "nothing was lost, so there is no hole"
            applied += [row[OFFSET] for row in record.rows if row[OFFSET] > prior]
        expected = [
            offset for offset, targets in enumerate(spread) for target in targets if target == partition
        ]
        assert applied == expected


async def run(spread: list[list[int]], chunks: list[int], restarts: set[int]) -> Log:
    """Send everything; at each restart a new reader goes on from what an older one committed."""
    log = Log()
    outlet: Any = Outlet(log)
    committed = deque([0], maxlen=3)
    reader = Reader(Partition("gate", 0), 0, SOURCE, outlet)
    at, turn = 0, 0
    while at < len(spread):
        if turn in restarts:
            at = committed[0]  # not the newest commit: the last ones did not get through
            committed.clear()
            committed.append(at)
            reader = Reader(Partition("gate", 0), at, SOURCE, outlet)
        end = min(len(spread), at + chunks[turn % len(chunks)])
        records: Any = [Record(offset, spread[offset]) for offset in range(at, end)]
        await reader.take(reader.continuity.admit(Chunk(at, end, records)))
        position = await reader.flush(final=True)
        assert position == end
        committed.append(end)
        at, turn = end, turn + 1
    return log
