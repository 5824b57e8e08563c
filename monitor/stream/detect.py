"""The detect role: routed records through the pure detector, and its state made durable.

A flush makes durable, each step acknowledged before the next: the findings up to offset n, then the
subjects that changed and the marks (one transaction), then the group's position n + 1. Every other
order loses findings under some crash (tests/core has the model).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from aiokafka import AIOKafkaProducer

from monitor.core.coverage import pieces
from monitor.core.events import RulesRecord
from monitor.engine.detectors import new_detector
from monitor.engine.packed import decode
from monitor.errors import InvariantError
from monitor.rulebook import compile_pattern
from monitor.stream.kafka import aiokafka_options
from monitor.stream.left_out import alone, fatal_letter
from monitor.stream.partition import OpenPartition, WorkClock
from monitor.stream.producers import BATCH_BYTES, drop_producer, start_producer, transact
from monitor.stream.role import SendingRole
from monitor.stream.rules import rule_set_of
from monitor.stream.saved import SLICE_SECONDS, Record, SavedState
from monitor.stream.sender import Delivery, OrderedSender
from monitor.stream.steps import reached
from monitor.wire import routed
from monitor.wire.evidence import encode_evidence
from monitor.wire.positions import WHOLE
from monitor.wire.rejected import encode_rejected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from monitor.core.subjects import Subjects
    from monitor.observe.metrics import Metrics
    from monitor.settings import Settings
    from monitor.stream.chunks import Partition, RoleApp
    from monitor.stream.records import FetchedRecord

log = structlog.get_logger(__name__)

#: Records of a flush that go into its batches before others have their turn: 1 to 2 ms.
APPENDED_AT_ONCE = 1_000
#: Subjects that may have changed since the last flush: then one is due, and at twice as many nothing more is
#: taken until it came. A flood of new subjects, or a slow broker, must not fill the memory.
MOST_DIRTY = 50_000


class DetectPartition(OpenPartition):
    """One routed partition: its detector, and the one producer that may write its state."""

    def __init__(
        self,
        tp: Partition,
        position: int,
        settings: Settings,
        metrics: Metrics,
        senders: DetectSenders,
    ) -> None:
        super().__init__(tp, position)
        self._settings = settings
        self._metrics = metrics
        self._senders = senders
        self._topic = settings.topic("state")
        self._producer: AIOKafkaProducer | None = None
        self._detector = new_detector(
            tp.partition,
            allowed_lateness_ms=int(settings.detect.allowed_lateness.total_seconds() * 1000),
            compile_pattern=compile_pattern,
            max_age_ms=int(settings.response.max_age.total_seconds() * 1000),
            quiet_ms=int(settings.response.quiet_after.total_seconds() * 1000),
        )
        self._clock = WorkClock(
            budget_seconds=settings.detect.replay_budget.total_seconds(),
            age_seconds=settings.detect.flush_interval.total_seconds(),
        )
        #: The offset of the last record applied, and its append time.
        self._applied = position - 1
        self._append_ms = 0
        #: When the oldest of the source records that a routed record brought had arrived.
        self._arrived_ms: int | None = None
        #: Since when there are changes that no flush has taken, and those that one is about to save.
        self._unsaved_since: float | None = None
        self._saving_since: float | None = None
        self._delivery = Delivery()
        self._saved = SavedState(self._topic, tp.partition, self._detector, metrics)
        #: Set while not too many subjects wait to be saved.
        self._room = asyncio.Event()
        self._room.set()
        self._lock = asyncio.Lock()
        self._writing = asyncio.Lock()
        #: Where what is applied ends, and how many takings are under way: a flush that gets the lock before
        #: one of them must not commit what that one has admitted.
        self._position = position
        self._taking = 0

    async def open(self) -> None:
        """Fence whoever wrote this partition's state before, then read it."""
        began = time.perf_counter()
        kafka = self._settings.kafka
        producer = AIOKafkaProducer(
            **aiokafka_options(kafka),
            transactional_id=f"{kafka.topic_prefix}detect-{self.tp.partition}",
            transaction_timeout_ms=30_000,
            max_batch_size=BATCH_BYTES,
            max_request_size=4 << 20,
        )
        await start_producer(kafka, producer)
        self._producer = producer
        reached("detect.fenced")
        recovery = await self._saved.recover(kafka)
        self._saved.check_whole(recovery, self.committed, self.note.holes_below)
        self._detector.holes_below = self.note.holes_below
        if self._detector.rules_version >= 0:
            self._metrics.expect_findings(rule_set_of(self._detector.rules_record).rules)
        reached("detect.recovered")
        seconds = time.perf_counter() - began
        self._metrics.recovery_seconds.set(seconds)
        log.info(
            "state recovered",
            partition=self.tp.partition,
            subjects=recovery.subjects,
            records=recovery.records,
            seconds=round(seconds, 3),
        )

    async def take(self, records: Sequence[FetchedRecord]) -> None:
        """Apply routed records, giving way to other tasks at least every `SLICE_SECONDS`."""
        detector = self._detector
        began = time.perf_counter()
        position = self._begin_taking()
        async with self._lock:
            if self._unsaved_since is None:
                self._unsaved_since = time.monotonic()
            for record in records:
                place = f"{record.topic}-{record.partition} offset {record.offset}"
                routed_record = decode(record.value, place)
                if isinstance(routed_record, RulesRecord):
                    if detector.activate(routed_record, record.timestamp):
                        self._metrics.expect_findings(rule_set_of(routed_record).rules)
                else:
                    detector.apply(routed_record, record.offset, record.timestamp)
                    self._measure(record, len(routed_record.rows))
                self._applied = record.offset
                self._append_ms = record.timestamp
                reached("detect.applied")
                now = time.perf_counter()
                if now - began > SLICE_SECONDS:
                    self._clock.worked(now - began)
                    self._report()
                    await asyncio.sleep(0)
                    if self.closed:
                        return
                    began = time.perf_counter()
            self._clock.worked(time.perf_counter() - began)
            self._report()
            self._end_taking(position)
        await self._senders.findings.room()
        await self._senders.evidence.room()
        if detector.subjects.dirty_count > 2 * MOST_DIRTY:
            self._room.clear()
        await self._room.wait()

    async def take_alone(
        self,
        record: FetchedRecord,
        fatal: int | None,
        trying: Callable[[int], Awaitable[None]],
    ) -> None:
        """Apply one routed record, source event by source event, each noted before, and first its decoding.

        Rows in pieces, each covering what it holds, are what intake sends too where a record is large.
        """
        position = self._begin_taking()
        if fatal is None:
            await trying(WHOLE)
        entry = alone(record, fatal)
        if isinstance(entry, RulesRecord):
            await self.take([record])
            self._end_taking(position)
            return
        # Nothing is flushed in between: state is stamped with whole records.
        async with self._lock:
            if self._unsaved_since is None:
                self._unsaved_since = time.monotonic()
            for piece in pieces(entry) if entry is not None else ():
                if fatal in {piece.last, WHOLE}:
                    piece = replace(piece, rows=())  # noqa: PLW2901 - it covers what it covered
                else:
                    await trying(piece.last)
                if self.closed:
                    return
                self._detector.apply(piece, record.offset, record.timestamp)
            if fatal is not None:
                self._senders.rejected.put(0, fatal_letter(record, entry, fatal), self._delivery)
            self._applied, self._append_ms = record.offset, record.timestamp
            self._report()
            self._end_taking(position)

    def _begin_taking(self) -> int:
        """Return where the records end that were just admitted; call it before anything is awaited."""
        self._taking += 1
        return self.continuity.next

    def _end_taking(self, position: int) -> None:
        self._taking -= 1
        self._position = position

    def _measure(self, record: FetchedRecord, rows: int) -> None:
        """Count how late rows were applied, by the arrival of the oldest source record among theirs."""
        self._arrived_ms = routed.arrived_ms(record.headers)
        if self._arrived_ms is not None:
            self._metrics.apply_seconds.observe(max(0.0, time.time() - self._arrived_ms / 1000), rows)

    def _report(self) -> None:
        """Send what the detector found; it leaves at once and is acknowledged by the next flush."""
        outcomes = self._detector.take_outcomes()
        for found in outcomes.findings:
            self._senders.findings.put(0, orjson.dumps(found), self._delivery, _key(found))
            rule = found["rule"]["id"]
            self._metrics.findings_total.labels(rule, found["mode"], found["action"], found["axis"]).inc()
            now = time.time()
            self._metrics.finding_event_seconds.observe(max(0.0, now - found["event"]["time_ms"] / 1000))
            if self._arrived_ms is not None:
                self._metrics.finding_arrival_seconds.observe(max(0.0, now - self._arrived_ms / 1000))
            log.info("finding", finding=found["id"], rule=rule, value=found["value"])
            reached("detect.finding-queued")
        for seen in outcomes.observations:
            self._senders.findings.put(0, orjson.dumps(seen), self._delivery, _key(seen))
        for key, value in encode_evidence(outcomes.evidence, "later"):
            self._senders.evidence.put(0, value, self._delivery, key)
        for failure in outcomes.failed:
            self._senders.rejected.put(
                0,
                encode_rejected(
                    failure.source.topic,
                    failure.source.partition,
                    failure.offset,
                    format_name="routed",
                    reason="internal",
                    detail=f"judging it failed with {failure.error}",
                    at_ms=self._append_ms,
                ),
                self._delivery,
            )
        self._metrics.count_detect(outcomes.counters)

    async def flush(self, *, final: bool) -> int | None:
        """Make durable everything applied so far; see the module's text for the order."""
        due = final or self._clock.due or self._detector.subjects.dirty_count > MOST_DIRTY
        if self.continuity.next == self.committed or not due:
            return None
        began = time.perf_counter()
        async with self._lock:
            # Nothing is applied while the lock is held: one consistent cut.
            if self.closed:
                return None
            self._clock.restart()
            # What has no records (markers of transactions) needs no taking.
            position = self._position if self._taking else self.continuity.next
            stamp = self._applied
            records = await self._saved.changes(stamp, self._append_ms)
            self._room.set()
            delivery, self._delivery = self._delivery, Delivery()
            self._saving_since, self._unsaved_since = self._unsaved_since, None
        await delivery.wait()
        reached("detect.findings-durable")
        async with self._writing:
            if self.closed:
                return None
            await self._write(records)
        self._saving_since = None
        self._metrics.flush_seconds.observe(time.perf_counter() - began)
        return position

    async def _write(self, records: list[Record]) -> None:
        producer = self._producer
        if producer is None:
            msg = f"{self._topic}-{self.tp.partition}: flushed before it was opened"
            raise InvariantError(msg)
        what = f"{self._topic}-{self.tp.partition}: state was not written"
        await transact(self._settings.kafka, producer, what, partial(self._send_all, producer, records))
        reached("detect.state-durable")
        self._metrics.state_bytes_total.inc(sum(len(key) + len(value or b"") for key, value in records))

    async def _send_all(self, producer: AIOKafkaProducer, records: list[Record]) -> None:
        batch = producer.create_batch()
        now_ms = int(time.time() * 1000)
        for number, (key, value) in enumerate(records):
            if batch.append(key=key, value=value, timestamp=now_ms) is None:
                await self._send(producer, batch)
                batch = producer.create_batch()
                batch.append(key=key, value=value, timestamp=now_ms)
            if number % APPENDED_AT_ONCE == 0:
                await asyncio.sleep(0)
        await self._send(producer, batch)
        reached("detect.before-state-commit")

    async def _send(self, producer: AIOKafkaProducer, batch: Any) -> None:
        batch.close()
        sent = await producer.send_batch(batch, self._topic, partition=self.tp.partition)
        reached("detect.state-sent")
        await sent

    async def close(self) -> None:
        """Give up the partition and stop its producer, after a write that is under way."""
        self._room.set()
        async with self._writing:
            producer, self._producer = self._producer, None
            if producer is not None:
                await producer.stop()

    async def drop(self) -> None:
        """Give up the partition and its producer, whatever it writes."""
        self._room.set()
        producer, self._producer = self._producer, None
        if producer is not None:
            await drop_producer(producer)

    @property
    def subjects(self) -> Subjects:
        """What is held in memory."""
        return self._detector.subjects

    @property
    def unsaved_seconds(self) -> float:
        """Age of the oldest change that is not durable, in seconds; 0 with none."""
        since = self._unsaved_since if self._saving_since is None else self._saving_since
        return 0.0 if since is None else time.monotonic() - since


