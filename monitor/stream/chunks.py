"""The seam with Faust: one message per fetch, with the chunks of its partitions and the positions that frame them.

Faust gives group membership, assignment, agents and flow control. Its acks, tables and commits lose
or repeat records under faults (docs/adr), so all that was fetched at once crosses it as *one* message, on a
topic without acks, and offsets are committed by us. At small loads what Faust does for a message costs more than
the few events in it, so there is not one for each partition.

This module, and fetching.py and records.py beside it, are the only ones that touch what is private in Faust
0.15.3 and aiokafka 0.14.0; both are pinned, and tests/stream guards every assumption made here.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias, cast

import faust
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import CommitFailedError, ConsumerStoppedError, IllegalStateError
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import TopicPartition as ClientPartition
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from mode.signals import BaseSignal

from monitor.stream.fetching import RoleConsumer
from monitor.stream.kafka import consumer_options, faust_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiokafka import AIOKafkaConsumer

    from monitor.settings import KafkaSettings
    from monitor.stream.records import FetchedRecord

#: Most records that one fetch hands over, of all partitions: it bounds memory and the pause before the loop runs again.
MAXIMUM_FETCH = 4000
#: Faust is told that a producer made each timestamp: nobody asks.
_CREATE_TIME = 0
#: How long a fetch waits while some partition has no position yet, in seconds.
_UNPOSITIONED_SECONDS = 0.02
#: How long a partition that was added to a topic may stay unread, in seconds.
METADATA_SECONDS = 15
#: Fetches that may wait for an agent; Faust's default of 4,096 would count records.
WAITING_FETCHES = 8


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records fetched together from one partition.

    `start` is the fetch position before them and `next` the one after. Both can lie apart from the
    records' own offsets: markers of transactions and compaction leave gaps, which are no loss. In
    one generation the chunks of a partition join: the `start` of one is the `next` of another.
    `round` is how often the partition was fetched again before (see `fetch_again`).
    """

    start: int
    next: int
    records: Sequence[FetchedRecord]
    round: int = 0


#: All that was fetched at once: no partition twice, so that their order means nothing.
Fetched: TypeAlias = "Sequence[tuple[Partition, Chunk]]"


