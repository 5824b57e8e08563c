"""The bytes of what keeps automation in bounds, in `credentials`: the fuse, break-glass, what is allowed.

JSON, each under a key of its own that starts with ``@``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from monitor.core.fuse import Fuse, entries_of, times_of
from monitor.wire.credentials import FORMAT_VERSION, read_json

FUSE_KEY: Final = b"@fuse"
BREAK_GLASS_KEY: Final = b"@break-glass"
#: Before the key of the credential that is allowed.
ALLOWED_KEY: Final = b"@allowed/"
#: Longest time that everybody is let through, whichever way it was said; somebody must say so again.
LONGEST_ALLOW_ALL_MS: Final = 4 * 3_600_000


class Blown(msgspec.Struct, frozen=True, kw_only=True):
    """Why and since when a fuse holds everything automatic that is of its kind."""

    at_ms: int
    why: str


class FuseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the fuse remembers, as far back as its intervals reach, and what has blown, by name.

    `acted` are the automatic responses, `found` the findings that asked for one: time (epoch ms), class,
    rule, subject.
    """

    v: int = FORMAT_VERSION
    acted: tuple[tuple[int, str, str, str], ...] = ()
    found: tuple[tuple[int, str, str, str], ...] = ()
    blown: Mapping[str, Blown] = {}


class Glass(msgspec.Struct, frozen=True, kw_only=True):
    """A glass that was broken: by whom, why, and until when (exclusive, epoch ms)."""

    since_ms: int
    until_ms: int
    by: str
    reason: str


class BreakGlass(msgspec.Struct, frozen=True, kw_only=True):
    """What a person switched off for a limited time; each ends by itself, also with nobody to say so.

    `paused`: nobody is refused automatically. `allow_all`: the decision service lets everybody through.
    """

    v: int = FORMAT_VERSION
    paused: Glass | None = None
    allow_all: Glass | None = None


class AllowedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A credential that nothing automatic refuses until a time (exclusive, epoch ms)."""

    v: int = FORMAT_VERSION
    realm: str
    id: str
    since_ms: int
    until_ms: int
    by: str
    reason: str

    @property
    def subject(self) -> str:
        """The credential's key: ``realm/id``."""
        return f"{self.realm}/{self.id}"


def fuse_record(fuse: Fuse) -> FuseRecord:
    """Return the record of a fuse."""
    blown = {name: Blown(at_ms=at_ms, why=why) for name, (at_ms, why) in fuse.blown.items()}
    return FuseRecord(acted=tuple(entries_of(fuse.acted)), found=tuple(entries_of(fuse.found)), blown=blown)


def fuse_of(record: FuseRecord) -> Fuse:
    """Return the fuse of a record."""
    blown = {name: (blown.at_ms, blown.why) for name, blown in record.blown.items()}
    return Fuse(times_of(record.acted), times_of(record.found), blown)


def decode_fuse(value: bytes, place: str) -> FuseRecord:
    """Return what the fuse remembers; raises InvariantError, with `place`, where it is not that."""
    record: FuseRecord = read_json(value, FuseRecord, place)
    return record


def decode_break_glass(value: bytes, place: str) -> BreakGlass:
    """Return what is switched off; raises InvariantError, with `place`, where it is not that."""
    record: BreakGlass = read_json(value, BreakGlass, place)
    return record


def decode_allowed(value: bytes, place: str) -> AllowedRecord:
    """Return what is allowed; raises InvariantError, with `place`, where it is not that."""
    record: AllowedRecord = read_json(value, AllowedRecord, place)
    return record
