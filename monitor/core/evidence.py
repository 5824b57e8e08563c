"""What a row is evidence of: whom a credential read, when, and where that stands in the source."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monitor.core.events import AXIS, CATEGORY, OFFSET, PATIENTS, ROUTE, STATUS, SUBJECT, TENANT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.core.events import Row, SourceId

#: (pseudonym, tenant, data category)
Read = tuple[str, str | None, str | None]


class Evidence(NamedTuple):
    """One row of a case: `finding` is the first one of it. `time_ms` is the row's time as it counts."""

    finding: str
    axis: str
    subject: str
    offset: int
    route: str | None
    patients: Sequence[Read]
    time_ms: int
    source: SourceId


#: (finding, axis, subject, offset and time and route and patients as JSON, source), as native code tells it.
PackedEvidence = tuple[str, str, str, bytes, "SourceId"]


def is_evidence(row: Row) -> bool:
    """Return whether an event's row tells of patients that were read with success."""
    return bool(row[PATIENTS]) and 200 <= row[STATUS] < 300  # noqa: PLR2004 - HTTP's successes


def row_evidence(row: Row) -> tuple[str, str, int, str | None, list[Read]]:
    """Return axis, subject, offset, route and patients of a row.

    The row's own tenant stands where a patient has none; the category is that of the route.
    """
    tenant, category = row[TENANT], row[CATEGORY]
    read: list[Read] = [(patient, tenant if own is None else own, category) for patient, own in row[PATIENTS]]
    return row[AXIS], row[SUBJECT], row[OFFSET], row[ROUTE], read
