"""Lean records are aiokafka's own, over the same bytes: what is skipped, where it goes on, what fails."""

from __future__ import annotations

import asyncio
import gc
import struct
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record._crc32c import crc as crc32c
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from monitor.engine import batches
from monitor.stream.fetching import RoleConsumer
from monitor.stream.kafka import aiokafka_options, consumer_options
from monitor.stream.records import PIECE_RECORDS, FetchedBatches, FetchedRecord, LeanRecords
from tests.rig.broker import create_topic
from tests.rig.configuration import settings_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

TP = TopicPartition("topic", 3)
FIELDS = FetchedRecord.__struct_fields__
DEADLINE_SECONDS = 60.0
_CONTROL, _ABORT, _COMMIT = 0x20, b"\0\0\0\0", b"\0\0\0\1"

values = st.one_of(st.none(), st.binary(max_size=40))
records = st.tuples(
    values, values, st.lists(st.tuples(st.text(max_size=3), st.binary(max_size=5)), max_size=2)
)


@pytest.fixture(scope="module", autouse=True, params=["native", "python"])
def unpacking(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have plain batches unpacked by either code."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "python":
            patch.setattr("monitor.stream.records.batches", None)
        else:
            assert batches is not None
        yield


def batch(
    first: int,
    held: Sequence[tuple[int, Any, Any, Any]],
    *,
    span: int = 0,
    codec: int = 0,
    producer: int = -1,
    transactional: bool = False,
    more_flags: int = 0,
) -> bytes:
    """Return a batch from offset `first` that spans so many offsets and holds (delta, key, value, headers)."""
    builder = DefaultRecordBatchBuilder(2, codec, int(transactional), producer, 0, 0, 1 << 30)
    for delta, key, value, headers in held:
        builder.append(delta, 1_700_000_000_000 + delta, key, value, list(headers))
    made = bytearray(builder.build())
    struct.pack_into(">q", made, 0, first)
    made[22] |= more_flags
    struct.pack_into(">i", made, 23, max(span, 1) - 1)
    struct.pack_into(">I", made, 17, crc32c(bytes(made[21:])))
    return bytes(made)


def marker(at: int, producer: int, key: bytes) -> bytes:
    return batch(at, [(0, key, b"", [])], producer=producer, transactional=True, more_flags=_CONTROL)


def both(
    data: bytes,
    first: int,
    aborted: Any = (),
    isolation: int = READ_COMMITTED,
    *,
    check_crcs: bool = True,
) -> tuple[Any, LeanRecords]:
    """Return aiokafka's reader of these bytes, and ours."""
    theirs, ours = (
        PartitionRecords(TP, kind(data), list(aborted), first, None, None, check_crcs, isolation)
        for kind in (MemoryRecords, FetchedBatches)
    )
    return theirs, LeanRecords(ours)


def taken(reader: Any, most: int) -> list[tuple[Any, ...]]:
    """Take records as aiokafka's `FetchResult.getall` does."""
    found = []
    for record in reader:
        found.append(tuple(getattr(record, field) for field in FIELDS))
        if len(found) >= most:
            break
    return found


def alike(theirs: Any, ours: LeanRecords, sizes: Sequence[int]) -> list[tuple[Any, ...]]:
    """Take all from both, so many at a time, and compare at each step; return what there was."""
    found: list[tuple[Any, ...]] = []
    step = 0
    while True:
        most = sizes[step % len(sizes)]
        some = taken(theirs, most)
        assert taken(ours, most) == some
        assert ours.next_fetch_offset == theirs.next_fetch_offset
        found += some
        step += 1
        if len(some) < most:
            return found


@st.composite
def logs(draw: st.DrawFn) -> tuple[bytes, int, list[tuple[int, int]]]:
    """Batches of several producers, with gaps of compaction, some of them in transactions that are taken back."""
    data, at = b"", draw(st.integers(0, 50))
    aborted: list[tuple[int, int]] = []
    under_way: dict[int, int] = {}
    first = at + draw(st.integers(0, 6))
    for _ in range(draw(st.integers(0, 6))):
        producer = draw(st.integers(1, 3))
        if producer in under_way and draw(st.booleans()):
            begun, end = under_way.pop(producer), draw(st.sampled_from([_ABORT, _COMMIT]))
            if end == _ABORT:
                aborted.append((producer, begun))
            data, at = data + marker(at, producer, end), at + 1
            continue
        deltas = sorted(draw(st.sets(st.integers(0, 8), max_size=6)))
        span = max(deltas, default=0) + 1 + draw(st.integers(0, 2))
        transactional = draw(st.booleans())
        if transactional:
            under_way.setdefault(producer, at)
        held = [(delta, *draw(records)) for delta in deltas]
        codec = draw(st.integers(0, 4)) if held else 0  # what compaction empties is not compressed
        data += batch(at, held, span=span, codec=codec, producer=producer, transactional=transactional)
        at += span + draw(st.integers(0, 2))
    return data, first, aborted


@given(log=logs(), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4), committed_only=st.booleans())
def test_any_log_gives_the_same_records_and_positions(
    log: tuple[bytes, int, list[tuple[int, int]]], sizes: list[int], committed_only: bool
) -> None:
    data, first, aborted = log
    isolation = READ_COMMITTED if committed_only else READ_UNCOMMITTED
    alike(*both(data, first, aborted, isolation), sizes)


