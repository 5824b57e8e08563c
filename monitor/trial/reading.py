"""Blocks of records into rows: decoded, routed to shards, stamped with the time of the log."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count, repeat
from typing import TYPE_CHECKING, Final, NamedTuple

from monitor import engine
from monitor.core.events import SourceId
from monitor.core.windows import NEVER
from monitor.errors import RejectedRecordError
from monitor.intake.inputs import Input
from monitor.intake.native import LogRead, NativeLog
from monitor.intake.rows import EventRouter
from monitor.rulebook import compile_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from monitor.core.events import Row
    from monitor.core.rules import RuleSet
    from monitor.intake.formats import Decoder
    from monitor.intake.keys import Keys
    from monitor.intake.native import LogRecord

#: Rejected records of one reason whose positions are named.
NAMED_RECORDS: Final = 5
#: All files are one source to the core; an event's offset is its file's number from 1, then its line.
LINE_BITS: Final = 40
FILES: Final = SourceId("", "files", "files", 0)

#: (position, when Kafka took it in epoch ms, value, headers) of one record of a topic.
Record = tuple[int, int, bytes | None, "Sequence[tuple[str, bytes]]"]


@dataclass(frozen=True, slots=True)
class Feed:
    """One file, or one partition of a topic.

    Its records are at `base` + position (line from 1, or offset) in `source`; a topic's base is 0.
    """

    number: int
    name: str
    format: str
    realm: str
    source: SourceId
    base: int = 0
    routes: tuple[Path | str, ...] = ()
    formats: tuple[Path, ...] = ()

    @classmethod
    def of_file(cls, number: int, name: str, read: Input) -> Feed:
        """Return the feed of a file; files are numbered from 0."""
        base = (number + 1) << LINE_BITS
        return cls(number, name, read.format, read.realm, FILES, base, read.routes, read.formats)

    def decoder(self) -> Decoder:
        """Return what reads its records, as a worker would."""
        return Input(self.format, self.realm, routes=self.routes, formats=self.formats).decoder()


class Block(NamedTuple):
    """Some records of a feed, in order: whole lines from line `first` on, or records of a topic.

    An empty block is the feed's end.
    """

    feed: int
    first: int
    data: bytes | Sequence[Record]


class Piece(NamedTuple):
    """What a block holds for one shard.

    `rows` are packed where the native code made them. `times` are, for each row, the latest time of the block up to it, so they rise. `first_ms` and
    `last_ms` are the first and the last of these over the whole block, whatever shard; `NEVER` where it
    holds no event.
    """

    feed: int
    first_ms: int
    last_ms: int
    times: list[int]
    rows: Sequence[Row] | Sequence[bytes]
    ends: bool


@dataclass(slots=True)
class Tally:
    """What was read. Positions of rejected records are (feed, line or offset), the first ones."""

    records: int = 0
    events: int = 0
    anonymous: int = 0
    ahead: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    places: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    def reject(self, reason: str, feed: int, position: int) -> None:
        """Count a record that could not be read."""
        self.rejected[reason] = self.rejected.get(reason, 0) + 1
        places = self.places.setdefault(reason, [])
        if len(places) < NAMED_RECORDS:
            places.append((feed, position))

    def add(self, other: Tally) -> None:
        """Add what another block or process read, in whatever order."""
        self.records += other.records
        self.events += other.events
        self.anonymous += other.anonymous
        self.ahead += other.ahead
        for reason, number in other.rejected.items():
            self.rejected[reason] = self.rejected.get(reason, 0) + number
            places = self.places.get(reason, []) + other.places[reason]
            self.places[reason] = sorted(places)[:NAMED_RECORDS]


@dataclass(frozen=True, slots=True)
class Reading:
    """How records become rows; the same for all processes of a run.

    No clock that is right was ever past `latest_ms`: a later event does not move the time of the log.
    """

    feeds: tuple[Feed, ...]
    rule_set: RuleSet
    keys: Keys
    latest_ms: int


class Reader:
    """Decodes and routes blocks, of any feed and in any order."""

    def __init__(self, reading: Reading, shards: int) -> None:
        self._feeds = reading.feeds
        self._shards = shards
        self._latest_ms = reading.latest_ms
        self._router = EventRouter(reading.rule_set, reading.keys, shards, compile_pattern)
        self._native = None if engine.router is None else NativeLog(self._router, reading.latest_ms)
        decoders = {(feed.format, feed.realm): feed.decoder() for feed in reading.feeds}
        self._decoders = [decoders[feed.format, feed.realm] for feed in reading.feeds]

    def read(self, block: Block) -> tuple[Tally, list[Piece]]:
        """Return what was read, and a piece for each shard."""
        feed, decode = self._feeds[block.feed], self._decoders[block.feed]
        records, tally = list(_records(block)), Tally()

        def failed(place: int, error: Exception) -> None:
            # A traceback may hold its own error in a cycle, and nobody looks for those here.
            error.__traceback__ = None
            reason = error.reason if isinstance(error, RejectedRecordError) else "internal"
            tally.reject(reason, feed.number, records[place][0])

        read = self._in_python if self._native is None else self._native.read
        found = read(records, feed.base, decode, failed)
        tally.records, tally.events = len(records), found.events
        tally.anonymous, tally.ahead = found.anonymous, found.ahead
        ends = not block.data
        return tally, [
            Piece(feed.number, found.first_ms, found.reached_ms, times, rows, ends)
            for times, rows in found.shards
        ]

    def _in_python(
        self,
        records: Sequence[LogRecord],
        base: int,
        decode: Decoder,
        failed: Callable[[int, Exception], None],
    ) -> LogRead:
        """Return what records hold, as `NativeLog.read` does, but for rows that are not packed."""
        route, latest_ms = self._router.route, self._latest_ms
        times: list[list[int]] = [[] for _ in range(self._shards)]
        rows: list[list[Row]] = [[] for _ in range(self._shards)]
        # The hot loop of all trials: methods are looked up once.
        add_time, add_row = [each.append for each in times], [each.append for each in rows]
        events_read = anonymous = ahead = 0
        first_ms = reached_ms = NEVER
        for place, (position, taken_ms, value, headers) in enumerate(records):
            try:
                events = decode(value, headers)
                routed = route(events, base + position)
            except Exception as error:  # noqa: BLE001 - one crafted record must not stop the others, as in intake
                failed(place, error)
                continue
            for event in events:
                events_read += 1
                if event.principal is None:
                    anonymous += 1
                at_ms = event.time_ms if taken_ms is None else taken_ms
                if at_ms > reached_ms:
                    if at_ms > latest_ms:
                        ahead += 1
                    else:
                        reached_ms = at_ms
                        if first_ms == NEVER:
                            first_ms = at_ms
            for shard, row in routed:
                add_time[shard](reached_ms)
                add_row[shard](row)
        shards = list(zip(times, rows, strict=True))
        return LogRead(shards, events_read, anonymous, ahead, first_ms, reached_ms)


def first_time(reading: Reading, block: Block) -> int:
    """Return the time of the first event of a block, `NEVER` where it holds none: a feed's lower bound."""
    feed = reading.feeds[block.feed]
    decode = feed.decoder()
    for _, taken_ms, value, headers in _records(block):
        try:
            events = decode(value, headers)
        except Exception:  # noqa: BLE001, S112 - it is counted when the block is read
            continue
        for event in events:
            at_ms = event.time_ms if taken_ms is None else taken_ms
            if at_ms <= reading.latest_ms:
                return at_ms
    return NEVER


def _records(block: Block) -> Iterable[LogRecord]:
    if not isinstance(block.data, bytes):
        return block.data
    lines = block.data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return zip(count(block.first), repeat(None), lines, repeat(()))
