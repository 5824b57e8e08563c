"""Records as the roles see them, unpacked from fetched batches with little work for each.

aiokafka makes a dataclass of each record, by a generator that runs once for each, and leaves several objects
to the garbage collector: nearly as much work as decoding and routing its event. Here a batch becomes records in one
native call, or one list comprehension where it is compressed; what is skipped and where the next fetch goes on is as in
aiokafka's `PartitionRecords._unpack_records`, whose state is used (tests/stream/test_records.py compares the two).
"""

from __future__ import annotations

import operator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords

from monitor.engine import batches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aiokafka.consumer.fetcher import PartitionRecords

#: Records of a batch that are unpacked at once: a small batch may inflate to millions.
PIECE_RECORDS: Final = 2_000
#: Most records of a batch that is not compressed which are unpacked at once: some milliseconds.
QUICK_RECORDS: Final = 20_000
#: Where a batch says how long it is, and the bytes before those that it counts (of any version).
_LENGTH_AT: Final = 8
_UNCOUNTED_BYTES: Final = 12


class FetchedRecord(msgspec.Struct, frozen=True, gc=False):
    """One record, with those attributes of aiokafka's `ConsumerRecord` that we use.

    `timestamp` is in epoch ms: the producer's, or the broker's where the topic says so. No cycle can go
    through it, so the garbage collector need not look.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    def __repr__(self) -> str:
        """Say which record it is, and nothing of what it holds."""
        return f"<record {self.topic}-{self.partition} offset {self.offset}>"


class FetchedBatches:
    """Stands for aiokafka's `MemoryRecords`: the same batches, and what is in the last one by native code, where there is some."""

    __slots__ = ("_at", "_batches", "_content", "_last", "_next")

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._batches = MemoryRecords(content)
        self._at = self._next = 0
        self._last: Any = None

    def size_in_bytes(self) -> int:
        """Return how many bytes were fetched, with those of a batch that is not whole."""
        return int(self._batches.size_in_bytes())

    def has_next(self) -> bool:
        """Return whether another whole batch follows."""
        return bool(self._batches.has_next())

    def next_batch(self) -> Any:
        """Return the next batch, as aiokafka's."""
        self._at = self._next
        self._next += _UNCOUNTED_BYTES + int.from_bytes(
            self._content[self._at + _LENGTH_AT : self._at + _UNCOUNTED_BYTES]
        )
        self._last = self._batches.next_batch()
        return self._last

    def intact(self) -> bool:
        """Return whether the last batch bears its checksum."""
        found = None if batches is None else batches.intact(self._content, self._at)
        return bool(self._last.validate_crc() if found is None else found)

    def records(self, topic: str, partition: int, least: int) -> Iterator[list[FetchedRecord]]:
        """Yield the records of the last batch from offset `least` on, in pieces of at least one."""
        if batches is not None:
            found = batches.unpack(
                self._content, self._at, least, QUICK_RECORDS, topic, partition, FetchedRecord
            )
            if found is not None:
                if found:
                    yield found
                return
        unpacked = chain(self._last)  # which goes on where it was; a batch must not be iterated again
        while piece := [
            FetchedRecord(topic, partition, one.offset, one.timestamp, one.key, one.value, tuple(one.headers))
            for one in islice(unpacked, PIECE_RECORDS)
        ]:
            new = piece if piece[0].offset >= least else [one for one in piece if one.offset >= least]
            if new:
                yield new


class _Place:
    """How far the records of a fetch were taken: apart from them, so that no cycle keeps their bytes."""

    __slots__ = ("_fetched", "_piece", "_rest")

    def __init__(self, fetched: PartitionRecords) -> None:
        self._fetched = fetched
        self._piece: Sequence[FetchedRecord] = ()
        self._rest: Iterator[FetchedRecord] = iter(())

    def begin(self, piece: Sequence[FetchedRecord]) -> Iterator[FetchedRecord]:
        self._piece, self._rest = piece, iter(piece)
        return self._rest

    def end(self, next_offset: int) -> None:
        self._piece, self._rest = (), iter(())
        self._fetched.next_fetch_offset = next_offset

    @property
    def next_offset(self) -> int:
        taken = len(self._piece) - operator.length_hint(self._rest)
        return self._piece[taken - 1].offset + 1 if taken else int(self._fetched.next_fetch_offset)


class LeanRecords:
    """Stands for aiokafka's `PartitionRecords` in a result of a fetch: the same records, lean ones."""

    __slots__ = ("_flat", "_place")

    def __init__(self, fetched: PartitionRecords) -> None:
        fetched._records_iterator = None  # noqa: SLF001 - never begun; it would keep the bytes in a cycle
        self._place = _Place(fetched)
        self._flat = chain.from_iterable(_pieces(fetched, self._place))

    @property
    def next_fetch_offset(self) -> int:
        """Where the next fetch begins, once what was taken so far is consumed."""
        return self._place.next_offset

    def __iter__(self) -> Iterator[FetchedRecord]:
        """Return the records that were not taken yet."""
        return self._flat

    def __next__(self) -> FetchedRecord:
        """Return the next one."""
        return next(self._flat)


def _pieces(fetched: PartitionRecords, place: _Place) -> Iterator[Iterator[FetchedRecord]]:
    """Yield the records of some fetched batches, in pieces.

    What is aborted is skipped, and so are the markers of transactions, records before the position that was
    asked for (a batch comes whole), and those that compaction took away.
    """
    topic, partition = fetched._tp  # noqa: SLF001
    fetched_batches: FetchedBatches = fetched._records  # noqa: SLF001
    while fetched_batches.has_next():
        batch = fetched_batches.next_batch()
        if fetched._check_crcs and not fetched_batches.intact():  # noqa: SLF001
            msg = f"Invalid CRC - {topic}-{partition}"
            raise CorruptRecordException(msg)
        if not (_aborted(fetched, batch) or batch.is_control_batch):
            for piece in fetched_batches.records(topic, partition, fetched.next_fetch_offset):
                yield place.begin(piece)
                place.end(piece[-1].offset + 1)
        place.end(batch.next_offset)


def _aborted(fetched: PartitionRecords, batch: Any) -> bool:
    """Return whether the records of a batch were taken back, by the transactions that a fetch lists."""
    if fetched._isolation_level != READ_COMMITTED or batch.producer_id is None:  # noqa: SLF001
        return False
    fetched._consume_aborted_up_to(batch.base_offset)  # noqa: SLF001
    aborted = fetched._aborted_producers  # noqa: SLF001
    if batch.is_control_batch and fetched._contains_abort_marker(batch):  # noqa: SLF001
        aborted.discard(batch.producer_id)
    return bool(batch.is_transactional and batch.producer_id in aborted)
