"""`python -m tests.integration.older_worker …`: the command line of a monitor of the version before.

It writes and reads the formats from before (version 2 of routed rows, version 1 of state), and refuses
newer ones as every version does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from monitor.cli import main
from monitor.core.events import CATEGORY, KIND, RowKind, RowsRecord, RulesRecord, SourceId
from monitor.errors import InvariantError
from monitor.wire import routed, state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.core.events import Row
    from monitor.core.subjects import SubjectKey

ROUTED_VERSION = 2
STATE_VERSION = 1
_encode = msgspec.msgpack.Encoder().encode
_decode = routed.decode


def encode_rows(
    source: SourceId,
    first: int,
    last: int,
    rows: Sequence[Row],
    *,
    resume: bool,
    former: object = None,
) -> bytes:
    """Return rows with the columns of that version."""
    origin = (source.cluster, source.topic_id, source.topic, source.partition)
    older = [
        (*row[:CATEGORY], *row[CATEGORY + 1 :]) if row[KIND] == RowKind.EVENT else row[:8] for row in rows
    ]
    return _encode((ROUTED_VERSION, 0, origin, first, last, resume, older))


def encode_rules(record: RulesRecord) -> bytes:
    """Return a rule set as it was written before."""
    return _encode((ROUTED_VERSION, 1, record.version, record.revision, record.document))


def decode(value: bytes | None, place: str) -> RowsRecord | RulesRecord:
    """Return a record of the version before; raises InvariantError for a newer one."""
    if value is not None and msgspec.msgpack.decode(value)[0] != ROUTED_VERSION:
        msg = f"{place}: routed format 4: this monitor reads 2; was it downgraded?"
        raise InvariantError(msg)
    return _decode(value, place)


def encode_single(stamp: int, content: Any) -> bytes:
    """Return the marks or the rule set."""
    return _encode((STATE_VERSION, stamp, 1, _encode(content)))


def encode_subject(key: SubjectKey, stamp: int, _until: int | None, content: Any) -> Any:
    """Return a subject in one piece."""
    axis, subject = key
    name = f"s{axis}\0{subject}\0000".encode()
    packed = _encode(content)
    return state.EncodedSubject(name, _encode((STATE_VERSION, stamp, 1, packed)), {}, packed)


def encode_freed(key: SubjectKey, stamp: int) -> tuple[bytes, bytes]:
    """Return the mark that a subject is freed."""
    axis, subject = key
    return f"s{axis}\0{subject}\0000".encode(), _encode((STATE_VERSION, stamp, 0, b""))


if __name__ == "__main__":
    for module, replacements in (
        (routed, (encode_rows, encode_rules, decode)),
        (state, (encode_single, encode_subject, encode_freed)),
    ):
        for replacement in replacements:
            setattr(module, replacement.__name__, replacement)
    main()
