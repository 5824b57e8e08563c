"""What the roles share: partitions that open, take chunks in order, flush, commit and close.

An object here is one stay of a role in its group. It ends by `stop`, or as a crash would by `drop`;
the role then goes on with another one (keeper.py).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka.errors import KafkaError

from monitor.errors import InvariantError, SendError
from monitor.observe.ending import end_tasks
from monitor.stream.beginnings import Beginnings
from monitor.stream.careful import Tries
from monitor.stream.chunks import Partition, RoleApp
from monitor.stream.fatal import guarded, guarded_task
from monitor.stream.gaps import Gaps
from monitor.stream.producers import drop_producer, plain_producer, start_producer
from monitor.stream.steps import reached
from monitor.stream.topics import topic_ids
from monitor.wire.positions import encode_note, past

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiokafka import AIOKafkaProducer

    from monitor.observe.metrics import Metrics
    from monitor.settings import Settings
    from monitor.stream.chunks import Chunk, Fetched
    from monitor.stream.partition import OpenPartition

log = structlog.get_logger(__name__)

#: Longest time a flush may take while the group waits for it to give partitions up, in seconds.
REVOCATION_SECONDS = 5.0
#: How often one hole is fetched again, before it is taken for a hole of the log.
MOST_FETCHES = 3


@dataclass(eq=False, slots=True)
class _Slot:
    """The place of one assigned partition: its opening, and the partition once that is done."""

    opening: asyncio.Task[None] | None = None
    partition: OpenPartition | None = None
    tries: Tries | None = None
    #: The position that was fetched again last, how often, and the round that chunks have since.
    asked_at: int = -1
    asked: int = 0
    round: int = 0


class Role(ABC):
    """One role on one cluster: a Faust app whose agent hands chunks to open partitions."""

    #: Seconds between two looks at what is due.
    tick_seconds = 0.25

    def __init__(
        self,
        app: RoleApp,
        topics: Sequence[str],
        on_fatal: Callable[[BaseException], None],
        gaps: Gaps | None = None,
    ) -> None:
        self.app = app
        self.topics = tuple(topics)
        self.on_fatal = on_fatal
        self._gaps = gaps
        #: Which topics they are; known from the start on.
        self.topic_ids: dict[str, str] = {}
        self._slots: dict[Partition, _Slot] = {}
        self._assigned = False
        #: Whether a chunk is being applied (or waits for its partition to open) right now.
        self.busy = False
        #: Set for good by `fence`.
        self.fenced = False
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
        return self._assigned and not self.fenced and all(slot.partition for slot in self._slots.values())

    @property
    def partitions(self) -> list[OpenPartition]:
        """The partitions that are open."""
        return [slot.partition for slot in self._slots.values() if slot.partition is not None]

    async def start(self) -> None:
        """Join the group and begin."""
        self.topic_ids = await asyncio.to_thread(topic_ids, self.app.kafka, self.topics)
        await self.app.start()
        self._ticker = guarded_task(self._tick, self.on_fatal)

    async def stop(self) -> None:
        """Flush, commit and leave the group."""
        self._stopping.set()
        if self._ticker is not None:
            await self._ticker
        for tp in list(self._slots):
            await self._give_up(tp)
        await self.app.stop()

    def fence(self) -> None:
        """Take, send and commit nothing from now on, whatever is under way; `drop` follows."""
        self.fenced = True
        self._stopping.set()
        for partition in self.partitions:
            partition.closed = True

    async def drop(self) -> None:
        """Forget what is held, as a crash would. `leave` follows, when brokers answer again."""
        self.fence()
        if self._ticker is not None:
            await end_tasks([self._ticker])
        slots, self._slots = self._slots, {}
        for slot in slots.values():
            await _stop_opening(slot)
            if slot.partition is not None:
                await slot.partition.drop()

    async def leave(self) -> None:
        """Leave the group, after `drop`."""
        await self.app.stop()

    async def _agent(self, stream: Any) -> None:
        async for event in stream.events():
            self.busy = True
            # Faust would restart a failed agent, and go on after the record that failed.
            with suppress(Exception):
                await guarded(partial(self._take_all, event.value), self.on_fatal)
            self.busy = False

    async def _take_all(self, fetched: Fetched) -> None:
        for tp, chunk in fetched:
            if self.fenced:
                return
            await self._take(tp, chunk)

    async def _take(self, tp: Partition, chunk: Chunk) -> None:
        slot = self._slots.get(tp)
        if slot is None:
            return  # given up meanwhile; whoever owns it now reads it again
        if slot.partition is None and slot.opening is not None:
            await asyncio.wait([slot.opening])
        partition = slot.partition
        if partition is None or self._slots.get(tp) is not slot or self._stopping.is_set():
            return
        if chunk.start > partition.continuity.next and await self._fetch_again(slot, partition, chunk):
            return
        if slot.tries is not None:
            await slot.tries.take(chunk)

    async def _fetch_again(self, slot: _Slot, partition: OpenPartition, chunk: Chunk) -> bool:
        """Have a hole fetched again; False where that was of no use.

        Faust empties its queues at the end of a rebalance, after it has sought and while it fetches: what
        it dropped is in the log yet. A hole of the log itself comes again, and ends the process.
        """
        if slot.asked_at == partition.continuity.next and chunk.round < slot.round:
            return True  # fetched before we asked
        return await self._ask_again(slot, partition)

    async def fetch_again(self, tp: Partition) -> bool:
        """Have fetched again what comes next in a partition; False where that was of no use."""
        slot = self._slots.get(tp)
        if slot is None or slot.partition is None:
            return True  # somebody else's by now, or opening
        return await self._ask_again(slot, slot.partition)

    async def _ask_again(self, slot: _Slot, partition: OpenPartition) -> bool:
        position = partition.continuity.next
        if slot.asked_at != position:
            slot.asked_at, slot.asked = position, 0
        slot.asked += 1
        if slot.asked > MOST_FETCHES:
            return False
        log.warning(
            "fetching again what was dropped", topic=partition.tp.topic, partition=partition.tp.partition
        )
        slot.round = await self.app.thread.fetch_again(partition.tp, position)
        return True

    async def _on_assigned(self, _app: Any, assigned: Any, **_: Any) -> None:
        if self.fenced:
            return
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
                slot.opening = guarded_task(
                    partial(self._open, tp, slot, known.partition if known else None), self.on_fatal
                )
        self._assigned = True
        log.info("assigned", group=self.app.group, partitions=len(self._slots))

    async def _open(self, tp: Partition, slot: _Slot, known: OpenPartition | None) -> None:
        held = known
        try:
            async with asyncio.timeout(self.app.kafka.request_timeout_seconds):
                position, note = await Beginnings(self.app, self.topic_ids, self._gaps).of(tp)
            if held is not None and held.committed != position:
                await self._close(held)
                held = None
            if held is None:
                held = self.new_partition(tp, position)
                held.note = note
                await held.open()
        except BaseException:
            if held is not None:
                await (held.drop() if self.fenced else self._close(held))
            raise
        if self.fenced:
            await held.drop()
            return
        # Where nobody advanced it meanwhile, what we held all along is right.
        slot.tries = Tries(held, self._commit_note, partial(self._flush_all, final=True))
        slot.partition = held

    async def _on_revoked(self, *_signal: Any, **_: Any) -> None:
        # An optimisation only: what is not flushed here is read again by the next owner. It is
        # never cancelled, since half a flush would leave a partition that we may keep in pieces.
        if self.fenced:
            return
        log.info("the group is rebalancing", group=self.app.group)
        flush = guarded_task(partial(self._flush_all, final=True), self.on_fatal)
        _done, late = await asyncio.wait([flush], timeout=REVOCATION_SECONDS)
        if late:
            log.warning("flush before giving up partitions took too long", group=self.app.group)

    async def _tick(self) -> None:
        while not self._stopping.is_set():
            # Without a task of its own for each wait: of an idle process this is the most frequent thing.
            with suppress(TimeoutError):
                async with asyncio.timeout(self.tick_seconds):
                    await self._stopping.wait()
            await self._flush_all(final=self._stopping.is_set())

    async def _flush_all(self, *, final: bool) -> None:
        async with self._flushing:
            positions: dict[Partition, int] = {}
            for partition in self.partitions:
                position = await partition.flush(final=final)
                if position is not None and position > partition.committed:
                    positions[partition.tp] = position
                    partition.note = past(partition.note)
            if not positions or self.fenced:
                return
            reached(f"{self.app.role}.before-commit")
            if await self._commit(positions):
                reached(f"{self.app.role}.after-commit")
                for partition in self.partitions:
                    if partition.tp in positions:
                        partition.committed = positions[partition.tp]

    async def _commit_note(self, partition: OpenPartition) -> bool:
        return await self._commit({partition.tp: partition.committed})

    async def _commit(self, positions: dict[Partition, int]) -> bool:
        # What was given up meanwhile is somebody else's to commit.
        notes = {part.tp: encode_note(part.note) for part in self.partitions}
        noted = {tp: (position, notes[tp]) for tp, position in positions.items() if tp in notes}
        if not noted:
            return False
        # aiokafka tries for ever.
        try:
            async with asyncio.timeout(self.app.kafka.request_timeout_seconds):
                return await self.app.thread.commit_positions(noted)
        except (KafkaError, TimeoutError) as error:
            msg = f"group {self.app.group}: positions were not committed ({type(error).__name__})"
            raise SendError(msg) from error

    async def _give_up(self, tp: Partition) -> None:
        slot = self._slots.pop(tp)
        await _stop_opening(slot)
        if slot.partition is not None:
            await self._close(slot.partition)

    @staticmethod
    async def _close(partition: OpenPartition) -> None:
        partition.closed = True
        await partition.close()


async def _stop_opening(slot: _Slot) -> None:
    if slot.opening is not None and not slot.opening.done():
        # Once: when it is cancelled it closes what it has begun, which another cancellation would cut short.
        slot.opening.cancel()
        await asyncio.wait([slot.opening])


class SendingRole(Role):
    """A role with a plain producer of its own, which lives from before the first partition to the end."""

    def __init__(
        self,
        app: RoleApp,
        settings: Settings,
        metrics: Metrics,
        topic: str,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        super().__init__(app, [settings.topic(topic)], on_fatal, Gaps(settings, metrics))
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
        producer = plain_producer(self.settings.kafka)
        await start_producer(self.settings.kafka, producer)
        self._producer = producer
        await super().start()

    async def stop(self) -> None:
        """Leave the group, then stop the producer."""
        await super().stop()
        await self.producer.stop()

    async def drop(self) -> None:
        """Forget what is held, and the producer with all that waits in it."""
        await super().drop()
        if self._producer is not None:
            await drop_producer(self._producer)
