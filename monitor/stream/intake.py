"""The intake role: source records become routed rows, each source offset once in effect.

A routed record says which source offsets it covers for its partition, so that detect can tell a
repetition from a hole, whatever the bounds of the chunks were (DESIGN, Coverage). A position is
committed only when every record that comes from below it is acknowledged.
"""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from monitor.core.events import AXIS_PRINCIPAL, RowKind, SourceId, credential_subject
from monitor.errors import InvariantError, RejectedRecordError
from monitor.intake.batch import pieces_of
from monitor.intake.event import PartlyRead
from monitor.intake.feeds import Week
from monitor.intake.refusals import Refusals, SecretsSeen
from monitor.intake.repeats import new_repeats
from monitor.intake.replay import REPLAY
from monitor.stream.partition import OpenPartition
from monitor.stream.role import Role
from monitor.stream.sender import Delivery
from monitor.stream.steps import reached
from monitor.wire.credentials import decode_status
from monitor.wire.rejected import encode_rejected, rejected_key
from monitor.wire.routed import arrival_header, encode_packed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from monitor.core.events import Row
    from monitor.intake.batch import Packer, Piece, SourceRecord
    from monitor.intake.event import Event
    from monitor.intake.formats import Decoder
    from monitor.intake.inputs import Input
    from monitor.settings import SourceSettings
    from monitor.stream.chunks import Partition, RoleApp
    from monitor.stream.gaps import Gaps
    from monitor.stream.outlet import RoutedOutlet
    from monitor.stream.records import FetchedRecord
    from monitor.stream.sender import Headers

#: Records decoded without giving way to other tasks: about 10 ms of work.
SLICE_RECORDS = 400
#: Most bytes of rows in a routed record, unless those of one source offset alone are more.
ROUTED_BYTES = 512_000
#: Most rows of a routed record, with the same exception; a row is about 200 bytes.
ROUTED_ROWS = 2_000


class IntakePartition(OpenPartition):
    """One partition that intake reads: it covers its offsets in the routed partitions."""

    def __init__(self, tp: Partition, position: int, source: SourceId, outlet: RoutedOutlet) -> None:
        super().__init__(tp, position)
        self.source = source
        self.outlet = outlet
        self._opened_at = position
        #: Per routed partition, the last source offset that we covered there.
        self._covered: dict[int, int] = {}
        #: Work not acknowledged yet, oldest first: (position after it, its records).
        self._under_way: deque[tuple[int, Delivery]] = deque()
        self._acknowledged = position

    async def open(self) -> None:
        """Nothing to read: intake keeps no state."""

    def begin(self) -> None:
        """Note by what the next records are routed; they are routed alike."""

    @abstractmethod
    def rows(
        self, records: Sequence[FetchedRecord], targets: dict[int, list[Piece]], delivery: Delivery
    ) -> None:
        """Add the rows of some records to their routed partitions, in order."""

    async def take(self, records: Sequence[FetchedRecord]) -> None:
        """Decode, route and send records; what is sent is acknowledged later."""
        delivery = Delivery()
        targets: dict[int, list[Piece]] = {}
        self.begin()
        for at in range(0, len(records), SLICE_RECORDS):
            self.rows(records[at : at + SLICE_RECORDS], targets, delivery)
            reached("intake.decoded")
            await asyncio.sleep(0)
            if self.closed:
                return
        last = records[-1].offset
        headers = self.headers(records)
        for partition in sorted(targets):
            self._send(partition, targets[partition], last, delivery, headers)
        reached("intake.queued")
        self._under_way.append((self.continuity.next, delivery))
        await self.outlet.routed.room()
        await self.outlet.rejected.room()

    def headers(self, records: Sequence[FetchedRecord]) -> Headers:  # noqa: ARG002 - for those who have some
        """Return what a routed record says of these records beside their rows."""
        return ()

    def _send(
        self, partition: int, pieces: list[Piece], last: int, delivery: Delivery, headers: Headers
    ) -> None:
        """Send pieces as few records; one source offset never spans two."""
        before = self._covered.get(partition)
        first = self._opened_at if before is None else before + 1
        resume = before is None
        at = 0
        while at < len(pieces):
            end, count, size = at, 0, 0
            while end < len(pieces):
                more, larger = count + pieces[end].rows, size + len(pieces[end].packed)
                if end > at and (more > ROUTED_ROWS or larger > ROUTED_BYTES):
                    break
                end, count, size = end + 1, more, larger
            own = pieces[at:end]
            former = {name: others for piece in own if piece.former for name, others in piece.former.items()}
            covered = last if end == len(pieces) else own[-1].last
            value = encode_packed(
                self.source,
                first,
                covered,
                count,
                [piece.packed for piece in own],
                resume=resume,
                former=former,
            )
            self.outlet.routed.put(partition, value, delivery, headers=headers)
            self.outlet.metrics.routed_records_total.inc()
            at, first, resume = end, covered + 1, False
        self._covered[partition] = last

    async def flush(self, *, final: bool) -> int | None:
        """Return the position below which everything is acknowledged."""
        if final:
            for _, delivery in tuple(self._under_way):
                await delivery.wait()
        while self._under_way and self._under_way[0][1].done:
            self._acknowledged = self._under_way.popleft()[0]
        return self._acknowledged

    async def close(self) -> None:
        """Forget what is under way: the next owner reads it again."""
        self._under_way.clear()


