"""The bytes of the `evidence` topic: whom the credential of a finding read, in records of bounded size.

Each record holds rows of one source partition: ``[offset, time in epoch ms, route, [[patient, tenant,
category], …]]``, pseudonyms throughout. `part` is ``window`` (up to the finding), ``later`` (after it) or
``end``, which says that the window is complete, and since when its log was still kept. The same row may
stand there several times, where a worker repeated it: finding, topic id, partition and offset tell it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from monitor.core.evidence import Evidence
from monitor.wire.credentials import FORMAT_VERSION, read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from monitor.core.events import SourceId
    from monitor.core.evidence import PackedEvidence, Read

#: Rows are cut so that those of a record stay below this, but for one row that is larger.
CHUNK_BYTES: Final = 256 * 1024

Part = Literal["window", "later", "end"]
#: offset, time, route, (patient, tenant, category) of each
EvidenceRow = tuple[int, int, str | None, list[tuple[str, str | None, str | None]]]


class EvidenceSource(msgspec.Struct, frozen=True):
    """One partition of a source topic."""

    cluster: str
    topic_id: str
    topic: str
    partition: int


class EvidenceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of one finding; `kept_ms` of an ``end`` is since when its log was kept, None for all of it."""

    v: int = FORMAT_VERSION
    finding: str
    axis: str
    subject: str
    part: Part
    source: EvidenceSource | None = None
    rows: list[EvidenceRow] = []
    kept_ms: int | None = None


def pack_evidence(offset: int, time_ms: int, route: str | None, patients: Sequence[Read]) -> bytes:
    """Return a row as it stands in a record."""
    return msgspec.json.encode((offset, time_ms, route, patients))


def encode_evidence(
    entries: Iterable[Evidence | PackedEvidence], part: Part
) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, value) of as few records as hold the entries, in order for each finding and source."""
    cut: dict[tuple[str, str, str, SourceId], list[bytes]] = {}
    sizes: dict[tuple[str, str, str, SourceId], int] = {}
    for entry in entries:
        if isinstance(entry, Evidence):
            finding, axis, subject, source = entry.finding, entry.axis, entry.subject, entry.source
            row = pack_evidence(entry.offset, entry.time_ms, entry.route, entry.patients)
        else:
            finding, axis, subject, row, source = entry
        key = finding, axis, subject, source
        rows = cut.get(key)
        if rows is None:
            cut[key], sizes[key] = [row], len(row)
        elif sizes[key] + len(row) > CHUNK_BYTES:
            yield _record(key, rows, part)
            del cut[key]
            cut[key], sizes[key] = [row], len(row)
        else:
            rows.append(row)
            sizes[key] += len(row)
    for key, rows in cut.items():
        yield _record(key, rows, part)


def encode_end(finding: str, axis: str, subject: str, kept_ms: int | None) -> tuple[bytes, bytes]:
    """Return (key, value) of the record that says that a finding's window is complete."""
    record = EvidenceRecord(finding=finding, axis=axis, subject=subject, part="end", kept_ms=kept_ms)
    return finding.encode(), msgspec.json.encode(record)


def decode_evidence(value: bytes, place: str) -> EvidenceRecord:
    """Return a record of evidence; raises InvariantError, with `place`, where it is not one."""
    record: EvidenceRecord = read_json(value, EvidenceRecord, place)
    return record


def _record(key: tuple[str, str, str, SourceId], rows: list[bytes], part: Part) -> tuple[bytes, bytes]:
    finding, axis, subject, source = key
    plain: dict[str, Any] = {
        "v": FORMAT_VERSION,
        "finding": finding,
        "axis": axis,
        "subject": subject,
        "part": part,
        "source": {
            "cluster": source.cluster,
            "topic_id": source.topic_id,
            "topic": source.topic,
            "partition": source.partition,
        },
        "rows": msgspec.Raw(b"[" + b",".join(rows) + b"]"),
    }
    return finding.encode(), msgspec.json.encode(plain)
