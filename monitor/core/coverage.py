"""Which source offsets a routed partition has seen: each takes effect once, and none is passed over.

A record says which source offsets it covers. Per source partition the high-water mark is the last one
covered. A repetition lies at or below the mark; a hole above it means that a batch never reached the
log: its sender stops without committing, so the range comes again.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from monitor.core.events import OFFSET, SourceId
from monitor.errors import InvariantError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from monitor.core.events import RowsRecord

_FORMAT: Final = 1
_NOTHING: Final = -1


class Marks:
    """The high-water mark of each source partition, for one routed partition."""

    __slots__ = ("_marks",)

    def __init__(self) -> None:
        self._marks: dict[SourceId, int] = {}

    def admit(self, record: RowsRecord, *, across_holes: bool = False) -> int | None:
        """Raise the mark to what a record covers, and return it as it stood before.

        Rows with an offset above the returned mark take effect. None means a hole before the record:
        nothing of it takes effect and the mark stays. With `across_holes` what lies before it is known to
        be lost (retention took it), and will not be repeated.
        """
        source = record.source
        mark = self._marks.get(source, _NOTHING)
        if record.first > mark + 1 and not record.resume and not across_holes:
            return None
        if record.last > mark:
            self._marks[source] = record.last
        return mark

    def mark(self, source: SourceId) -> int:
        """Return the last source offset covered, or -1."""
        return self._marks.get(source, _NOTHING)

    def snapshot(self) -> list[Any]:
        """Return a plain form: version, then one list per source partition, sorted."""
        rows = [
            [source.cluster, source.topic_id, source.topic, source.partition, mark]
            for source, mark in self._marks.items()
        ]
        return [_FORMAT, sorted(rows)]

    def restore(self, plain: Sequence[Any]) -> None:
        """Take the marks of a plain form; raises InvariantError for a form that this code does not read."""
        version, rows = plain
        if version != _FORMAT:
            msg = f"marks of version {version!r}: this monitor reads {_FORMAT}"
            raise InvariantError(msg)
        self._marks = {SourceId(*source): mark for *source, mark in rows}


def pieces(record: RowsRecord) -> Iterator[RowsRecord]:
    """Yield a record's rows by source offset, as records that join and cover together what it covers."""
    groups = [list(group) for _, group in groupby(record.rows, key=itemgetter(OFFSET))]
    first, resume = record.first, record.resume
    for group in groups[:-1]:
        last = group[0][OFFSET]
        yield replace(record, first=first, last=last, resume=resume, rows=group)
        first, resume = last + 1, False
    yield replace(record, first=first, resume=resume, rows=groups[-1] if groups else ())