class SourcePartition(IntakePartition):
    """One partition of a gateway's topic, or of `replay`."""

    def __init__(
        self,
        tp: Partition,
        position: int,
        source_id: SourceId,
        outlet: RoutedOutlet,
        *,
        name: str,
        format_name: str,
        decode: Decoder,
    ) -> None:
        super().__init__(tp, position, source_id, outlet)
        self._name = name
        self._format = format_name
        self.decode = decode
        self._refusals = Refusals()
        self.repeats = new_repeats()
        self._packer: Packer | None = None
        #: Of the records at hand.
        self._delivery = Delivery()
        #: What is usual on this partition; it travels with the committed position.
        self._week = Week()
        self._feed = outlet.feed(name)

    def begin(self) -> None:
        """Take the router of now."""
        self._packer = self.outlet.packer_at(int(time.time() * 1000))

    async def open(self) -> None:
        """Begin to see the source."""
        self._week.recall(self.note.week)
        if self._name != REPLAY:  # which is silent for good, and holds old news
            self.outlet.sees(self._name)
            self._feed.open(self._week)
            self._feed.refresh(int(time.time() * 1000))

    async def flush(self, *, final: bool) -> int | None:
        """Return the position below which everything is acknowledged, and say what is usual now."""
        if self._name != REPLAY:
            self._feed.refresh_when_due(int(time.time() * 1000))
            self.note = msgspec.structs.replace(self.note, week=self._week.note)
        return await super().flush(final=final)

    async def close(self) -> None:
        """Leave the partition to its next owner."""
        self._feed.close(self._week)
        await super().close()

    def headers(self, records: Sequence[FetchedRecord]) -> Headers:
        """Return when the oldest of the records arrived: what is applied late is counted by it."""
        return (arrival_header(records[0].timestamp),)

    def rows(
        self, records: Sequence[FetchedRecord], targets: dict[int, list[Piece]], delivery: Delivery
    ) -> None:
        """Decode gateway records; one that cannot be read goes to the dead letters."""
        if self._packer is None:
            msg = "events were read before a router was chosen"
            raise InvariantError(msg)
        self._delivery = delivery
        taken = self._packer.take(records, self)
        for piece in taken.pieces:
            targets.setdefault(piece.partition, []).append(piece)
        for gateway, number in taken.numbers:
            self._feed.numbered(gateway, number)
        if self._name != REPLAY:
            self.outlet.saw(self._name, taken.newest_ms)
            self._week.took([record.timestamp for record in records])
            if taken.sample is not None:
                place, event = taken.sample
                self._feed.sample(records[place], event, int(time.time() * 1000))
        count = self.outlet.metrics.events_total.labels
        count(self._name, "routed").inc(taken.routed)
        count(self._name, "rejected").inc(len(records) - taken.routed - taken.unrouted)
        count(self._name, "unrouted").inc(taken.unrouted)
        self.outlet.metrics.repeated_records_total.labels(self._name).inc(taken.repeated)

    def events(self, record: SourceRecord) -> Sequence[Event] | None:
        """Return the events of a record; None where it went to the dead letters."""
        try:
            if record.offset in self.left_out:
                raise RejectedRecordError("fatal", "processes ended while it was read")
            events = self.decode(record.value, record.headers)
        except Exception as error:  # noqa: BLE001 - one crafted record must not stop intake
            self.failed(record, error)
            return None
        if isinstance(events, PartlyRead):
            self._reject_of_batch(record, events, self._delivery)
        return events

    def failed(self, record: SourceRecord, error: Exception) -> None:
        """Send a record to the dead letters."""
        if isinstance(error, RejectedRecordError):
            self._reject(record, error.reason, error.detail, self._delivery)
        else:
            self._reject(record, "internal", f"reading it failed with {type(error).__name__}", self._delivery)

    def _reject_of_batch(self, record: SourceRecord, events: PartlyRead, delivery: Delivery) -> None:
        """Write letters for the events of a batch that could not be read; the others count."""
        for number, reason, detail in events.refusals:
            self._reject(record, reason, detail, delivery, number)
        more = events.refused - len(events.refusals)
        if more:
            self.outlet.metrics.rejected_total.labels(self._name, "more_of_a_batch").inc(more)

    def _reject(
        self, record: SourceRecord, reason: str, detail: str, delivery: Delivery, event: int | None = None
    ) -> None:
        topic, partition = self.tp
        metrics = self.outlet.metrics
        metrics.rejected_total.labels(self._name, reason).inc()
        withheld = self._refusals.admit(reason, time.monotonic())
        if withheld is None:
            metrics.rejected_withheld_total.labels(self._name, reason).inc()
            return
        self.outlet.rejected.put(
            0,
            encode_rejected(
                topic,
                partition,
                record.offset,
                format_name=self._format,
                reason=reason,
                detail=detail,
                at_ms=int(time.time() * 1000),
                payload=record.value if self.outlet.keep_payload else None,
                event=event,
                withheld=withheld,
            ),
            delivery,
            rejected_key(topic, partition, record.offset, event),
        )


