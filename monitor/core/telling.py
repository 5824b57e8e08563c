"""What is told of an event once it was counted: findings, observations of an incident, evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.core.events import AXIS_PRINCIPAL, STATUS
from monitor.core.evidence import Evidence, is_evidence, row_evidence
from monitor.core.findings import finding, observation
from monitor.core.incident import Incident

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.core.events import Row
    from monitor.core.findings import Excess, Place
    from monitor.core.outcomes import Outcomes
    from monitor.core.subject import Subject


def tell_of(  # noqa: PLR0917 - all that an event is
    outcomes: Outcomes,
    subject: Subject,
    row: Row,
    place: Place,
    time_ms: int,
    told: str | None,
    excesses: Sequence[Excess],
) -> None:
    """Tell what follows from an event: of its credential's incident, and of the rules that hold.

    `told` is what the incident said of it before it was counted.
    """
    if subject.incident is not None:
        _follow(outcomes, subject, subject.incident, row, place, time_ms, told)
    tell_found(outcomes, subject, row, place, excesses)


def tell_found(
    outcomes: Outcomes, subject: Subject, row: Row, place: Place, excesses: Sequence[Excess]
) -> None:
    """Make the findings of rules that hold."""
    for excess in excesses:
        found = finding(place, row, subject, excess)
        outcomes.findings.append(found)
        if subject.axis == AXIS_PRINCIPAL:
            incident = subject.incident or Incident()
            timespan_ms = excess.planned.rule.timespan_ms
            incident.found(found["id"], excess.first_ms, excess.last_ms, timespan_ms)
            subject.incident = incident


def tell(outcomes: Outcomes, what: str, place: Place, subject: Subject, time_ms: int) -> None:
    """Tell something of a subject's incident, where it has one."""
    if subject.incident is not None:
        outcomes.observations.append(observation(what, place, subject, subject.incident, time_ms))


def _follow(  # noqa: PLR0917 - all that an event is
    outcomes: Outcomes,
    subject: Subject,
    incident: Incident,
    row: Row,
    place: Place,
    time_ms: int,
    told: str | None,
) -> None:
    """Note what an event after a finding is evidence of, and tell of it where that is due."""
    if incident.active:
        told = incident.exposes(row[STATUS], time_ms, subject.history)
    if incident.case is not None and incident.follows(time_ms) and is_evidence(row):
        outcomes.evidence.append(Evidence(incident.case, *row_evidence(row), time_ms, place.source))
    if told is not None:
        tell(outcomes, told, place, subject, time_ms)