def outcome(reader: Any) -> tuple[list[tuple[Any, ...]], str]:
    """Take all; return what there was, and the kind of the error that ended it, if any."""
    found: list[tuple[Any, ...]] = []
    try:
        for record in reader:
            found.append(tuple(getattr(record, field) for field in FIELDS))  # noqa: PERF401 - up to the error
    except Exception as error:  # noqa: BLE001 - whatever it is
        return found, type(error).__name__
    return found, ""


@given(log=logs(), at=st.integers(0, 400), byte=st.integers(0, 255))
def test_bytes_that_are_no_log_end_as_they_do_with_aiokafka(
    log: tuple[bytes, int, list[tuple[int, int]]], at: int, byte: int
) -> None:
    data = bytearray(log[0])
    if at >= len(data) or at in range(12):  # lengths of batches are read by aiokafka for both
        return
    data[at] = byte
    theirs, ours = (outcome(reader) for reader in both(bytes(data), log[1], log[2], check_crcs=False))
    offsets = [record[2] for record in ours[0]]
    if offsets != sorted(set(offsets)):
        return  # no broker takes such a batch, and unpacked in Python its offsets are not compared with one another
    assert ours[1] == theirs[1]
    # A batch is unpacked at once: where one of its records is none, nothing of it is handed over.
    assert ours[0] == theirs[0] if not theirs[1] else ours[0] == theirs[0][: len(ours[0])]


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_batch_of_more_than_a_piece_is_whole(more: int) -> None:
    count = PIECE_RECORDS + more
    data = batch(0, [(at, None, b"%d" % at, []) for at in range(count)], span=count) + batch(
        count, [(0, b"k", b"v", [])]
    )
    found = alike(*both(data, 0), [700])
    assert [record[2] for record in found] == list(range(count + 1))


def test_aborted_records_and_markers_are_left_out() -> None:
    data = batch(0, [(0, None, b"gone", [])], producer=7, transactional=True)
    data += batch(1, [(0, b"key", None, [("h", b"x")])], producer=8, transactional=True)
    data += marker(2, 7, _ABORT) + batch(3, [(0, None, b"kept", [])], producer=7, transactional=True)
    data += marker(4, 8, _COMMIT)
    theirs, ours = both(data, 0, [(7, 0)])
    assert [record[2] for record in alike(theirs, ours, [10])] == [1, 3]
    assert ours.next_fetch_offset == 5


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [0, 1])
def test_formats_of_old_brokers_are_read(magic: int, codec: int) -> None:
    builder = LegacyRecordBatchBuilder(magic, codec, 1 << 20)
    for at in range(5):
        builder.append(at, timestamp=1_700_000_000_000 + at, key=b"k", value=b"%d" % at)
    found = alike(*both(bytes(builder.build()), 2), [2])
    assert [record[5] for record in found][-3:] == [b"2", b"3", b"4"]


