"""The bytes of the `state` topic: what detect holds for one `routed` partition.

Keys: ``m`` the marks, ``r`` the rule set, ``s`` + axis + NUL + subject + NUL + ``0`` a subject, and
``p`` + axis + NUL + subject + NUL + digest a page of a large one.

Values: msgpack ``[2, stamp, until, content]``. `stamp` is the offset of the last routed record applied,
`until` the append time (ms) up to which a subject counts (nil: always), `content` msgpack in bytes; nil
marks a subject as freed. Where a subject is large, its long byte strings (or all of it) stand as
extension type 1, the digests of the pages that hold them. A page has the content that its digest says,
whoever wrote it and when; so only pages that changed are written, and any older one still fits.

Version 1 (``[1, stamp, pieces, content]``, a large subject cut in pieces ``0``, ``1``, …, all of one stamp)
is read too.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import msgspec

from monitor.errors import InvariantError
from monitor.wire.pages import LONG_BYTES, LONGEST_PAGE, cut_numbers, cut_text, digest_of, digests_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from monitor.core.subjects import SubjectKey

FORMAT_VERSION: Final = 2
FORMAT_BEFORE: Final = 1
MARKS_KEY: Final = b"m"
RULES_KEY: Final = b"r"
_SUBJECT: Final = b"s"
_PAGE: Final = b"p"
#: Stands in the key of a subject's own record; those of version 1 had other pieces.
_WHOLE: Final = "0"
_PAGES_EXT: Final = 1
#: Subjects that are handed over together: some milliseconds of work.
_AT_ONCE: Final = 256

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
#: Reads the content of a subject that has no pages.
unpack_subject: Final = _decode


class ReadRecord(Protocol):
    """A record as a client of Kafka gives it."""

    @property
    def key(self) -> bytes | None:
        """Its key."""

    @property
    def value(self) -> bytes | None:
        """Its value; None says that the key is deleted."""

    @property
    def offset(self) -> int:
        """Where it stands."""


class EncodedSubject(NamedTuple):
    """A subject's record and the pages that it refers to, by key.

    `packed` is the whole in one piece, for `unpack_subject`; None where it is large.
    """

    key: bytes
    value: bytes
    pages: dict[bytes, bytes]
    packed: bytes | None


class RecoveredSubject(NamedTuple):
    """A subject as recovered: `packed` for `unpack_subject`, or `plain`, or neither where it was freed.

    `extra` are the keys of its other records, to be deleted once nothing refers to them.
    """

    key: SubjectKey
    stamp: int
    until_ms: int | None
    packed: bytes | None
    plain: Any
    extra: frozenset[bytes]


def encode_single(stamp: int, content: Any) -> bytes:
    """Return the value of the marks or the rule set."""
    return _encode((FORMAT_VERSION, stamp, None, _encode(content)))


def encode_subject(key: SubjectKey, stamp: int, until_ms: int | None, content: Any) -> EncodedSubject:
    """Return the records of one subject."""
    packed = _encode(content)
    if len(packed) <= LONGEST_PAGE:
        value = _encode((FORMAT_VERSION, stamp, until_ms, packed))
        return EncodedSubject(_subject_key(key), value, {}, packed)
    pages: dict[bytes, bytes] = {}
    body: Any = _encode(_without_long(content, key, pages))
    if len(body) > LONGEST_PAGE:
        body = _in_pages(body, key, pages, cut_text)
    return EncodedSubject(_subject_key(key), _encode((FORMAT_VERSION, stamp, until_ms, body)), pages, None)


def encode_freed(key: SubjectKey, stamp: int) -> tuple[bytes, bytes]:
    """Return the record that marks a subject as freed; a tombstone may follow in a later flush."""
    return _subject_key(key), _encode((FORMAT_VERSION, stamp, None, None))


def subject_tombstone(key: SubjectKey) -> bytes:
    """Return the key to delete once the mark that a subject is freed is durable."""
    return _subject_key(key)


def subject_of(key: bytes) -> SubjectKey:
    """Return the subject of a record's key."""
    return _parse_key(key)[0]


