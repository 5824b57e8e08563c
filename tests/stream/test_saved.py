"""State through the bytes of its topic: any flush, any crash, any page size, and findings stay the same."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.events import RowsRecord, RulesRecord
from monitor.engine import detectors
from monitor.observe.metrics import Metrics
from monitor.stream.saved import Record, SavedState
from monitor.wire import pages, state
from tests.core.samples import (
    EVENTS,
    Entry,
    event,
    logs,
    new_detector,
    put,
    rule,
    rules_record,
    text,
)
from tests.core.test_detector_exact import dice

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

    from monitor.core.detector import Detector

pytestmark = pytest.mark.usefixtures("both_detectors")

METRICS = Metrics()
PAGE_BYTES = 200


class Topic:
    """Stands for one partition of `state`, as compaction keeps it or as it was written."""

    def __init__(self) -> None:
        self.log: list[Record] = []

    def compacted(self) -> list[Record]:
        newest = dict(self.log)
        return [(key, value) for key, value in newest.items() if value is not None]


class Written(NamedTuple):
    """A record where it stands."""

    key: bytes
    value: bytes | None
    offset: int


class OverTopic(SavedState):
    """Reads what stands in a `Topic`."""

    def __init__(self, records: Sequence[Record], detector: Detector) -> None:
        super().__init__("state", 0, detector, METRICS)
        self._records = records

    async def _read(self, _kafka: Any, recovered: state.RecoveredState) -> None:
        written = [Written(key, value, offset) for offset, (key, value) in enumerate(self._records)]
        for at in range(0, len(written), 7):
            recovered.add_all(written[at : at + 7])


async def recovered(records: Sequence[Record]) -> tuple[Detector, OverTopic]:
    detector = new_detector()
    saved = OverTopic(records, detector)
    # Without the look for garbage: it goes through all that the test process holds, each time.
    await saved._recover(None)  # type: ignore[arg-type]
    return detector, saved


@contextmanager
def small_pages() -> Iterator[None]:
    """Let what is tested fill pages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "LONGEST_PAGE", PAGE_BYTES)
        patch.setattr(detectors, "LONGEST_PAGE", PAGE_BYTES)
        patch.setattr(state, "LONG_BYTES", 16)
        patch.setattr(pages, "LONGEST_PAGE", PAGE_BYTES)
        patch.setattr(pages, "SHORTEST_PAGE", 8)
        patch.setattr(pages, "_DIVISOR", 3)
        patch.setattr(pages, "_SIGN_DIVISOR", 2)
        yield


@pytest.mark.timeout(600)
@settings(max_examples=500)
@given(logs(rule_changes=True), dice, st.booleans())
async def test_any_flush_and_crash_gives_the_same_findings(
    log: list[Entry], rng: random.Random, atomic: bool
):
    """Where writes are not atomic a crash leaves the first part of a flush; compaction may come between."""
    with small_pages():
        found, expected = await run(log, rng, atomic=atomic)
    assert found == expected


