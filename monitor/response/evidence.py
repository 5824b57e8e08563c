"""Gathers the evidence of each finding from `routed`, and reads it again.

Detect keeps no events: it costs nothing where nothing is found. So once a finding is decided, the rows of
its window are counted anew from the log, by the active enforcer and beside its work; what the credential
reads after the finding comes from detect itself. The ledger says up to which finding this is done.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka.errors import KafkaError

from monitor.engine.wanted import WantedRows
from monitor.stream.read import LogReader, read_to_end
from monitor.stream.sender import Delivery, OrderedSender
from monitor.wire.evidence import EvidenceRow, decode_evidence, encode_end, encode_evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from aiokafka import AIOKafkaProducer
    from aiokafka.structs import ConsumerRecord

    from monitor.core.evidence import PackedEvidence
    from monitor.settings import Settings

log = structlog.get_logger(__name__)

#: Findings whose evidence is gathered in one pass over the log: what they are looked for by is small.
_TOGETHER: Final = 10_000
#: How long after a finding the pass begins, in seconds: a pass costs a client, whatever it is for. After one that
#: took longer the next begins later, by so many times as long as it took, and by this at most: each reads its window
#: again, and under a flow of findings that is the same one.
_LATER_SECONDS: Final = 2.0
_LATER_BY: Final = 8
_LATEST_SECONDS: Final = 30.0
#: Records that are looked at in one go, a millisecond or two, and how much longer than that the rest after it
#: is: the process has findings to make meanwhile, and nobody is refused by evidence.
_AT_A_TIME: Final = 200
_REST: Final = 3
_AGAIN_SECONDS: Final = 5.0


class EvidenceGatherer:
    """Gathers, finding by finding; `gathered` is told the next finding's offset once that is durable."""

    def __init__(
        self,
        settings: Settings,
        producer: AIOKafkaProducer,
        on_fatal: Callable[[BaseException], None],
        gathered: Callable[[int], asyncio.Future[None]],
    ) -> None:
        self._settings = settings
        self._evidence = OrderedSender(producer, settings.topic("evidence"), on_fatal)
        self._gathered = gathered
        self._waiting: list[tuple[int, Mapping[str, Any]]] = []
        self._more = asyncio.Event()

    def put(self, offset: int, finding: Mapping[str, Any]) -> None:
        """Let the evidence of the finding at an offset be gathered."""
        self._waiting.append((offset, finding))
        self._more.set()

    def end(self) -> None:
        """Send nothing more."""
        self._evidence.end()

    async def run(self) -> None:
        """Gather without end; what Kafka does not give now is tried again."""
        next_at = 0.0
        while True:
            await self._more.wait()
            # First whoever was found is refused, and others with them.
            await asyncio.sleep(max(_LATER_SECONDS, next_at - time.monotonic()))
            batch = self._waiting[:_TOGETHER]
            began = time.monotonic()
            try:
                await self._gather([finding for _, finding in batch])
            except KafkaError as error:
                log.warning("evidence could not be read; again soon", error=type(error).__name__)
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            ended = time.monotonic()
            next_at = ended + min(_LATEST_SECONDS, (ended - began) * _LATER_BY)
            await self._gathered(batch[-1][0] + 1)
            del self._waiting[: len(batch)]
            if not self._waiting:
                self._more.clear()

    async def _gather(self, findings: list[Mapping[str, Any]]) -> None:
        delivery = Delivery()
        async with LogReader(self._settings.kafka, _AT_A_TIME) as reader:
            for partition in sorted({finding["routed"]["partition"] for finding in findings}):
                here = [finding for finding in findings if finding["routed"]["partition"] == partition]
                await self._gather_from(reader, partition, here, delivery)
        await delivery.wait()

    async def _gather_from(
        self, reader: LogReader, partition: int, findings: list[Mapping[str, Any]], delivery: Delivery
    ) -> None:
        topic = self._settings.topic("routed")
        since_ms = min(finding["window"]["from_ms"] for finding in findings)
        last = max(finding["routed"]["offset"] for finding in findings)
        # No event is appended before its own time, as it counts.
        first = await reader.offset_at(topic, partition, since_ms) or 0
        kept = await reader.first_kept(topic, partition)
        all_kept = kept == 0 or first > kept
        wanted = _Wanted(findings)
        kept_ms: int | None = None
        async with aclosing(reader.to_end(topic, partition, first)) as reading:
            async for records, position, _ in reading:
                began = time.perf_counter()
                for record in records:
                    if kept_ms is None:
                        kept_ms = record.timestamp
                    if record.offset <= last:
                        wanted.take(record)
                for key, value in encode_evidence(wanted.found, "window"):
                    self._evidence.put(0, value, delivery, key)
                wanted.found.clear()
                await self._evidence.room()
                if position > last:
                    break
                await asyncio.sleep((time.perf_counter() - began) * _REST)
        for finding in findings:
            whole = kept_ms is not None and (all_kept or kept_ms <= finding["window"]["from_ms"])
            key, value = encode_end(
                finding["id"], finding["axis"], finding["subject"], None if whole else kept_ms
            )
            self._evidence.put(0, value, delivery, key)


class _Wanted:
    """What is looked for in one partition of `routed`."""

    def __init__(self, findings: list[Mapping[str, Any]]) -> None:
        self.found: list[PackedEvidence] = []
        #: By (axis, subject): (finding, from when, up to which routed record).
        cases: dict[tuple[str, str], list[tuple[str, int, int]]] = {}
        for finding in findings:
            case = finding["id"], finding["window"]["from_ms"], finding["routed"]["offset"]
            cases.setdefault((finding["axis"], finding["subject"]), []).append(case)
        self._cases = list(cases.items())
        self._rows = WantedRows(list(cases))

    def take(self, record: ConsumerRecord) -> None:
        """Note what a record of `routed` shows of any of them."""
        place = f"{record.topic}-{record.partition} offset {record.offset}"
        for number, time_ms, row, source in self._rows.of(record.value or b"", place, record.timestamp):
            (axis, subject), cases = self._cases[number]
            for finding, from_ms, last in cases:
                if time_ms > from_ms and record.offset <= last:
                    self.found.append((finding, axis, subject, row, source))


async def read_evidence(
    settings: Settings, findings: Collection[str]
) -> tuple[dict[tuple[str, int, int], EvidenceRow], set[str]]:
    """Return the rows of some findings by (topic id, partition, offset), and which windows are complete."""
    topic = settings.topic("evidence")
    rows: dict[tuple[str, int, int], EvidenceRow] = {}
    complete: set[str] = set()
    keys = {finding.encode() for finding in findings}
    async for records, _, _ in read_to_end(settings.kafka, topic, 0):
        for record in records:
            if record.key not in keys or record.value is None:
                continue
            entry = decode_evidence(record.value, f"{topic}-0 offset {record.offset}")
            if entry.part == "end" and entry.kept_ms is None:
                complete.add(entry.finding)
            if entry.source is not None:
                for row in entry.rows:
                    rows[entry.source.topic_id, entry.source.partition, row[0]] = row
    return rows, complete