class RecoveredState:
    """Takes the records of one state partition, in any order of stamps, and keeps the newest.

    A record with a lower stamp than one already seen is an older state, whatever its offset in the
    log: a writer that was thought dead may have appended it late. `place` names the partition in errors.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._singles: dict[bytes, tuple[int, bytes]] = {}
        #: (stamp, until, content), of records of this version.
        self._heads: dict[SubjectKey, tuple[int, int | None, Any]] = {}
        self._pages: dict[SubjectKey, dict[bytes, bytes]] = {}
        self._before = _FormatBefore()
        self.records = 0
        #: How many subjects the detector has already, beside those that `subjects` yields.
        self.in_place = 0

    def add_all(self, records: Sequence[ReadRecord]) -> None:
        """Take records in the order of the log; raises as `add` does."""
        for record in records:
            self.add(record.key, record.value, record.offset)

    def add(self, key: bytes | None, value: bytes | None, offset: int) -> None:
        """Take the record at an offset; raises InvariantError where it is not ours."""
        self.records += 1
        try:
            if key is None:
                msg = "no key"
                raise ValueError(msg)
            if value is None:
                self._forget(key)
            elif key[:1] == _PAGE:
                subject, _ = _parse_key(key)
                self._pages.setdefault(subject, {})[key] = value
            else:
                self._take(key, *_decode(value))
        except (msgspec.DecodeError, ValueError, TypeError) as error:
            msg = f"{self._place} offset {offset}: not a state record ({error}); who else writes there?"
            raise InvariantError(msg) from None

    def _take(self, key: bytes, version: Any, stamp: Any, third: Any, content: Any) -> None:
        if version not in {FORMAT_VERSION, FORMAT_BEFORE}:
            msg = f"state format {version}: this monitor reads {FORMAT_BEFORE} and {FORMAT_VERSION}"
            raise ValueError(msg)
        if key in {MARKS_KEY, RULES_KEY}:
            if key not in self._singles or stamp >= self._singles[key][0]:
                self._singles[key] = stamp, content
            return
        subject, index = _parse_key(key)
        if version == FORMAT_BEFORE:
            self._before.add(subject, index, stamp, third or 0, content)
            return
        if index != _WHOLE or not isinstance(stamp, int) or not isinstance(third, int | None):
            msg = "no record of a subject"
            raise ValueError(msg)
        if content is not None and not (content and isinstance(content, bytes | msgspec.msgpack.Ext)):
            msg = "a subject that is neither packed nor in pages"
            raise ValueError(msg)
        known = self._heads.get(subject)
        if known is None or stamp >= known[0]:
            self._heads[subject] = stamp, third, content

    def single(self, key: bytes) -> tuple[int, Any] | None:
        """Return (stamp, content) of the marks or the rule set, or None where there is none."""
        found = self._singles.get(key)
        return None if found is None else (found[0], _decode(found[1]))

    def subjects(self) -> Iterator[list[RecoveredSubject]]:
        """Yield each subject once, some at a time, and forget it.

        To be called once all records are taken, and the rules are restored. Raises InvariantError where a page is
        missing.
        """
        left = self._subjects()
        while some := list(islice(left, _AT_ONCE)):
            yield some

    def _subjects(self) -> Iterator[RecoveredSubject]:
        for key in self._before.keys() - self._heads.keys():
            yield self._before.take(key)
        while self._heads:
            key, (stamp, until_ms, content) = self._heads.popitem()
            pages = self._pages.pop(key, {}) if self._pages else {}
            extra = frozenset(pages)
            if key in self._before:
                before = self._before.take(key)
                if before.stamp > stamp:
                    yield before._replace(extra=before.extra | extra)
                    continue
                extra |= before.extra
            if content is None:
                yield RecoveredSubject(key, stamp, None, None, None, extra)
            elif pages or isinstance(content, msgspec.msgpack.Ext):
                plain = _with_pages(content, key, pages, self._place)
                yield RecoveredSubject(key, stamp, until_ms, None, plain, extra)
            else:
                yield RecoveredSubject(key, stamp, until_ms, content, None, extra)

    def _forget(self, key: bytes) -> None:
        if key in {MARKS_KEY, RULES_KEY}:
            self._singles.pop(key, None)
            return
        subject, index = _parse_key(key)
        if key[:1] == _PAGE:
            self._pages.get(subject, {}).pop(key, None)
        else:
            if index == _WHOLE:
                self._heads.pop(subject, None)
            self._before.forget(subject, index)


class _FormatBefore:
    """The subjects of records of version 1: the highest stamp of which all pieces are there."""

    def __init__(self) -> None:
        self._pieces: dict[SubjectKey, dict[int, dict[int, bytes]]] = {}
        self._counts: dict[SubjectKey, dict[int, int]] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._pieces

    def keys(self) -> set[SubjectKey]:
        """Return the subjects that have such records."""
        return set(self._pieces)

    def add(self, key: SubjectKey, index: str, stamp: int, pieces: int, content: bytes) -> None:
        """Take one piece."""
        self._pieces.setdefault(key, {}).setdefault(stamp, {})[int(index)] = content
        self._counts.setdefault(key, {})[stamp] = pieces

    def forget(self, key: SubjectKey, index: str) -> None:
        """Take the deletion of a piece."""
        for parts in self._pieces.get(key, {}).values():
            parts.pop(int(index), None)

    def take(self, key: SubjectKey) -> RecoveredSubject:
        """Return a subject and forget it; stamp -1 where no state is whole."""
        by_stamp, counts = self._pieces.pop(key), self._counts.pop(key)
        indices = {index for parts in by_stamp.values() for index in parts} - {0}
        extra = frozenset(_subject_key(key, index) for index in indices)
        for stamp in sorted(by_stamp, reverse=True):
            parts, count = by_stamp[stamp], counts[stamp]
            if count == 0 and 0 in parts:
                return RecoveredSubject(key, stamp, None, None, None, extra)
            if count and all(index in parts for index in range(count)):
                plain = _decode(b"".join(parts[index] for index in range(count)))
                return RecoveredSubject(key, stamp, None, None, plain, extra)
        return RecoveredSubject(key, -1, None, None, None, extra)


def _without_long(plain: Any, key: SubjectKey, pages: dict[bytes, bytes]) -> Any:
    """Return a plain form in which long byte strings stand as their pages."""
    if isinstance(plain, bytes):
        if len(plain) <= LONG_BYTES:
            return plain
        # What is long in a snapshot is packed numbers.
        return _in_pages(plain, key, pages, cut_text if len(plain) % 8 else cut_numbers)
    if isinstance(plain, list | tuple):
        return [_without_long(part, key, pages) for part in plain]
    return plain


def _in_pages(
    content: bytes, key: SubjectKey, pages: dict[bytes, bytes], cut: Callable[[bytes], Iterator[bytes]]
) -> msgspec.msgpack.Ext:
    digests = []
    for page in cut(content):
        digest = digest_of(page)
        pages[_page_key(key, digest)] = page
        digests.append(digest)
    return msgspec.msgpack.Ext(_PAGES_EXT, b"".join(digests))


def _with_pages(content: Any, key: SubjectKey, pages: dict[bytes, bytes], place: str) -> Any:
    def joined(code: int, digests: memoryview | bytes) -> bytes:
        if code != _PAGES_EXT:
            msg = f"extension type {code}"
            raise ValueError(msg)
        return b"".join(pages[_page_key(key, digest)] for digest in digests_in(bytes(digests)))

    try:
        if isinstance(content, msgspec.msgpack.Ext):
            content = joined(content.code, bytes(content.data))
        return msgspec.msgpack.Decoder(ext_hook=joined).decode(content)
    except KeyError:
        msg = f"{place}: a page of a subject is missing; docs/operations.md says how to build the state anew"
        raise InvariantError(msg) from None


def _subject_key(key: SubjectKey, piece: int = 0) -> bytes:
    return b"\0".join((_SUBJECT + key[0].encode(), key[1].encode(), str(piece).encode()))


def _page_key(key: SubjectKey, digest: bytes) -> bytes:
    return b"\0".join((_PAGE + key[0].encode(), key[1].encode(), digest.hex().encode()))


def _parse_key(key: bytes) -> tuple[SubjectKey, str]:
    axis, subject, rest = key.split(b"\0")
    if axis[:1] not in {_SUBJECT, _PAGE}:
        msg = "unknown kind of key"
        raise ValueError(msg)
    return (axis[1:].decode(), subject.decode()), rest.decode()