def test_a_wrong_checksum_is_an_error_after_what_came_before() -> None:
    data = bytearray(batch(0, [(0, None, b"a", [])]) + batch(1, [(0, None, b"b", [])]))
    data[-1] ^= 1
    for reader in both(bytes(data), 0):
        assert next(reader).value == b"a"
        with pytest.raises(CorruptRecordException, match="Invalid CRC"):
            next(reader)
        assert reader.next_fetch_offset == 1
        assert taken(reader, 5) == []


@pytest.mark.parametrize("taken_before", [0, 1, 3])
def test_bytes_of_a_fetch_that_is_given_up_are_freed_at_once(taken_before: int) -> None:
    """Without the garbage collector, which comes late: a fetch is megabytes."""
    data = batch(0, [(at, None, b"x", []) for at in range(3)], span=3)
    gc.disable()
    try:
        fetched = PartitionRecords(TP, FetchedBatches(data), [], 0, None, None, True, READ_COMMITTED)
        known, ours = weakref.ref(fetched), LeanRecords(fetched)
        assert len(taken(ours, taken_before) if taken_before else []) == taken_before
        del fetched, ours
        assert known() is None
    finally:
        gc.enable()


def test_a_record_is_nothing_to_the_garbage_collector_and_shows_nothing() -> None:
    record = FetchedRecord("topic", 3, 17, 1, b"key", b"patient", ())
    assert not gc.is_tracked(record)
    assert repr(record) == "<record topic-3 offset 17>"


@pytest.mark.kafka
async def test_a_role_consumer_reads_from_a_real_broker_what_any_other_does(
    tmp_path: Path, kafka: str, prefix: str
) -> None:
    topic = f"{prefix}records"
    create_topic(kafka, topic, 1)
    tp = TopicPartition(topic, 0)
    settings = settings_for(tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix).kafka
    for codec in (None, "gzip", "lz4", "snappy", "zstd"):
        async with AIOKafkaProducer(**aiokafka_options(settings), compression_type=codec) as plain:
            for at in range(20):
                key, headers = (b"k", [("h", b"%d" % at)]) if at % 2 else (None, [])
                await plain.send(topic, None if at % 10 == 9 else b"%d" % at, key, 0, headers=headers)
    transactional = AIOKafkaProducer(**aiokafka_options(settings), transactional_id=f"{prefix}writer")
    async with transactional as producer:
        for number in range(6):
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"t%d" % number, partition=0)
            await (producer.abort_transaction() if number % 2 else producer.commit_transaction())
    theirs, ours = [await read(kind, settings, tp) for kind in (AIOKafkaConsumer, RoleConsumer)]
    assert ours == theirs
    assert sum(len(step[1]) for step in ours) == 103


async def read(kind: Any, settings: Any, tp: TopicPartition) -> list[tuple[int, list[tuple[Any, ...]]]]:
    """Return what comes, seven records at a time, each time with the position after it."""
    consumer = kind(**consumer_options(settings), auto_offset_reset="earliest")
    await consumer.start()
    steps: list[tuple[int, list[tuple[Any, ...]]]] = []
    try:
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not steps or steps[-1][0] < end:
                found = (await consumer.getmany(tp, timeout_ms=200, max_records=7)).get(tp, [])
                if found:
                    kinds = {type(record).__name__ for record in found}
                    assert kinds == {"FetchedRecord" if kind is RoleConsumer else "ConsumerRecord"}
                got = [tuple(getattr(record, field) for field in FIELDS) for record in found]
                steps.append((await consumer.position(tp), got))
    finally:
        await consumer.stop()
    return [step for step in steps if step[1]]
