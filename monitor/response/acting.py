"""What follows where a person acts, as pure functions of the book, the act and the time.

Every act leaves one entry of kind ``act`` in the ledger, also where it is refused; what follows from it
are entries of their own that name the act.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from monitor.core.events import CredentialStatus
from monitor.response import incidents, switches
from monitor.response.answers import Answer, because, done, entry, refused, unchanged, waiting
from monitor.response.lifecycle import STATUS_OF, STRENGTH, end, of, request, webhook_id
from monitor.response.states import ENDS, Decision, Step, changed
from monitor.wire import acts
from monitor.wire.credentials import BY_HAND, Approval, CredentialRecord
from monitor.wire.safety import AllowedRecord

if TYPE_CHECKING:
    from monitor.response.casebook import Casebook

#: People who must agree before a protected credential is refused.
NEEDED: Final = 2
_DAY_MS: Final = 86_400_000
#: Longest time of an exception for one credential, and of a suspension.
_LONGEST_ALLOWED_MS: Final = 30 * _DAY_MS
_LONGEST_SUSPENSION_MS: Final = 366 * _DAY_MS


def on_act(book: Casebook, act: acts.Act, now_ms: int) -> Answer:
    """Return what follows from an act, with its own entry of the ledger first."""
    answer = _answer(book, act, now_ms)
    answer.step.decisions.insert(0, entry(act, answer))
    return answer


def _answer(book: Casebook, act: acts.Act, now_ms: int) -> Answer:
    match act:
        case acts.Suspend():
            if act.ttl_ms is not None and not 0 < act.ttl_ms <= _LONGEST_SUSPENSION_MS:
                return refused("a suspension lasts up to 366 days; revoke it instead")
            return _refuse(book, act, "suspend", now_ms)
        case acts.Revoke():
            return _refuse(book, act, "revoke", now_ms)
        case acts.Reinstate():
            return _reinstate(book, act, now_ms)
        case acts.Allow():
            return _allow(book, act, now_ms)
        case acts.Approve():
            return _approve(book, act, now_ms)
        case acts.Acknowledge() | acts.Qualify() | acts.Dismiss() | acts.Close():
            return incidents.on_incident(book, act, now_ms)
        case acts.EnableDelivery():
            return _enable(book, act)
        case _:
            return switches.on_switch(book, act, now_ms)


def needed(book: Casebook, record: CredentialRecord) -> int:
    """Return how many people must approve what is held."""
    return NEEDED if book.is_protected(record.subject) else 1


def _refuse(
    book: Casebook, act: acts.Suspend | acts.Revoke, action: Literal["suspend", "revoke"], now_ms: int
) -> Answer:
    current = book.records.get(act.subject)
    if current is not None and current.refused:
        if current.status is CredentialStatus.REVOKED and action == "revoke":
            return unchanged("it is revoked already", current)
        if STRENGTH[current.status] > STRENGTH[STATUS_OF[action]]:
            return refused("it is revoked; reinstate it first", current)
    record = _asked(book, act, action, now_ms)
    archived = current if current is not None and current.incident != record.incident else None
    if not book.is_protected(act.subject) or (current is not None and current.refused):
        step = request(book, Step(archived=archived), record, now_ms, because(act))
        return done(f"{record.incident}: it is being {_word(action)}", step)
    if current is not None and current.state == "held" and current.held == "protected":
        return _agree(book, changed(record, approvals=current.approvals), act, now_ms)
    approvals = (Approval(act.by, now_ms, act.reason),)
    held = changed(record, state="held", held="protected", fuse=None, since_ms=now_ms, approvals=approvals)
    details = {**of(held), **because(act), "reason": "protected"}
    step = Step([Decision("held", details)], held, heard=True, archived=archived)
    return waiting(_wait_text(book, held), step)


def _asked(
    book: Casebook, act: acts.Suspend | acts.Revoke, action: Literal["suspend", "revoke"], now_ms: int
) -> CredentialRecord:
    """Return the record of a credential that a person wants refused, before it is."""
    current = book.records.get(act.subject)
    ttl_ms = act.ttl_ms if isinstance(act, acts.Suspend) else None
    if current is not None and current.state not in ENDS:
        return changed(current, action=action, ttl_ms=ttl_ms, by=act.by, reason=act.reason)
    version = current.version if current else book.position.versions
    kind = current.kind if current else "api_key"
    finding = f"act-{act.act}"
    return CredentialRecord(
        realm=act.realm,
        id=act.id,
        kind=kind,
        status=CredentialStatus.ACTIVE,
        version=version,
        state="held",
        since_ms=now_ms,
        until_ms=None,
        incident=book.new_incident(),
        finding=finding,
        rule=BY_HAND,
        level="high",
        summary=act.reason,
        patients=0,
        patients_capped=False,
        leaked=0,
        webhook_id=current.webhook_id if current else webhook_id(act.realm, act.id, version, finding),
        attempts=current.attempts if current else 0,
        detected_ms=now_ms,
        requested_ms=now_ms,
        accepted_ms=current.accepted_ms if current else now_ms,
        told=current.told if current else {},
        handle=current.handle if current else None,
        principal_class=book.class_of(act.realm, act.id, kind),
        action=action,
        ttl_ms=ttl_ms,
        by=act.by,
        reason=act.reason,
        acknowledged_ms=now_ms,
        acknowledged_by=act.by,
    )


def _approve(book: Casebook, act: acts.Approve, now_ms: int) -> Answer:
    current = book.records.get(act.subject)
    if current is None or current.incident != act.incident:
        known = "" if current is None else f"; its incident is {current.incident}"
        return refused(f"{act.incident} is not an incident of this credential now{known}", current)
    if current.refused:
        return unchanged("it is refused already", current)
    if current.state != "held":
        return refused(f"nothing is held: it is {current.state}", current)
    return _agree(book, current, act, now_ms)


def _agree(
    book: Casebook, current: CredentialRecord, act: acts.Approve | acts.Suspend | acts.Revoke, now_ms: int
) -> Answer:
    if any(approval.by == act.by for approval in current.approvals):
        return unchanged(f"{act.by} has agreed already; {_wait_text(book, current)}", current)
    approvals = (*current.approvals, Approval(act.by, now_ms, act.reason))
    record = changed(current, approvals=approvals)
    approved = Decision("approved", {**of(record), **because(act), "approvals": len(approvals)})
    if len(approvals) < needed(book, record):
        return waiting(_wait_text(book, record), Step([approved], record))
    people = " and ".join(approval.by for approval in approvals)
    record = changed(record, by=people, reason=act.reason)
    step = request(book, Step([approved]), record, now_ms, because(act))
    return done(f"{record.incident}: it is being {_word(record.action)}", step)


def _reinstate(book: Casebook, act: acts.Reinstate, now_ms: int) -> Answer:
    current = book.records.get(act.subject)
    if not 0 <= act.grace_ms <= _LONGEST_ALLOWED_MS:
        return refused("a grace lasts up to 30 days", current)
    if current is None or current.state in ENDS:
        return unchanged("it is not refused", current)
    if current.state == "held":
        return refused(f"it is not refused, {current.incident} is held: dismiss that instead", current)
    step = end(book, current, "reinstated", now_ms, restart_ms=now_ms, why=because(act))
    if step.record is not None:
        step.record = changed(step.record, by=act.by, reason=act.reason)
    text = "it may be used again as soon as the gateways have it; its windows begin anew"
    if act.grace_ms:
        step.allowed = _allowed(act, now_ms, now_ms + act.grace_ms)
        step.decisions.append(Decision("allowed", {**_about(act), "until_ms": step.allowed.until_ms}))
        text += f", and nothing automatic refuses it until {act.grace_ms // 60_000} min have passed"
    return done(text, step)


def _allow(book: Casebook, act: acts.Allow, now_ms: int) -> Answer:
    current = book.records.get(act.subject)
    if not 0 < act.for_ms <= _LONGEST_ALLOWED_MS:
        return refused("an allowance lasts up to 30 days; write an allow-list for more", current)
    if current is not None and current.refused:
        return refused("it is refused; reinstate it with a grace instead", current)
    step = Step(allowed=_allowed(act, now_ms, now_ms + act.for_ms))
    step.decisions.append(Decision("allowed", {**_about(act), "until_ms": now_ms + act.for_ms}))
    if current is not None and current.state == "held":
        step.more.append(incidents.dismiss(current, act, now_ms))
    return done("nothing automatic refuses it meanwhile", step, current)


def _enable(book: Casebook, act: acts.EnableDelivery) -> Answer:
    if act.endpoint not in book.endpoints:
        known = ", ".join(sorted(book.endpoints)) or "none"
        return refused(f"no gateway of the configuration has that name; there is {known}")
    if not book.is_disabled(act.endpoint):
        return unchanged("it is called as always")
    decision = Decision("adapter_enabled", {"adapter": act.endpoint, **because(act)})
    return done(
        "it is called again, and told all that it has not accepted", Step([decision], enabled=act.endpoint)
    )


def _allowed(act: acts.Allow | acts.Reinstate, now_ms: int, until_ms: int) -> AllowedRecord:
    return AllowedRecord(
        realm=act.realm, id=act.id, since_ms=now_ms, until_ms=until_ms, by=act.by, reason=act.reason
    )


def _about(act: acts.CredentialAct) -> dict[str, str]:
    return {"realm": act.realm, "id": act.id, **because(act)}


def _wait_text(book: Casebook, record: CredentialRecord) -> str:
    missing = needed(book, record) - len(record.approvals)
    return (
        f"{record.incident} waits for {missing} more, as it is protected:"
        f" monitor credentials approve {record.incident} --reason …"
    )


def _word(action: str) -> str:
    return "suspended" if action == "suspend" else "revoked"
