"""The rows of some subjects in records of `routed`, from which the evidence of findings is gathered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from monitor import engine
from monitor.core.events import AXIS, KIND, SUBJECT, TIME, RowKind, RowsRecord
from monitor.core.evidence import is_evidence, row_evidence
from monitor.engine.packed import PackedRows, decode
from monitor.errors import InvariantError
from monitor.wire.evidence import pack_evidence

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from monitor.core.events import Row, SourceId
    from monitor.core.subjects import SubjectKey

#: Up to so many names are looked for in the bytes of a record before Python decodes it.
_FEW: Final = 32

_decode = msgspec.msgpack.Decoder().decode


class WantedRows:
    """Looks for what some subjects read; a number tells a subject by its place in `subjects`."""

    def __init__(self, subjects: Sequence[SubjectKey]) -> None:
        self._numbers = {subject: number for number, subject in enumerate(subjects)}
        self._names = [subject.encode() for _, subject in subjects]
        self._native = None if engine.store is None else engine.store.Wanted(list(subjects))

    def of(self, value: bytes, place: str, append_ms: int) -> Iterator[tuple[int, int, bytes, SourceId]]:
        """Yield (number, time as it counts, plain evidence as JSON, source) of what is evidence in a record.

        Raises InvariantError where the record is not ours.
        """
        if (
            self._native is None
            and len(self._names) <= _FEW
            and not any(name in value for name in self._names)
        ):
            return
        record = decode(value, place)
        if not isinstance(record, RowsRecord):
            return
        rows: Iterable[Row] = record.rows
        if self._native is not None and isinstance(rows, PackedRows):
            try:
                found, odd = self._native.rows(rows.content, rows.at, append_ms)
                rows = [_decode(packed) for packed in odd]
            except (ValueError, msgspec.DecodeError) as error:
                msg = f"{place}: rows that cannot be read ({error})"
                raise InvariantError(msg) from None
            for number, time_ms, plain in found:
                yield number, time_ms, plain, record.source
        for row in rows:
            try:
                number = self._numbers.get((row[AXIS], row[SUBJECT]))
                if number is None or row[KIND] != RowKind.EVENT or not is_evidence(row):
                    continue
                time_ms = min(row[TIME], append_ms)
                _, _, offset, route, patients = row_evidence(row)
                plain = pack_evidence(offset, time_ms, route, patients)
            except (TypeError, ValueError, IndexError):
                continue  # a malformed row, which detect reported
            yield number, time_ms, plain, record.source