class StatusPartition(IntakePartition):
    """The way back: statuses of credentials, as one more source."""

    def rows(
        self,
        records: Sequence[FetchedRecord],
        targets: dict[int, list[Piece]],
        delivery: Delivery,  # noqa: ARG002 - nothing is rejected here
    ) -> None:
        """Route statuses to their credential's partition."""
        routed: dict[int, list[Row]] = {}
        for record in records:
            place = f"{record.topic}-{record.partition} offset {record.offset}"
            entry = decode_status(record.value or b"", place)
            if entry is None:
                continue
            subject = credential_subject(entry.realm, entry.id)
            partition = self.outlet.keys.partition(AXIS_PRINCIPAL, subject, self.outlet.partitions)
            routed.setdefault(partition, []).append(
                (
                    record.offset,
                    RowKind.STATUS,
                    AXIS_PRINCIPAL,
                    subject,
                    entry.at_ms,
                    entry.version,
                    entry.status,
                    entry.finding,
                    entry.restart_ms,
                    entry.reopen_ms,
                    entry.watch,
                )
            )
        for partition, rows in routed.items():
            targets.setdefault(partition, []).extend(pieces_of(partition, rows))


class IntakeRole(Role):
    """Consumes the sources of one cluster, and `status` where that cluster is our own."""

    def __init__(
        self,
        app: RoleApp,
        sources: Mapping[str, SourceSettings],
        status_topic: str | None,
        *,
        outlet: RoutedOutlet,
        cluster: str,
        gaps: Gaps | None = None,
        inputs: Mapping[str, Input],
        replay: tuple[str, Decoder] | None = None,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        topics = [*sources, *([status_topic] if status_topic else []), *([replay[0]] if replay else [])]
        super().__init__(app, topics, on_fatal, gaps)
        self._replay = replay
        self._sources = sources
        self._outlet = outlet
        self._cluster = cluster
        self._decoders = {
            topic: read.decoder(SecretsSeen(sources[topic].name, outlet.metrics))
            for topic, read in inputs.items()
        }

    def new_partition(self, tp: Partition, position: int) -> IntakePartition:
        """Return the reader of a newly assigned partition."""
        source_id = SourceId(self._cluster, self.topic_ids[tp.topic], tp.topic, tp.partition)
        outlet = self._outlet
        if self._replay is not None and tp.topic == self._replay[0]:
            decode = self._replay[1]
            return SourcePartition(
                tp, position, source_id, outlet, name=REPLAY, format_name=REPLAY, decode=decode
            )
        source = self._sources.get(tp.topic)
        if source is None:
            return StatusPartition(tp, position, source_id, outlet)
        return SourcePartition(
            tp,
            position,
            source_id,
            outlet,
            name=source.name,
            format_name=source.format,
            decode=self._decoders[tp.topic],
        )
