"""What a routed record covers, read without its rows and without native code.

For a record that ended processes while it was decoded: its rows are left out, and what it covers must not be, or
everything after it would pass for a hole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from monitor.core.events import RowsRecord, SourceId
from monitor.errors import InvariantError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The first byte of what may stand before the rows → how many bytes say its size, or are its value.
_INTEGERS: Final = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_TEXTS: Final = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_BOOLEANS: Final = {0xC2: False, 0xC3: True}
_ROWS: Final = 0


def covered(value: bytes, place: str) -> RowsRecord | None:
    """Return a record of rows without its rows; None for a rule set.

    Raises InvariantError where it does not begin as one of ours; `place` is for the error.
    """
    parts = _parts(value)
    try:
        next(parts)  # the version: all begin alike
        if next(parts) != _ROWS:
            return None
        cluster, topic_id, topic, partition, first, last, resume = (next(parts) for _ in range(7))
    except (IndexError, ValueError, RuntimeError):
        msg = f"{place}: not a record of intake; who else writes there?"
        raise InvariantError(msg) from None
    return RowsRecord(SourceId(cluster, topic_id, topic, partition), first, last, resume, ())


def _parts(value: bytes) -> Iterator[Any]:
    """Yield integers, texts and booleans of MessagePack in order, as if its arrays were none."""
    at = 0
    while True:
        kind = value[at]
        at += 1
        if 0x90 <= kind <= 0x9F:  # noqa: PLR2004 - a short array: its parts follow
            continue
        if kind <= 0x7F:  # noqa: PLR2004 - a small integer
            yield kind
        elif kind in _BOOLEANS:
            yield _BOOLEANS[kind]
        elif kind in _INTEGERS:
            size = _INTEGERS[kind]
            yield int.from_bytes(value[at : at + size], "big")
            at += size
        elif 0xA0 <= kind <= 0xBF or kind in _TEXTS:  # noqa: PLR2004 - a short text
            size = kind & 0x1F
            if kind in _TEXTS:
                size = int.from_bytes(value[at : at + _TEXTS[kind]], "big")
                at += _TEXTS[kind]
            yield value[at : at + size].decode()
            at += size
        else:
            msg = f"a part of the kind {kind:#x}"
            raise ValueError(msg)
