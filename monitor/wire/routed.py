"""The bytes of the `routed` topic: msgpack arrays, version first.

Rows:  ``[4, 0, [cluster, topic id, topic, partition], first, last, resume, rows]``
Rules: ``[4, 1, version, revision, document]``

The header ``arrived`` of rows is when the oldest of their source records came into Kafka, in epoch
milliseconds; nothing that is found depends on it.

While a pseudonym key gives way to another, rows are of version 5, which has one part more: a map of the
pseudonyms in the rows to lists of what other keys call them.

The versions before, 2 and 3, had no data category in their rows: it is read as unknown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from monitor.core.events import (
    CATEGORY,
    CLIENT_IP,
    KIND,
    OBJECT,
    PATIENTS,
    SUBJECT,
    Row,
    RowKind,
    RowsRecord,
    RulesRecord,
    SourceId,
)
from monitor.errors import InvariantError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

FORMAT_VERSION: Final = 4
_ROTATING: Final = 5
_BEFORE: Final = 2
_ROTATING_BEFORE: Final = 3
_ARRIVED: Final = "arrived"
_ROWS: Final = 0
_RULES: Final = 1

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_sources: dict[tuple[Any, ...], SourceId] = {}


def pack_rows(rows: Sequence[Row]) -> bytes:
    """Return rows one after the other, as they stand in a record."""
    return _encode(rows)[len(array_head(len(rows))) :]


def encode_rows(
    source: SourceId,
    first: int,
    last: int,
    rows: Sequence[Row],
    *,
    resume: bool,
    former: Mapping[str, Sequence[str]] | None = None,
) -> bytes:
    """Return the record of rows that covers the source offsets `first` to `last`, inclusive.

    `former` may name pseudonyms that the rows do not have.
    """
    own = named(rows, former) if former else None
    return encode_packed(source, first, last, len(rows), [pack_rows(rows)], resume=resume, former=own)


def encode_packed(
    source: SourceId,
    first: int,
    last: int,
    count: int,
    packed: Iterable[bytes],
    *,
    resume: bool,
    former: Mapping[str, Sequence[str]] | None = None,
) -> bytes:
    """Return the record of `count` rows that are packed; `former` is as `named` returns it."""
    origin = (source.cluster, source.topic_id, source.topic, source.partition)
    if former:
        # Encoded without rows and names, which are a byte each then.
        head, tail = _encode((_ROTATING, _ROWS, origin, first, last, resume, (), ()))[:-2], _encode(former)
    else:
        head, tail = _encode((FORMAT_VERSION, _ROWS, origin, first, last, resume, ()))[:-1], b""
    return b"".join((head, array_head(count), *packed, tail))


def named(rows: Iterable[Row], former: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Return what the pseudonyms in rows are called by other keys."""
    return {name: former[name] for row in rows for name in _pseudonyms(row) if name in former}


def encode_rules(record: RulesRecord) -> bytes:
    """Return the record that makes a rule set active."""
    return _encode((FORMAT_VERSION, _RULES, record.version, record.revision, record.document))


def arrival_header(at_ms: int) -> tuple[str, bytes]:
    """Return the header that says when the oldest source record of some rows came into Kafka."""
    return _ARRIVED, b"%d" % at_ms


def arrived_ms(headers: Sequence[tuple[str, bytes]]) -> int | None:
    """Return what `arrival_header` said, or None."""
    for name, value in headers:
        if name == _ARRIVED and value.isdigit():
            return int(value)
    return None


def decode(value: bytes | None, place: str) -> RowsRecord | RulesRecord:
    """Return what a routed record holds; `place` (topic, partition, offset) is for the error.

    Raises InvariantError where it is not ours: only intake writes there, so nothing is skipped.
    """
    try:
        parts = _decode(value or b"")
        version, kind = parts[0], parts[1]
        if version in (FORMAT_VERSION, _BEFORE) and kind == _ROWS:
            _, _, origin, first, last, resume, rows = parts
            if version == _BEFORE:
                rows = [_with_category(row) for row in rows]
            return RowsRecord(_source(origin), first, last, resume, rows)
        if version in (_ROTATING, _ROTATING_BEFORE) and kind == _ROWS:
            _, _, origin, first, last, resume, rows, former = parts
            if version == _ROTATING_BEFORE:
                rows = [_with_category(row) for row in rows]
            return RowsRecord(_source(origin), first, last, resume, rows, former)
        if version in (FORMAT_VERSION, _BEFORE) and kind == _RULES:
            return RulesRecord(*parts[2:])
    except (msgspec.DecodeError, IndexError, TypeError, ValueError) as error:
        msg = f"{place}: not a record of intake ({type(error).__name__}); who else writes there?"
        raise InvariantError(msg) from None
    msg = (
        f"{place}: routed format {version!r}, kind {kind!r}: this monitor reads"
        f" {_BEFORE} to {_ROTATING}; was it downgraded?"
    )
    raise InvariantError(msg)


def array_head(size: int) -> bytes:
    """Return how msgpack begins an array of so many parts."""
    if size < 1 << 4:
        return bytes([0x90 | size])
    if size < 1 << 16:
        return b"\xdc" + size.to_bytes(2, "big")
    return b"\xdd" + size.to_bytes(4, "big")


def source_of(origin: Any, place: str) -> SourceId:
    """Return the source partition of a record's head; raises InvariantError where it names none."""
    try:
        return _source(origin)
    except TypeError:
        msg = f"{place}: a record of intake without its source; who else writes there?"
        raise InvariantError(msg) from None


def _pseudonyms(row: Row) -> Iterator[str]:
    if row[KIND] == RowKind.EVENT:
        yield row[SUBJECT]
        for patient, _ in row[PATIENTS]:
            yield patient
        if row[OBJECT] is not None:
            yield row[OBJECT]
        if row[CLIENT_IP] is not None:
            yield row[CLIENT_IP]


def _with_category(row: list[Any]) -> list[Any]:
    """Return a row of the version before with its columns where they are now."""
    if row[KIND] == RowKind.EVENT:
        return [*row[:CATEGORY], None, *row[CATEGORY:]]
    return row


def _source(origin: list[Any]) -> SourceId:
    # One object per source partition: marks look it up for every record.
    key = tuple(origin)
    source = _sources.get(key)
    if source is None:
        source = _sources[key] = SourceId(*origin)
    return source