class _FetchMessage(NamedTuple):
    """What Faust takes for one record; it reads all these attributes.

    The place that it gives is of the first chunk: Faust looks only whether it is a partition of ours.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    headers: tuple[()]
    key: None
    value: Fetched
    checksum: None
    serialized_key_size: int
    serialized_value_size: int


class _ChunkThread(AIOKafkaConsumerThread):
    """Faust's consumer thread, handing over what is fetched instead of records."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # Per partition: the position where the chunk to come starts, and the one last seen.
        self._chunk_start: dict[Any, int] = {}
        self._last_seen: dict[Any, int] = {}
        #: Per partition, how often it was fetched again.
        self._rounds: dict[Any, int] = {}

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:  # noqa: ARG002 - Faust's
        app = cast("RoleApp", self.consumer.app)
        session_ms = int(app.kafka.session_timeout_seconds * 1000)
        # aiokafka keeps the last assignment on the *class*, so each app needs one of its own.
        # `_assignor` is Faust's attribute: it asks there whether its own assignor decided.
        self._assignor = type("StickyAssignor", (StickyPartitionAssignor,), {})
        return RoleConsumer(
            **consumer_options(app.kafka),
            group_id=app.group,
            group_instance_id=app.instance,
            partition_assignment_strategy=[self._assignor],
            auto_offset_reset="earliest",
            max_poll_records=MAXIMUM_FETCH,
            max_partition_fetch_bytes=4 << 20,
            session_timeout_ms=session_ms,
            rebalance_timeout_ms=max(session_ms, 30_000),
            heartbeat_interval_ms=session_ms // 4,
            metadata_max_age_ms=METADATA_SECONDS * 1000,
        )

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: Any,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is Faust's
        max_records: int | None = None,
    ) -> Any:
        try:
            return await self._fetch_chunks(consumer, active_partitions, timeout, max_records)
        except (asyncio.CancelledError, ConsumerStoppedError):
            raise
        except BaseException as error:
            # Faust would only log that its fetcher crashed, and the worker would go on, blind.
            cast("RoleApp", self.consumer.app).on_fatal(error)
            raise

    async def _fetch_chunks(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: Any,
        timeout: float | None,  # noqa: ASYNC109 - the signature is Faust's
        max_records: int | None,
    ) -> Any:
        before = self._positions(consumer)
        for tp, position in before.items():
            if tp not in self._chunk_start or self._last_seen.get(tp) != position:
                # A seek or a new assignment: what was fetched before does not join what follows.
                self._chunk_start[tp] = position
        # A partition whose position is not known yet is left for the next call: records of it would
        # come without the position that they start at.
        known = {tp for tp in active_partitions if tp in before}
        if len(known) < len(active_partitions):
            timeout = _UNPOSITIONED_SECONDS
        if not known:
            await asyncio.sleep(_UNPOSITIONED_SECONDS)
            return {}
        fetched = await super()._fetch_records(consumer, known, timeout=timeout, max_records=max_records)
        self._last_seen = self._positions(consumer)
        chunks = []
        for tp, records in fetched.items():
            after = self._last_seen.get(tp)
            if after is None:
                continue  # taken away during the fetch: it is fetched again by its owner
            # Faust may have sought back while the fetch waited.
            start = min(self._chunk_start[tp], records[0].offset)
            self._chunk_start[tp] = after
            chunk = Chunk(start, after, records, self._rounds.get(tp, 0))
            chunks.append((Partition(tp.topic, tp.partition), chunk))
        return _as_messages(chunks)

    @staticmethod
    def _positions(consumer: AIOKafkaConsumer) -> dict[Any, int]:
        subscription = consumer._subscription.subscription  # noqa: SLF001
        assignment = subscription.assignment if subscription is not None else None
        if assignment is None:
            return {}
        positions = {}
        for tp in assignment.tps:
            state = assignment.state_value(tp)
            if state is not None and state.has_valid_position:
                positions[tp] = state.position
        return positions

    async def commit_positions(self, positions: Mapping[Partition, tuple[int, str]]) -> bool:
        """Commit where each partition goes on, with metadata; False where the group has moved on meanwhile.

        Any other error of the broker is raised.
        """
        return cast("bool", await self.call_thread(self._commit_positions, positions))

    async def _commit_positions(self, positions: Mapping[Partition, tuple[int, str]]) -> bool:
        consumer = self._ensure_consumer()
        try:
            await consumer.commit(
                {ClientPartition(*tp): OffsetAndMetadata(*position) for tp, position in positions.items()}
            )
        except (CommitFailedError, IllegalStateError):
            return False
        return True

    async def committed(self, topic: str, count: int) -> dict[int, tuple[int, str]]:
        """Return where the group goes on in the first `count` partitions, with metadata, where it ever was."""
        partitions = [ClientPartition(topic, number) for number in range(count)]
        coordinator = self._ensure_consumer()._coordinator  # noqa: SLF001 - the client keeps metadata to itself
        found = await self.call_thread(coordinator.fetch_committed_offsets, partitions)
        return {tp.partition: (at.offset, at.metadata) for tp, at in found.items() if at.offset >= 0}

    async def fetch_again(self, tp: Partition, position: int) -> int:
        """Fetch a partition again from a position; return the `round` that chunks have from then on."""
        return cast("int", await self.call_thread(self._fetch_again, tp, position))

    async def _fetch_again(self, tp: Partition, position: int) -> int:
        consumer, client_partition = self._ensure_consumer(), ClientPartition(*tp)
        if client_partition in consumer.assignment():
            consumer.seek(client_partition, position)
            # No fetch hands over older records after this with the new number: between taking them and
            # numbering them nothing else runs in this thread.
            self._rounds[client_partition] = self._rounds.get(client_partition, 0) + 1
        return self._rounds.get(client_partition, 0)

    def fetched_position(self, tp: Partition) -> int | None:
        """Return the position up to which records were handed to Faust, or None before the first."""
        return self._chunk_start.get(ClientPartition(*tp))

    async def ends(self, tps: Sequence[Partition]) -> dict[Partition, int]:
        """Return the offset after the last record of each partition, by one request to each broker."""
        consumer = self._ensure_consumer()
        found = await self.call_thread(consumer.end_offsets, [ClientPartition(*tp) for tp in tps])
        return {tp: found[ClientPartition(*tp)] for tp in tps}

    async def bounds(self, tp: Partition) -> tuple[int, int]:
        """Return the offset of the first record that is kept, and the one after the last."""
        consumer = self._ensure_consumer()
        client_partition = ClientPartition(*tp)
        firsts = await self.call_thread(consumer.beginning_offsets, [client_partition])
        ends = await self.call_thread(consumer.end_offsets, [client_partition])
        return firsts[client_partition], ends[client_partition]


