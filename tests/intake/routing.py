"""Events routed by either implementation, as rows again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec

from monitor.intake.batch import PythonPacker
from monitor.intake.native import NativePacker
from monitor.intake.repeats import new_repeats
from monitor.intake.rows import EventRouter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.core.events import Row
    from monitor.intake.batch import Packer, Piece, Reader
    from monitor.intake.event import Event

IMPLEMENTATIONS: dict[str, type[PythonPacker | NativePacker]] = {
    "python": PythonPacker,
    "native": NativePacker,
}


class Given:
    """A reader of records that hold their events as they are."""

    def __init__(self) -> None:
        self.left_out: set[int] = set()
        self.repeats = new_repeats()
        self.errors: list[tuple[int, Exception]] = []

    def decode(self, _value: Any, _headers: Any = ()) -> Sequence[Event]:
        raise AssertionError

    def events(self, record: Any) -> Sequence[Event] | None:
        events: Sequence[Event] = record.given
        return events

    def failed(self, record: Any, error: Exception) -> None:
        self.errors.append((record.offset, error))


def unpacked(pieces: Sequence[Piece]) -> list[tuple[int, tuple[Any, ...]]]:
    """Return the rows of pieces, with their partitions, as tuples like those of a router."""
    rows = []
    for piece in pieces:
        unpack = msgspec.msgpack.decode(b"\xdd" + piece.rows.to_bytes(4, "big") + piece.packed)
        rows += [(piece.partition, _tuple(row)) for row in unpack]
    return rows


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value


class Routing:
    """Routes as a router does, by one of the implementations."""

    def __init__(self, implementation: str, *arguments: Any) -> None:
        rule_set, keys, _, *more = arguments
        make = IMPLEMENTATIONS[implementation]
        self._packer: Packer = make(EventRouter(*arguments))
        #: All in one partition, so that the rows of all are in order.
        self._ordered: Packer = make(EventRouter(rule_set, keys, 1, *more))

    def route(self, events: Sequence[Event], offset: int) -> list[tuple[int, Row]]:
        """Return what `EventRouter.route` returns."""
        partitions: dict[Any, int] = {
            row: partition for partition, row in self._rows(self._packer, events, offset)
        }
        return [(partitions[row], row) for _, row in self._rows(self._ordered, events, offset)]

    @staticmethod
    def _rows(packer: Packer, events: Sequence[Event], offset: int) -> list[tuple[int, tuple[Any, ...]]]:
        reader: Any = Given()
        record: Any = SimpleNamespace(offset=offset, value=b"", given=tuple(events))
        taken = packer.take([record], reader)
        assert not reader.errors
        return unpacked(taken.pieces)


def same(one: Packer, other: Packer, records: Any, readers: Sequence[Reader]) -> None:
    """Assert that two implementations give the same bytes, and tell the same."""
    first, second = (
        packer.take(records, reader) for packer, reader in zip((one, other), readers, strict=True)
    )
    assert joined(first.pieces) == joined(second.pieces)
    assert first[1:] == second[1:]


def joined(pieces: Sequence[Piece]) -> dict[int, tuple[int, bytes, int]]:
    """Return the rows of each partition, how many they are, and the last offset."""
    found: dict[int, tuple[int, bytes, int]] = {}
    for piece in pieces:
        count, packed, last = found.get(piece.partition, (0, b"", -1))
        assert piece.last > last, "in order, each offset in one piece"
        found[piece.partition] = count + piece.rows, packed + piece.packed, piece.last
    return found
