"""From the records of a source to packed rows, in pieces that a record of `routed` is made of.

Here it is done in Python, one event after the other: this says how things should be. `native` does the same
for most events, several times faster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from monitor.core.events import OFFSET, TIME
from monitor.wire.routed import named, pack_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from monitor.core.events import Row
    from monitor.intake.event import Event
    from monitor.intake.formats import Decoder
    from monitor.intake.repeats import Repeats
    from monitor.intake.rows import EventRouter, Former

#: Rows of a piece, unless those of one source offset alone are more.
PIECE_ROWS: Final = 250


class Piece(NamedTuple):
    """Packed rows of a routed partition: all of those source offsets, up to `last`, that are in it.

    `former` is what pseudonyms in them are called by other keys, while keys rotate.
    """

    partition: int
    last: int
    rows: int
    packed: bytes
    former: Mapping[str, Sequence[str]] | None = None


class Taken(NamedTuple):
    """What came of some records: pieces in order, and what is told of the records.

    `routed` of them gave rows, `unrouted` gave none and were not refused, `repeated` are as one before.
    `numbers` are the gateways and their numbers of events that have one; `sample` is the place of the last
    record that held an event, and its last event.
    """

    pieces: list[Piece]
    routed: int
    unrouted: int
    repeated: int
    newest_ms: int
    numbers: Sequence[tuple[str | None, int]]
    sample: tuple[int, Event] | None


class SourceRecord(Protocol):
    """A record as Kafka's client gives it."""

    @property
    def offset(self) -> int:
        """Where it stands in its partition."""

    @property
    def value(self) -> bytes | None:
        """What the gateway wrote."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """What it wrote beside it."""


class Reader(Protocol):
    """Who reads records of one source."""

    @property
    def decode(self) -> Decoder:
        """What decodes them."""

    @property
    def left_out(self) -> AbstractSet[int]:
        """Offsets that `events` is to refuse, whatever they hold."""

    @property
    def repeats(self) -> Repeats:
        """Those of its partition."""

    def events(self, record: SourceRecord) -> Sequence[Event] | None:
        """Return the events of a record, or None where it is refused."""

    def failed(self, record: SourceRecord, error: Exception) -> None:
        """Refuse a record whose events cannot be routed."""


class Packer(Protocol):
    """Makes packed rows as a router says."""

    @property
    def router(self) -> EventRouter:
        """By what it routes."""

    def take(self, records: Sequence[SourceRecord], reader: Reader) -> Taken:
        """Return what comes of records, in order of their offsets."""


class PythonPacker:
    """Makes packed rows in Python alone."""

    def __init__(self, router: EventRouter) -> None:
        self.router = router

    def take(self, records: Sequence[SourceRecord], reader: Reader) -> Taken:
        """Return what comes of records, in order of their offsets."""
        former: Former | None = {} if self.router.rotating else None
        targets: dict[int, list[Row]] = {}
        numbers: list[tuple[str | None, int]] = []
        routed = unrouted = repeated = newest_ms = 0
        sample: tuple[int, Event] | None = None
        route, note = self.router.route, reader.repeats.note
        for place, record in enumerate(records):
            events = reader.events(record)
            if events is None:
                continue
            try:
                routes = route(events, record.offset, former)
            except Exception as error:  # noqa: BLE001 - one crafted record must not stop intake
                reader.failed(record, error)
                continue
            if not routes:
                unrouted += 1
            else:
                routed += 1
                if routes[0][1][TIME] > newest_ms:
                    newest_ms = routes[0][1][TIME]
            for partition, row in routes:
                rows = targets.get(partition)
                if rows is None:
                    targets[partition] = [row]
                else:
                    rows.append(row)
            numbers += [(event.gateway, event.number) for event in events if event.number is not None]
            if events:
                sample = place, events[-1]
                # One with an id counts once; of one without only its bytes tell.
                if events[0].event_id is None and note(record.value or b""):
                    repeated += 1
        pieces = [
            piece for partition, rows in targets.items() for piece in pieces_of(partition, rows, former)
        ]
        return Taken(pieces, routed, unrouted, repeated, newest_ms, numbers, sample)


def pieces_of(partition: int, rows: Sequence[Row], former: Former | None = None) -> list[Piece]:
    """Return the rows of a partition in pieces; the rows of one source offset stay together."""
    pieces, at = [], 0
    while at < len(rows):
        end = min(at + PIECE_ROWS, len(rows))
        while end < len(rows) and rows[end][OFFSET] == rows[end - 1][OFFSET]:
            end += 1
        part = rows[at:end]
        own = named(part, former) if former else None
        pieces.append(Piece(partition, part[-1][OFFSET], len(part), pack_rows(part), own))
        at = end
    return pieces
