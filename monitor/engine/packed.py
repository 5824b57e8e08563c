"""Rows as they stand in a routed record: read only where somebody in Python asks for one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import msgspec

from monitor import engine
from monitor.core.events import RowsRecord
from monitor.wire import routed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monitor.core.events import Row, RulesRecord, SourceId

_decode = msgspec.msgpack.Decoder().decode
_encode = msgspec.msgpack.Encoder().encode
_sources: dict[bytes, SourceId] = {}


class PackedRows(Sequence[Any]):
    """The rows of the msgpack array at `at` in `content`."""

    __slots__ = ("_count", "_rows", "at", "content")

    def __init__(self, content: bytes, at: int, count: int) -> None:
        self.content = content
        self.at = at
        self._count = count
        self._rows: list[Row] | None = None

    @classmethod
    def of(cls, rows: Sequence[Row]) -> PackedRows:
        """Return rows packed."""
        return rows if isinstance(rows, cls) else cls(_encode(rows), 0, len(rows))

    @classmethod
    def joined(cls, rows: Sequence[bytes]) -> PackedRows:
        """Return rows that are packed each for itself."""
        return cls(b"".join((routed.array_head(len(rows)), *rows)), 0, len(rows))

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        return self._unpacked()[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._unpacked())

    def __repr__(self) -> str:
        return f"PackedRows({self._count})"

    def _unpacked(self) -> list[Row]:
        if self._rows is None:
            self._rows = _decode(memoryview(self.content)[self.at :])
        return self._rows


def decode(value: bytes | None, place: str) -> RowsRecord | RulesRecord:
    """Return what a routed record holds, as `routed.decode` does; rows stay packed where that helps.

    Raises InvariantError where it is not ours. That of rows which are malformed is raised when they are read.
    """
    head = None if engine.store is None or value is None else engine.store.head(value)
    if head is None or value is None:
        return routed.decode(value, place)
    origin, first, last, resume, at, count = head
    source = _sources.get(origin)
    if source is None:
        source = _sources[origin] = routed.source_of(_decode(origin), place)
    return RowsRecord(source, first, last, resume, PackedRows(value, at, count))
