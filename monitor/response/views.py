"""What people are shown of the book, taken from memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.core.events import CredentialStatus
from monitor.response.acting import needed
from monitor.response.states import ENDS
from monitor.wire import views
from monitor.wire.views import AutomationView, CredentialView, FuseView, IncidentView, Person

if TYPE_CHECKING:
    from monitor.response.casebook import Casebook
    from monitor.wire.credentials import CredentialRecord
    from monitor.wire.safety import Glass


def credential_views(book: Casebook, now_ms: int) -> list[CredentialView]:
    """Return all credentials that have a record, an exception, or a place in the directory."""
    subjects = {**book.records, **book.allowed, **book.directory.entries}
    return [_credential(book, subject, now_ms) for subject in subjects]


def _credential(book: Casebook, subject: str, now_ms: int) -> CredentialView:
    record = book.records.get(subject)
    allowed = book.allowed.get(subject)
    known = book.directory.entries.get(subject)
    realm, _, name = subject.partition("/")
    exempt = allowed is not None and allowed.until_ms > now_ms
    return CredentialView(
        realm=realm,
        id=name,
        kind=record.kind if record else "api_key",
        status=record.status if record else CredentialStatus.ACTIVE,
        state=record.state if record else None,
        version=record.version if record else 0,
        since_ms=record.since_ms if record else allowed.since_ms if allowed else 0,
        until_ms=record.until_ms if record else None,
        exempt_until_ms=allowed.until_ms if allowed and exempt else None,
        exempt_by=allowed.by if allowed and exempt else "",
        incident=record.incident if record else None,
        accepted_ms=record.accepted_ms if record else None,
        enforced_ms=record.enforced_ms if record else None,
        proof=(record.proof or "") if record else "",
        attempts=record.attempts if record else 0,
        by=record.by if record else "",
        reason=record.reason if record else "",
        owner=known.owner if known else "",
        name=known.name if known else "",
        phone=known.phone if known else "",
        klass=known.of_class if known else record.principal_class if record else "",
        protected=known.protected if known else False,
        tenants_served=len(known.tenants) if known and known.tenants else None,
    )


def incident_views(book: Casebook) -> list[IncidentView]:
    """Return all incidents that are remembered."""
    return [_incident(book, record) for record in book.incidents()]


def _incident(book: Casebook, record: CredentialRecord) -> IncidentView:
    held = record.state == "held"
    acknowledged = _person(record.acknowledged_by, record.acknowledged_ms)
    ended = _person(record.by, record.ended_ms, record.reason)
    return IncidentView(
        incident=record.incident,
        realm=record.realm,
        id=record.id,
        kind=record.kind,
        open=record.state not in ENDS,
        status=record.status,
        state=record.state,
        version=record.version,
        finding=record.finding,
        rule=record.rule.id,
        rule_title=record.rule.title,
        level=record.level,
        summary=record.summary,
        action=record.action,
        held_for=record.held or "",
        approvals=tuple(Person(by=one.by, at_ms=one.at_ms, reason=one.reason) for one in record.approvals),
        approvals_needed=needed(book, record) if held else 0,
        patients=record.patients,
        patients_capped=record.patients_capped,
        tenants=record.tenants,
        leaked=record.leaked,
        exposed=record.exposed,
        by=record.by,
        reason=record.reason,
        detected_ms=record.detected_ms,
        requested_ms=None if held or record.state == "dismissed" else record.requested_ms,
        accepted_ms=record.accepted_ms,
        enforced_ms=record.enforced_ms,
        quiet_ms=record.quiet_ms,
        proof=record.proof or "",
        until_ms=record.until_ms,
        ended_ms=record.ended_ms,
        acknowledged=acknowledged,
        qualified=_person(record.qualified_by, record.qualified_ms),
        qualified_as=record.qualified,
        closed=_person(record.closed_by, record.closed_ms),
        verdict=record.verdict,
        dismissed=ended if record.state == "dismissed" else None,
    )


def fuse_views(book: Casebook, now_ms: int) -> list[FuseView]:
    """Return every fuse that counts something or has blown."""
    return [_fuse(book, name, now_ms) for name in book.fuse.names()]


def _fuse(book: Casebook, name: str, now_ms: int) -> FuseView:
    used, ceiling, interval_ms = book.fuse.used(book.policy.limits, name, now_ms)
    blown = book.fuse.blown.get(name)
    return FuseView(
        name=name,
        ceiling=ceiling,
        interval_ms=interval_ms,
        used=used,
        tripped_ms=blown[0] if blown else None,
        why=blown[1] if blown else "",
        held=sum(record.state == "held" and record.fuse == name for record in book.records.values()),
    )


def automation_view(book: Casebook, now_ms: int) -> AutomationView:
    """Return the mode, and the exceptions that are on."""
    return AutomationView(
        mode="enforce" if book.policy.mode == "enforce" else "shadow",
        paused=_glass(book.glass.paused, now_ms),
        allow_all=_glass(book.glass.allow_all, now_ms),
    )


def _glass(glass: Glass | None, now_ms: int) -> views.BreakGlass | None:
    if glass is None or glass.until_ms <= now_ms:
        return None
    return views.BreakGlass(
        by=glass.by, reason=glass.reason, since_ms=glass.since_ms, until_ms=glass.until_ms
    )


def _person(by: str | None, at_ms: int | None, reason: str = "") -> Person | None:
    return None if at_ms is None else Person(by=by or "", at_ms=at_ms, reason=reason)
