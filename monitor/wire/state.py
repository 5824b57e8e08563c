"""The bytes of the `state` topic: what detect holds for one `routed` partition.

Keys: ``m`` the marks, ``r`` the rule set, ``s`` + axis + NUL + subject + NUL + piece a subject.
Values: msgpack ``[1, stamp, pieces, content]``. `stamp` is the offset of the last routed record
applied. A subject larger than a piece spans several, all of one stamp; `pieces` of 0 marks a
subject as freed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from monitor.errors import InvariantError

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT_VERSION: Final = 1
PIECE_BYTES: Final = 60_000
MARKS_KEY: Final = b"m"
RULES_KEY: Final = b"r"
_SUBJECT: Final = b"s"

SubjectKey = tuple[str, str]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def encode_single(stamp: int, content: Any) -> bytes:
    """Return the value of the marks or the rule set."""
    return _encode((FORMAT_VERSION, stamp, 1, _encode(content)))


def encode_subject(key: SubjectKey, stamp: int, content: Any) -> list[tuple[bytes, bytes]]:
    """Return the records of one subject, one per piece."""
    blob = _encode(content)
    pieces = [blob[at : at + PIECE_BYTES] for at in range(0, len(blob), PIECE_BYTES)]
    return [
        (_subject_key(key, index), _encode((FORMAT_VERSION, stamp, len(pieces), piece)))
        for index, piece in enumerate(pieces)
    ]


def encode_freed(key: SubjectKey, stamp: int) -> tuple[bytes, bytes]:
    """Return the record that marks a subject as freed; a tombstone may follow in a later flush."""
    return _subject_key(key, 0), _encode((FORMAT_VERSION, stamp, 0, b""))


def subject_tombstones(key: SubjectKey, pieces: int) -> Iterator[bytes]:
    """Return the keys to delete once the mark that a subject is freed is durable."""
    return (_subject_key(key, index) for index in range(pieces))


class RecoveredState:
    """Takes the records of one state partition, in any order of stamps, and keeps the newest.

    A record with a lower stamp than one already seen is an older state, whatever its offset in the
    log: a writer that was thought dead may have appended it late.
    """

    def __init__(self) -> None:
        self._singles: dict[bytes, tuple[int, bytes]] = {}
        self._pieces: dict[SubjectKey, dict[int, dict[int, bytes]]] = {}
        self._counts: dict[SubjectKey, dict[int, int]] = {}
        self.records = 0

    def add(self, key: bytes | None, value: bytes | None, place: str) -> None:
        """Take one record; raises InvariantError where it is not ours (`place` says where)."""
        self.records += 1
        try:
            if key is None:
                msg = "no key"
                raise ValueError(msg)
            if value is None:
                self._forget(key)
                return
            version, stamp, pieces, content = _decode(value)
            if version != FORMAT_VERSION:
                msg = f"state format {version}: this monitor reads {FORMAT_VERSION}"
                raise ValueError(msg)
            if key in {MARKS_KEY, RULES_KEY}:
                if key not in self._singles or stamp >= self._singles[key][0]:
                    self._singles[key] = stamp, content
                return
            subject, index = _parse_key(key)
        except (msgspec.DecodeError, ValueError, TypeError) as error:
            msg = f"{place}: not a state record ({error}); who else writes there?"
            raise InvariantError(msg) from None
        self._pieces.setdefault(subject, {}).setdefault(stamp, {})[index] = content
        self._counts.setdefault(subject, {})[stamp] = pieces

    def single(self, key: bytes) -> tuple[int, Any] | None:
        """Return (stamp, content) of the marks or the rule set, or None where there is none."""
        found = self._singles.get(key)
        return None if found is None else (found[0], _decode(found[1]))

    def subjects(self) -> Iterator[tuple[SubjectKey, int, int, Any]]:
        """Yield (key, stamp, pieces, content) of each subject; content None where it was freed."""
        for key, by_stamp in self._pieces.items():
            counts = self._counts[key]
            for stamp in sorted(by_stamp, reverse=True):
                parts = by_stamp[stamp]
                count = counts[stamp]
                if count == 0:
                    yield key, stamp, 0, None
                    break
                if all(index in parts for index in range(count)):
                    blob = b"".join(parts[index] for index in range(count))
                    yield key, stamp, count, _decode(blob)
                    break

    def _forget(self, key: bytes) -> None:
        if key in {MARKS_KEY, RULES_KEY}:
            self._singles.pop(key, None)
            return
        subject, index = _parse_key(key)
        for parts in self._pieces.get(subject, {}).values():
            parts.pop(index, None)


def _subject_key(key: SubjectKey, piece: int) -> bytes:
    return b"\0".join((_SUBJECT + key[0].encode(), key[1].encode(), str(piece).encode()))


def _parse_key(key: bytes) -> tuple[SubjectKey, int]:
    axis, subject, piece = key.split(b"\0")
    if not axis.startswith(_SUBJECT):
        msg = "unknown kind of key"
        raise ValueError(msg)
    return (axis[1:].decode(), subject.decode()), int(piece)