class DetectSenders:
    """The plain producer of findings, shared by all partitions of the process."""

    def __init__(
        self, settings: Settings, producer: AIOKafkaProducer, on_fatal: Callable[[BaseException], None]
    ) -> None:
        self.findings = OrderedSender(producer, settings.topic("findings"), on_fatal)
        self.evidence = OrderedSender(producer, settings.topic("evidence"), on_fatal)
        self.rejected = OrderedSender(producer, settings.topic("rejected"), on_fatal)

    def end(self) -> None:
        """Begin no batch any more."""
        self.findings.end()
        self.evidence.end()
        self.rejected.end()


class DetectRole(SendingRole):
    """Consumes `routed`, with one detector per partition."""

    def __init__(
        self,
        app: RoleApp,
        settings: Settings,
        metrics: Metrics,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        super().__init__(app, settings, metrics, "routed", on_fatal)
        self._metrics = metrics
        self._senders: DetectSenders | None = None

    def new_partition(self, tp: Partition, position: int) -> DetectPartition:
        """Return a detector for a newly assigned partition; all share the senders."""
        if self._senders is None:
            self._senders = DetectSenders(self.settings, self.producer, self.on_fatal)
        return DetectPartition(tp, position, self.settings, self._metrics, self._senders)

    def fence(self) -> None:
        """Also send no finding any more."""
        super().fence()
        if self._senders is not None:
            self._senders.end()

    def export(self) -> None:
        """Set the gauges that are read rather than kept."""
        parts = [part for part in self.partitions if isinstance(part, DetectPartition)]
        self._metrics.tell_held(part.subjects for part in parts)
        self._metrics.unsaved_seconds.set(max((part.unsaved_seconds for part in parts), default=0.0))


def _key(found: dict[str, Any]) -> bytes:
    key: str = found["subject"]
    return key.encode()
