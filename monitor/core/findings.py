"""The plain form of what the detector tells: findings and observations of incidents."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from monitor.core.events import (
    AXIS_PATIENT,
    AXIS_PRINCIPAL,
    HANDLE,
    OFFSET,
    PRINCIPAL_CLASS,
    PRINCIPAL_KIND,
    ROUTE,
    TIME,
    SourceId,
    split_credential,
)
from monitor.core.sentences import summary

if TYPE_CHECKING:
    from monitor.core.events import Row
    from monitor.core.incident import Incident
    from monitor.core.plan import PlannedRule
    from monitor.core.readers import Value
    from monitor.core.subject import Subject

FORMAT_VERSION: Final = 1


class Place(NamedTuple):
    """Where a row stands: its source partition, and the routed record that brought it."""

    source: SourceId
    partition: int
    offset: int
    append_ms: int


class Excess(NamedTuple):
    """A rule whose latch was open when its window reached the threshold."""

    planned: PlannedRule
    group: tuple[Value, ...]
    straggler: bool
    #: `L`, and the time of the first event among those that reach the threshold.
    last_ms: int
    first_ms: int
    #: Whether the event that reached it is too old to be acted on.
    stale: bool = False


def finding_id(place: Place, row: Row, subject: Subject, excess: Excess) -> str:
    """Return the id of a finding: the same for the same log, whoever reads it."""
    rule = excess.planned.rule
    parts = [
        rule.id,
        excess.planned.revision,
        subject.axis,
        subject.name,
        excess.group,
        place.source.topic_id,
        place.source.partition,
        row[OFFSET],
        "straggler" if excess.straggler else "main",
    ]
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def finding(place: Place, row: Row, subject: Subject, excess: Excess) -> dict[str, Any]:
    """Return one finding.

    `value` is the threshold: the window holds at least as many, and how many more it remembers
    depends on the other rules that share it.
    """
    planned, group, straggler, last_ms, first_ms, stale = excess
    rule = planned.rule
    from_ms = max(last_ms - rule.timespan_ms, subject.floor_ms)
    patients, more, tenants = 1 if subject.axis == AXIS_PATIENT else 0, False, 0
    if subject.history is not None:
        patients, more, tenants = subject.history.count_after(from_ms)
    value = rule.threshold
    source = place.source
    return {
        "v": FORMAT_VERSION,
        "kind": "finding",
        "id": finding_id(place, row, subject, excess),
        "rule": {
            "id": rule.id,
            "title": rule.title,
            "revision": planned.revision,
            "level": rule.level,
            "runbook": rule.runbook,
        },
        "action": rule.action,
        "mode": rule.mode,
        "ttl_ms": rule.ttl_ms,
        **_who(subject),
        "principal_kind": row[PRINCIPAL_KIND] if subject.axis == AXIS_PRINCIPAL else None,
        "principal_class": row[PRINCIPAL_CLASS] if subject.axis == AXIS_PRINCIPAL else None,
        **_handle(subject, row),
        "group": dict(zip(rule.group_by[1:], group, strict=True)),
        "value": value,
        "threshold": rule.threshold,
        "window": {
            "from_ms": from_ms,
            "to_ms": last_ms,
            "timespan_ms": rule.timespan_ms,
            "first_ms": first_ms,
        },
        "event": {
            "topic": source.topic,
            "topic_id": source.topic_id,
            "partition": source.partition,
            "offset": row[OFFSET],
            "time_ms": row[TIME],
            "route": row[ROUTE],
        },
        "patients": patients,
        "patients_capped": more,
        "tenants": tenants,
        "straggler": straggler,
        "stale": stale,
        "warming": from_ms < planned.complete_ms,
        "observed_ms": place.append_ms,
        "routed": {"partition": place.partition, "offset": place.offset},
        "summary": summary(rule, subject.name, value, last_ms - first_ms, tenants, more=more),
    }


def observation(
    what: str, place: Place, subject: Subject, incident: Incident, time_ms: int
) -> dict[str, Any]:
    """Return what an incident tells of its credential: its first refusal, silence, or whom it still read."""
    patients, more = 0, False
    if subject.history is not None:
        patients, more, _ = subject.history.count_after(incident.start_ms - 1)
    who = _who(subject)
    del who["axis"]
    return {
        "v": FORMAT_VERSION,
        "kind": "observation",
        "what": what,
        "finding": incident.watch or incident.finding,
        **who,
        "status_version": incident.version,
        "time_ms": time_ms,
        "observed_ms": place.append_ms,
        "leaked": incident.leaked,
        "exposed": incident.exposed,
        "patients": patients,
        "patients_capped": more,
        "routed": {"partition": place.partition, "offset": place.offset},
    }


def _handle(subject: Subject, row: Row) -> dict[str, Any]:
    """Return the sealed handle of a person's credential, which only the enforcer opens."""
    if subject.axis == AXIS_PRINCIPAL and len(row) > HANDLE:
        return {"handle": row[HANDLE]}
    return {}


def _who(subject: Subject) -> dict[str, Any]:
    realm: str | None = None
    principal: str | None = None
    if subject.axis == AXIS_PRINCIPAL:
        realm, principal = split_credential(subject.name)
    return {"axis": subject.axis, "subject": subject.name, "realm": realm, "principal": principal}
