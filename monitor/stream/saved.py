"""What the `state` topic holds of one routed partition: read at its opening, kept up by each flush."""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from monitor.engine.detectors import Saving, recovered_state
from monitor.errors import ConfigurationError, Fault
from monitor.observe.memory import set_apart
from monitor.stream.read import read_to_end
from monitor.wire import state

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from monitor.core.detector import Detector
    from monitor.core.subjects import SubjectKey
    from monitor.observe.metrics import Metrics
    from monitor.settings import KafkaSettings
    from monitor.wire.state import ReadRecord

log = structlog.get_logger(__name__)

#: Longest stretch without giving way to other tasks, in seconds.
SLICE_SECONDS = 0.01
#: Records of state that are taken in one go.
TAKEN_AT_ONCE = 1_000
#: Subjects looked at in each flush for being freed.
SWEEP_SUBJECTS = 2_000
#: Seconds between two lines of the log that say how far a recovery is.
PROGRESS_SECONDS = 5.0
#: Recoveries that end within so long of one another share one look for garbage, in seconds.
TOGETHER_SECONDS = 0.5

Record = tuple[bytes, bytes | None]


_recovering = 0
_look: asyncio.TimerHandle | None = None


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Keep Python from looking for garbage among what is being restored, and from then on in all that stays.

    It would go through all of it again and again: 40 % of a recovery of 300,000 subjects.
    """
    global _recovering, _look  # noqa: PLW0603 - the collector is global too
    _recovering += 1
    gc.disable()
    if _look is not None:
        _look.cancel()  # the one that ends last looks for all
    try:
        yield
    finally:
        _recovering -= 1
        if not _recovering:
            gc.enable()
            # Each look stops the worker: sixteen partitions that were opened one after the other took nearly a second.
            _look = asyncio.get_running_loop().call_later(TOGETHER_SECONDS, set_apart)


class _Turn:
    """Work in the event loop that lets other tasks have their turn at least every `SLICE_SECONDS`."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    async def give_way(self) -> None:
        """Let others have their turn, where this one took long enough."""
        if time.perf_counter() - self._began > SLICE_SECONDS:
            await asyncio.sleep(0)
            self._began = time.perf_counter()


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was read at an opening."""

    records: int
    subjects: int
    has_marks: bool


class SavedState:
    """The records of one partition's state; whoever holds it is the only one that writes there."""

    def __init__(self, topic: str, partition: int, detector: Detector, metrics: Metrics) -> None:
        self._topic, self._partition = topic, partition
        self._place = f"{topic}-{partition}"
        self._detector = detector
        self._metrics = metrics
        #: The records of a subject beside its own: pages, which the topic holds.
        self._pages: dict[SubjectKey, frozenset[bytes]] = {}
        #: Keys that nothing durable refers to once the flush before is acknowledged.
        self._dead: dict[bytes, None] = {}
        #: What the marks stand for: the last routed offset that they saw, here or before.
        self._marks_stamp = -1
        self._saving = Saving(detector)
        self._rules_version = -1

    async def recover(self, kafka: KafkaSettings) -> Recovery:
        """Read the partition to its end and give the detector its state.

        Raises InvariantError where it cannot be read.
        """
        with _no_garbage():
            return await self._recover(kafka)

    async def _recover(self, kafka: KafkaSettings) -> Recovery:
        recovered = recovered_state(self._detector, self._place)
        await self._read(kafka, recovered)
        rules = recovered.single(state.RULES_KEY)
        if rules is not None:
            stamp, snapshot = rules
            self._detector.restore_rules(snapshot, stamp)
            self._rules_version = self._detector.rules_version
        subjects, turn = 0, _Turn()
        for some in recovered.subjects():
            for found in some:
                self._restore(found)
            subjects += len(some)
            await turn.give_way()
        marks = recovered.single(state.MARKS_KEY)
        if marks is not None:
            self._marks_stamp = marks[0]
            self._detector.marks.restore(marks[1])
        return Recovery(recovered.records, subjects + recovered.in_place, marks is not None)

    async def _read(self, kafka: KafkaSettings, recovered: state.RecoveredState) -> None:
        progress = self._metrics.recovery_records.labels(str(self._partition))
        told = time.monotonic()
        records: Sequence[ReadRecord]
        async for records, position, end in read_to_end(kafka, self._topic, self._partition):
            for at in range(0, len(records), TAKEN_AT_ONCE):
                recovered.add_all(records[at : at + TAKEN_AT_ONCE])
                await asyncio.sleep(0)
            progress.set(end - position)
            if time.monotonic() - told > PROGRESS_SECONDS:
                told = time.monotonic()
                log.info(
                    "reading state", partition=self._partition, records=recovered.records, left=end - position
                )
        progress.set(0)

    def _restore(self, found: state.RecoveredSubject) -> None:
        if found.extra:
            self._pages[found.key] = found.extra
        if found.packed is not None:
            self._detector.subjects.restore_resting(found.key, found.stamp, found.packed, found.until_ms)
        elif found.stamp >= 0:
            self._detector.restore_subject(found.key, found.stamp, found.plain)

    async def changes(self, stamp: int, append_ms: int) -> list[Record]:
        """Return the records of everything that changed since the call before, the marks last.

        `stamp` is the last routed offset applied, `append_ms` its append time. Nothing may be applied
        meanwhile, and all of it must be durable before the next call.
        """
        detector = self._detector
        records: list[Record] = [(key, None) for key in self._dead]
        self._dead = {}
        for key in (*detector.subjects.take_moved(), *detector.sweep(append_ms, SWEEP_SUBJECTS)):
            records.append(state.encode_freed(key, stamp))
            self._dead[state.subject_tombstone(key)] = None
            self._dead |= dict.fromkeys(self._pages.pop(key, ()))
            self._saving.forget(key)
        turn = _Turn()
        for _ in self._saving.rest():
            await turn.give_way()
        for small, large in self._saving.changed(stamp):
            self._add_small(small, records)
            for key, encoded in large:
                self._add(key, encoded, records)
            await turn.give_way()
        self._metrics.saw_nearest(detector.take_nearest())
        if detector.rules_version != self._rules_version:
            self._rules_version = detector.rules_version
            records.append((state.RULES_KEY, state.encode_single(stamp, detector.snapshot_rules())))
        # While the log is read again, marks stand where they were recovered: they only rise.
        self._marks_stamp = max(self._marks_stamp, stamp)
        records.append((state.MARKS_KEY, state.encode_single(self._marks_stamp, detector.marks.snapshot())))
        return records

    def _add_small(self, small: list[tuple[bytes, bytes]], records: list[Record]) -> None:
        """Add the records of subjects that have no pages, or none any more."""
        records += small
        if self._dead:
            for name, _ in small:
                self._dead.pop(name, None)
        if self._pages:
            for name, _ in small:
                self._dead |= dict.fromkeys(self._pages.pop(state.subject_of(name), ()))

    def _add(self, key: SubjectKey, encoded: state.EncodedSubject, records: list[Record]) -> None:
        before = self._pages.get(key, frozenset())
        # Pages first: a writer that dies in between, on a broker without transactions, tears nothing.
        records += [(name, page) for name, page in encoded.pages.items() if name not in before]
        records.append((encoded.key, encoded.value))
        for name in (encoded.key, *encoded.pages):
            self._dead.pop(name, None)
        self._dead |= dict.fromkeys(before - encoded.pages.keys())
        self._pages[key] = frozenset(encoded.pages)

    def check_whole(self, recovery: Recovery, committed: int, rebuilt_below: int) -> None:
        """Raise ConfigurationError where positions were committed, but the state that belongs to them is gone.

        Marks are written with every flush, before its position is committed. Below `rebuilt_below` the
        state is known to be made anew.
        """
        if recovery.has_marks or committed <= rebuilt_below or not committed:
            return
        torn = "holds subjects without marks" if recovery.records else "is empty"
        fault = Fault(
            self._place,
            f"{torn}, although `routed` was read up to {committed}: what was counted is lost",
            f"`monitor init --adopt {self._topic}` builds it anew from what `routed` keeps; see docs/disaster.md",
        )
        raise ConfigurationError("The state is lost", [fault])