async def run(
    log: list[Entry], rng: random.Random, *, atomic: bool
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return the findings of a run with crashes, and of one without."""
    baseline = new_detector()
    for entry in log:
        put(baseline, entry)
    expected = text(baseline.take_outcomes().findings)
    topic, committed = Topic(), 0
    detector, saved = await recovered(())
    found: list[dict[str, Any]] = []
    at = 0
    while at < len(log):
        put(detector, log[at])
        at += 1
        if rng.random() < 0.6:
            continue
        found += detector.take_outcomes().findings
        records = await saved.changes(log[at - 1].offset, log[at - 1].append_ms)
        written = len(records) if rng.random() < 0.7 else 0 if atomic else rng.randint(0, len(records))
        topic.log += records[:written]
        if rng.random() < 0.3:
            topic.log = list(topic.compacted())
        if written == len(records) and rng.random() < 0.8:
            committed = at
        elif written == len(records) and rng.random() < 0.5:
            continue  # durable, but the commit comes with the next one
        else:
            detector, saved = await recovered(topic.log)
            at = committed
            continue
        if rng.random() < 0.3:
            detector, saved = await recovered(topic.log)
            at = committed
    found += detector.take_outcomes().findings
    return text(found), expected


def reads(first: int, count: int) -> list[Entry]:
    """Return a log of one credential that reads `count` patients, one a second."""
    rows = [
        event(number, 1_000_000 + 1_000 * number, patients=[(f"k1:{number:024x}", "t")])
        for number in range(first, first + count)
    ]
    last = first + count - 1
    return [Entry(last, 1_000_000 + 1_000 * last, RowsRecord(EVENTS, first, last, not first, rows))]


async def flushed(detector: Detector, saved: SavedState, entries: list[Entry]) -> list[Record]:
    for entry in entries:
        put(detector, entry)
    return await saved.changes(entries[-1].offset, entries[-1].append_ms)


def size(records: Sequence[Record]) -> int:
    return sum(len(key) + len(value or b"") for key, value in records)


async def test_a_large_subject_is_written_by_the_page():
    rules: RulesRecord = rules_record(
        [rule("bulk", counted="patient", timespan_ms=86_400_000, threshold=40_000)]
    )
    detector, saved = await recovered(())
    detector.activate(rules, 0)
    topic = Topic()
    whole = await flushed(detector, saved, reads(0, 30_000))
    topic.log += whole
    few = await flushed(detector, saved, reads(30_000, 50))
    topic.log += few
    assert size(few) < size(whole) / 5
    assert all(len(value or b"") < 64_000 for _, value in topic.log)
    topic.log += await flushed(detector, saved, reads(30_050, 50))
    kept = len(topic.compacted())
    for first in range(30_100, 33_100, 500):
        topic.log += await flushed(detector, saved, reads(first, 500))
    assert len(topic.compacted()) < kept + 20, "pages that nothing refers to are deleted"
    again, _ = await recovered(topic.compacted())
    key = ("principal", "gw/p")
    assert again.snapshot_subject(key)[3] == detector.snapshot_subject(key)[3]


async def test_a_subject_rests_once_it_was_not_touched_for_a_flush():
    detector, saved = await recovered(())
    detector.activate(rules_record([rule("r", counted="patient", timespan_ms=10_000, threshold=5)]), 0)
    topic = Topic()
    topic.log += await flushed(detector, saved, reads(0, 3))
    other = [
        Entry(
            9,
            1_003_000,
            RowsRecord(EVENTS, 3, 3, False, [event(3, 1_003_000, principal="q", patients=[("a", None)])]),
        )
    ]
    topic.log += await flushed(detector, saved, other)
    assert (detector.subject_count, detector.subjects.resting_count) == (2, 1)
    again, _ = await recovered(topic.compacted())
    assert again.subjects.resting_count == 2
    put(detector, reads(4, 2)[0])
    put(again, reads(4, 2)[0])
    assert text(again.take_outcomes().findings) == text(detector.take_outcomes().findings) != {}
    assert again.subjects.resting_count == 1


async def test_marks_are_not_followed_by_older_ones_while_the_log_is_read_again():
    """The state was durable and its position was not: the next owner begins below the stamps."""
    detector, saved = await recovered(())
    detector.activate(rules_record([rule("r", threshold=5)]), 0)
    topic = Topic()
    topic.log += await flushed(detector, saved, reads(0, 3))
    stamp = marks_stamp(topic.log)
    assert stamp > 0
    _, again = await recovered(topic.log)
    assert marks_stamp(await again.changes(0, 1_000_000)) == stamp
    assert marks_stamp(await again.changes(stamp + 1, 1_000_000)) == stamp + 1


def marks_stamp(records: Sequence[tuple[bytes, bytes | None]]) -> int:
    values = [value for key, value in records if key == b"m" and value is not None]
    stamp: int = msgspec.msgpack.decode(values[-1])[1]
    return stamp


class Ring:
    """Something that only a look for garbage frees."""

    def __init__(self) -> None:
        self.itself = self


async def recover() -> None:
    await OverTopic([], new_detector()).recover(None)  # type: ignore[arg-type]


async def freed(left: weakref.ref[Ring]) -> None:
    async with asyncio.timeout(10):
        while left() is not None:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("kept_before", [False, True])
async def test_a_recovery_keeps_no_garbage_for_good(kept_before: bool) -> None:
    """A worker that takes over from others again and again must not grow by what each recovery found."""
    ring = Ring()
    left = weakref.ref(ring)
    try:
        if kept_before:
            await recover()
        del ring
        await recover()
        await freed(left)
        assert gc.isenabled()
    finally:
        gc.unfreeze()


async def test_recoveries_one_after_the_other_share_one_look_for_garbage() -> None:
    """Each stops the worker for as long as it takes to go through all there is."""
    ring = Ring()
    left = weakref.ref(ring)
    whole = []

    def note(phase: str, told: dict[str, int]) -> None:
        if phase == "start" and told["generation"] == 2:
            whole.append(told)

    gc.callbacks.append(note)
    try:
        del ring
        for _ in range(10):
            await recover()
        await freed(left)
    finally:
        gc.callbacks.remove(note)
        gc.unfreeze()
    assert len(whole) < 5  # Python may look by itself, too
