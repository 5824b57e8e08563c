"""What is left out of `routed` because it ends processes: what it covers, and its dead letter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from monitor.wire import routed
from monitor.wire.positions import WHOLE
from monitor.wire.rejected import encode_rejected
from monitor.wire.routed_head import covered

if TYPE_CHECKING:
    from monitor.core.events import RowsRecord, RulesRecord
    from monitor.stream.records import FetchedRecord

log = structlog.get_logger(__name__)


def alone(record: FetchedRecord, fatal: int | None) -> RowsRecord | RulesRecord | None:
    """Return a routed record that is taken alone.

    Where it ends processes as a whole (`fatal` is `WHOLE`) it is not decoded: its rows are left out, and a rule
    set altogether (None). Raises InvariantError where it is not ours.
    """
    if fatal == WHOLE:
        return covered(record.value or b"", _place(record))
    return routed.decode(record.value, _place(record))


def fatal_letter(record: FetchedRecord, entry: RowsRecord | None, fatal: int) -> bytes:
    """Return the dead letter of an event of a routed record, or of all that it covers; None is a rule set."""
    if entry is None:
        topic, partition, offset = record.topic, record.partition, record.offset
        detail = "processes ended while a rule set was taken from it: it is not in force in this partition"
    elif fatal == WHOLE:
        topic, partition, offset = entry.source.topic, entry.source.partition, entry.last
        detail = f"processes ended while {_place(record)} was decoded: it has the offsets {entry.first} to {offset}"
    else:
        topic, partition, offset = entry.source.topic, entry.source.partition, fatal
        detail = "processes ended while it was judged"
    log.error("what ends processes is left out", topic=topic, partition=partition, offset=offset)
    return encode_rejected(
        topic,
        partition,
        offset,
        format_name="routed",
        reason="fatal",
        detail=detail,
        at_ms=record.timestamp,
    )


def _place(record: FetchedRecord) -> str:
    return f"{record.topic}-{record.partition} offset {record.offset}"
