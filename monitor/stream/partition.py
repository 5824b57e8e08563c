"""One assigned partition of a role: records in order, each once, and when they become durable."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from monitor.errors import InvariantError
from monitor.wire.positions import WHOLE, PositionNote

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from monitor.stream.chunks import Chunk, Partition
    from monitor.stream.records import FetchedRecord


class Continuity:
    """Sees that records are taken in order, each once, and none is skipped.

    Redelivery is normal (Faust seeks back after each rebalance); a hole never is.
    """

    __slots__ = ("_place", "next")

    def __init__(self, tp: Partition, position: int) -> None:
        self._place = f"{tp.topic}-{tp.partition}"
        self.next = position

    def admit(self, chunk: Chunk) -> Sequence[FetchedRecord]:
        """Return the records of a chunk that were not taken before.

        Raises InvariantError where records between the last chunk and this one are missing.
        """
        if chunk.start > self.next:
            msg = (
                f"{self._place}: records {self.next} to {chunk.start - 1} were not delivered;"
                " the worker stops rather than skip them, and reads them again when it starts"
            )
            raise InvariantError(msg)
        records = chunk.records
        if chunk.start < self.next:
            records = [record for record in records if record.offset >= self.next]
        self.next = max(self.next, chunk.next)
        return records


class OpenPartition(ABC):
    """One assigned partition of a role: what it holds in memory, and how it becomes durable."""

    def __init__(self, tp: Partition, position: int) -> None:
        self.tp = tp
        self.continuity = Continuity(tp, position)
        #: Where the group goes on, as far as we committed it.
        self.committed = position
        #: What is committed beside the position.
        self.note = PositionNote()
        #: Offsets of records that end the process: dead letters.
        self.left_out: set[int] = set()
        #: Set when the partition is given up; work under way stops at its next pause.
        self.closed = False

    @abstractmethod
    async def open(self) -> None:
        """Make ready for the record at `committed`; called once, before any record."""

    @abstractmethod
    async def take(self, records: Sequence[FetchedRecord]) -> None:
        """Apply records, in order."""

    async def take_alone(
        self,
        record: FetchedRecord,
        fatal: int | None,
        trying: Callable[[int], Awaitable[None]],
    ) -> None:
        """Apply one record, event by event: `trying` notes each before it is begun (careful.py).

        Where `fatal` is given, a process ended while that event was tried (-1: the record): it is left out.
        """
        if fatal is None:
            await trying(WHOLE)
        else:
            self.left_out.add(record.offset)
        await self.take([record])

    @abstractmethod
    async def flush(self, *, final: bool) -> int | None:
        """Make durable what is due, all of it if `final`.

        Returns the position that may be committed, or None where there is nothing to commit.
        """

    @abstractmethod
    async def close(self) -> None:
        """Give up the partition; what is not durable is forgotten and will be read again."""

    async def drop(self) -> None:
        """Give up the partition as a crash would: begin nothing, wait for nothing."""
        await self.close()


class WorkClock:
    """Says when a flush is due: after so much work to repeat, or so much time."""

    __slots__ = ("_age_seconds", "_budget_seconds", "_since", "_worked")

    def __init__(self, *, budget_seconds: float, age_seconds: float) -> None:
        self._budget_seconds = budget_seconds
        self._age_seconds = age_seconds
        self.restart()

    def restart(self) -> None:
        """Begin anew: everything up to now is durable or about to be."""
        self._worked = 0.0
        self._since = time.monotonic()

    def worked(self, seconds: float) -> None:
        """Add work that a replay would repeat."""
        self._worked += seconds

    @property
    def due(self) -> bool:
        """Whether to flush now."""
        return self._worked >= self._budget_seconds or time.monotonic() - self._since >= self._age_seconds
