"""What the roles share: partitions that open, take chunks in order, flush, commit and close."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from monitor.errors import InvariantError
from monitor.stream.chunks import Chunk, Partition, RoleApp
from monitor.stream.fatal import guarded
from monitor.stream.sender import plain_producer
from monitor.stream.steps import reached

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiokafka import AIOKafkaProducer
    from aiokafka.structs import ConsumerRecord

    from monitor.settings import Settings

log = structlog.get_logger(__name__)

#: Longest time a flush may take while the group waits for it to give partitions up, in seconds.
REVOCATION_SECONDS = 5.0


class Continuity:
    """Sees that records are taken in order, each once, and none is skipped.

    Redelivery is normal (Faust seeks back after each rebalance); a hole never is.
    """

    __slots__ = ("_place", "next")

    def __init__(self, tp: Partition, position: int) -> None:
        self._place = f"{tp.topic}-{tp.partition}"
        self.next = position

    def admit(self, chunk: Chunk) -> Sequence[ConsumerRecord]:
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
        #: Set when the partition is given up; work under way stops at its next pause.
        self.closed = False

    @abstractmethod
    async def open(self) -> None:
        """Make ready for the record at `committed`; called once, before any record."""

    @abstractmethod
    async def take(self, records: Sequence[ConsumerRecord]) -> None:
        """Apply records, in order."""

    @abstractmethod
    async def flush(self, *, final: bool) -> int | None:
        """Make durable what is due, all of it if `final`.

        Returns the position that may be committed, or None where there is nothing to commit.
        """

    @abstractmethod
    async def close(self) -> None:
        """Give up the partition; what is not durable is forgotten and will be read again."""


@dataclass(eq=False, slots=True)
class _Slot:
    """The place of one assigned partition: its opening, and the partition once that is done."""

    opening: asyncio.Task[None] | None = None
    partition: OpenPartition | None = None


class Role(ABC):
    """One role on one cluster: a Faust app whose agent hands chunks to open partitions."""

    #: Seconds between two looks at what is due.
    tick_seconds = 0.25

    def __init__(
        self, app: RoleApp, topics: Sequence[str], on_fatal: Callable[[BaseException], None]
    ) -> None:
        self.app = app
        self.topics = tuple(topics)
        self.on_fatal = on_fatal
        self._slots: dict[Partition, _Slot] = {}
        self._assigned = False
        #: Whether a chunk is being applied (or waits for its partition to open) right now.
        self.busy = False
        self._ticker: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._flushing = asyncio.Lock()
        app.agent(app.chunks_of(*topics), name=f"{app.group}-agent")(self._agent)
        app.on_partitions_assigned.connect(self._on_assigned)  # type: ignore[arg-type]
        app.on_partitions_revoked.connect(self._on_revoked)

    @abstractmethod
    def new_partition(self, tp: Partition, position: int) -> OpenPartition:
        """Return the partition object for a newly assigned partition."""

    @property
    def ready(self) -> bool:
        """Whether the group has given us our share and all of it is open."""
        return self._assigned and all(slot.partition for slot in self._slots.values())

    @property
    def partitions(self) -> list[OpenPartition]:
        """The partitions that are open."""
        return [slot.partition for slot in self._slots.values() if slot.partition is not None]

    async def start(self) -> None:
        """Join the group and begin."""
        await self.app.start()
        self._ticker = asyncio.create_task(guarded(self._tick, self.on_fatal))

    async def stop(self) -> None:
        """Flush, commit and leave the group."""
        self._stopping.set()
        if self._ticker is not None:
            await self._ticker
        for tp in list(self._slots):
            await self._give_up(tp)
        await self.app.stop()

    async def _agent(self, stream: Any) -> None:
        async for event in stream.events():
            # Faust would restart a failed agent and go on after the record that failed.
            self.busy = True
            await guarded(partial(self._take, event.message.tp, event.value), self.on_fatal)
            self.busy = False

    async def _take(self, tp: Any, chunk: Chunk) -> None:
        tp = Partition(tp.topic, tp.partition)
        slot = self._slots.get(tp)
        if slot is None:
            return  # given up meanwhile; whoever owns it now reads it again
        if slot.partition is None and slot.opening is not None:
            await asyncio.wait([slot.opening])
        partition = slot.partition
        if partition is None or self._slots.get(tp) is not slot or self._stopping.is_set():
            return
        records = partition.continuity.admit(chunk)
        if records:
            await partition.take(records)

    async def _on_assigned(self, _app: Any, assigned: Any, **_: Any) -> None:
        tps = {Partition(tp.topic, tp.partition) for tp in assigned}
        await guarded(partial(self._reassign, tps), self.on_fatal)

    async def _reassign(self, assigned: set[Partition]) -> None:
        for tp in self._slots.keys() - assigned:
            await self._give_up(tp)
        for tp in sorted(assigned):
            if tp.topic in self.topics:
                known = self._slots.get(tp)
                if known is not None and known.partition is None:
                    continue  # it is opening, and nothing was taken yet
                slot = self._slots[tp] = _Slot()
                slot.opening = asyncio.create_task(
                    guarded(partial(self._open, tp, slot, known.partition if known else None), self.on_fatal)
                )
        self._assigned = True
        log.info("assigned", group=self.app.group, partitions=len(self._slots))

    async def _open(self, tp: Partition, slot: _Slot, known: OpenPartition | None) -> None:
        held = known
        try:
            position = await self._position(tp)
            if held is not None and held.committed != position:
                await self._close(held)
                held = None
            if held is None:
                held = self.new_partition(tp, position)
                await held.open()
        except asyncio.CancelledError:
            if held is not None:
                await self._close(held)
            raise
        # Where nobody advanced it meanwhile, what we held all along is right.
        slot.partition = held

    async def _position(self, tp: Partition) -> int:
        position = await self.app.thread.committed_position(tp)
        first, end = await self.app.thread.bounds(tp)
        place = f"{tp.topic}-{tp.partition}"
        if position is None:
            msg = (
                f"{place}: group {self.app.group} has no position there; run `monitor init`"
                " (with --from, to say where to begin) and start again"
            )
            raise InvariantError(msg)
        if position > end:
            msg = (
                f"{place}: group {self.app.group} goes on at {position}, but the topic ends at"
                f" {end}: it was deleted and made again, or its data was lost"
            )
            raise InvariantError(msg)
        if position < first:
            msg = (
                f"{place}: records {position} to {first - 1} were deleted before they were read:"
                " the topic's retention has overtaken this worker"
            )
            raise InvariantError(msg)
        return position

    async def _on_revoked(self, *_signal: Any, **_: Any) -> None:
        # An optimisation only: what is not flushed here is read again by the next owner. It is
        # never cancelled, since half a flush would leave a partition that we may keep in pieces.
        log.info("the group is rebalancing", group=self.app.group)
        flush = asyncio.create_task(guarded(partial(self._flush_all, final=True), self.on_fatal))
        _done, late = await asyncio.wait([flush], timeout=REVOCATION_SECONDS)
        if late:
            log.warning("flush before giving up partitions took too long", group=self.app.group)

    async def _tick(self) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self.tick_seconds)
            await self._flush_all(final=self._stopping.is_set())

    async def _flush_all(self, *, final: bool) -> None:
        async with self._flushing:
            positions: dict[Partition, int] = {}
            for partition in self.partitions:
                position = await partition.flush(final=final)
                if position is not None and position > partition.committed:
                    positions[partition.tp] = position
            if not positions:
                return
            reached(f"{self.app.role}.before-commit")
            if await self.app.thread.commit_positions(positions):
                reached(f"{self.app.role}.after-commit")
                for partition in self.partitions:
                    if partition.tp in positions:
                        partition.committed = positions[partition.tp]

    async def _give_up(self, tp: Partition) -> None:
        slot = self._slots.pop(tp)
        if slot.opening is not None and not slot.opening.done():
            slot.opening.cancel()
            await asyncio.wait([slot.opening])
        if slot.partition is not None:
            await self._close(slot.partition)

    @staticmethod
    async def _close(partition: OpenPartition) -> None:
        partition.closed = True
        await partition.close()


class SendingRole(Role):
    """A role with a plain producer of its own, which lives from before the first partition to the end."""

    def __init__(
        self,
        app: RoleApp,
        settings: Settings,
        topic: str,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        super().__init__(app, [settings.topic(topic)], on_fatal)
        self.settings = settings
        self._producer: AIOKafkaProducer | None = None

    @property
    def producer(self) -> AIOKafkaProducer:
        """The producer; raises InvariantError before the start."""
        if self._producer is None:
            raise InvariantError("a partition was assigned before its role started")
        return self._producer

    async def start(self) -> None:
        """Start the producer, then join the group."""
        self._producer = plain_producer(self.settings.kafka)
        await self._producer.start()
        await super().start()

    async def stop(self) -> None:
        """Leave the group, then stop the producer."""
        await super().stop()
        await self.producer.stop()


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