def _as_messages(fetched: Fetched) -> dict[ClientPartition, list[_FetchMessage]]:
    if not fetched:
        return {}
    (topic, partition), chunk = fetched[0]
    last = chunk.records[-1]
    message = _FetchMessage(
        topic, partition, last.offset, last.timestamp, _CREATE_TIME, (), None, fetched, None, 0, 0
    )
    return {ClientPartition(topic, partition): [message]}


class _Unread(defaultdict[Any, int | None]):
    """Stands for Faust's note of what it read last, and stays where a seek put it.

    Faust drops what lies below that note; what is fetched again must come through (`Continuity` sorts it).
    """

    def __setitem__(self, tp: Any, offset: int | None) -> None:
        """Forget it."""


class _ChunkConsumer(Consumer):
    """Faust's consumer with our thread."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._read_offset = _Unread(lambda: None)

    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _ChunkThread(self, loop=self.loop, beacon=self.beacon)

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Do nothing: Faust's check warns about every idle partition; we export lag instead."""


class _ChunkTransport(Transport):
    """Faust's Kafka transport with our consumer."""

    Consumer: ClassVar[Any] = _ChunkConsumer


class RoleApp(faust.App):
    """One Faust app for one role on one cluster.

    `on_fatal` is called with the error where Faust would crash: the process then ends.
    """

    def __init__(
        self,
        role: str,
        kafka: KafkaSettings,
        *,
        group: str,
        instance: str | None,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self.role = role
        self.kafka = kafka
        self.group = group
        self.instance = f"{instance}-{role}" if instance else None
        self.on_fatal = on_fatal
        super().__init__(
            group,
            broker=[f"kafka://{server}" for server in kafka.bootstrap_servers],
            broker_credentials=faust_credentials(kafka),
            broker_request_timeout=kafka.request_timeout_seconds,
            broker_session_timeout=kafka.session_timeout_seconds,
            broker_check_crcs=kafka.broker != "embedded",
            producer_request_timeout=kafka.request_timeout_seconds,
            store="memory://",
            web_enabled=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            table_standby_replicas=0,
            consumer_auto_offset_reset="earliest",
            stream_wait_empty=False,
            # Faust's commits never have anything to do: no topic of ours has acks.
            broker_commit_interval=3600.0,
            loghandlers=[],
        )

    def chunks_of(self, *topics: str) -> Any:
        """Return the Faust topic that an agent reads what is `Fetched` from."""
        return self.topic(
            *topics,
            key_serializer="raw",
            value_serializer="raw",
            acks=False,
            maxsize=WAITING_FETCHES,
        )

    @property
    def thread(self) -> _ChunkThread:
        """The thread that owns the Kafka consumer."""
        return cast("_ChunkThread", cast("_ChunkConsumer", self.consumer)._thread)  # noqa: SLF001

    async def crash(self, reason: BaseException) -> None:
        """End the process: a crashed service in a living process is a blind monitor."""
        self.on_fatal(reason)

    def _init_signals(self) -> None:
        # Faust keeps the listeners of all apps at the class, for good: no app that was stopped would ever be freed.
        super()._init_signals()
        for name, signal in list(vars(self).items()):
            if isinstance(signal, BaseSignal):
                setattr(self, name, signal.clone())

    def _new_transport(self) -> Any:
        return _ChunkTransport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """Keep nothing on disk: all state is in Kafka."""
