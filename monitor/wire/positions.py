"""What stands beside a committed position, as its metadata in Kafka: of which topic it is a position."""

from __future__ import annotations

from typing import Final

import msgspec

from monitor.errors import InvariantError

FORMAT_VERSION: Final = 1
#: Instead of a source offset in `trying`: the whole record.
WHOLE: Final = -1


class PositionNote(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The note of one position. Without a topic id it was set by Kafka's own tools, or long ago."""

    topic_id: str | None = None
    #: How many partitions the topic had when its positions were set: those beyond came later.
    partitions: int = 0
    #: Of `routed` only: below this offset a hole is known to be one and is passed over.
    holes_below: int = 0
    #: How many processes began at this position and did not get past it; with the slice and the event
    #: (by its routed and source offset) that were being tried when the last of them ended.
    tries: int = 0
    slice: int = 0
    trying: tuple[int, int] | None = None
    #: How many processes in a row ended while that one event was being tried alone.
    ended: int = 0
    #: Of a source only: what is usual there by hour of the week (intake.feeds).
    week: str = ""


def past(note: PositionNote) -> PositionNote:
    """Return the note of a position further on: what was tried before it is done."""
    return msgspec.structs.replace(note, tries=0, slice=0, trying=None, ended=0)


class _Stored(PositionNote, frozen=True, kw_only=True, omit_defaults=True):
    v: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Stored).decode
_FIELDS: Final = PositionNote.__struct_fields__


def encode_note(note: PositionNote) -> str:
    """Return a note as the metadata of a position."""
    return _encode(_Stored(v=FORMAT_VERSION, **{name: getattr(note, name) for name in _FIELDS})).decode()


def decode_note(text: str, place: str) -> PositionNote:
    """Return the note in the metadata of a position, an empty one where nobody of ours wrote it.

    Raises InvariantError for one of a newer version.
    """
    try:
        stored = _decode(text.encode())
    except (msgspec.DecodeError, msgspec.ValidationError):
        return PositionNote()
    if stored.v > FORMAT_VERSION:
        msg = f"{place}: position note of version {stored.v}: this monitor reads {FORMAT_VERSION}; was it downgraded?"
        raise InvariantError(msg)
    return PositionNote(**{name: getattr(stored, name) for name in _FIELDS})
