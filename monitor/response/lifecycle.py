"""The life of a response, as pure functions: what follows from a finding, an observation, a receipt, time.

suppressed(reason) | held(reason) | requested → accepted → enforced | quiet | failed → expired

`enforced` is proof, not hope: a refusal that was seen in the events, or the gateway's own word when it was
asked. What people do is in `acting`. Each function returns a `Step`; whoever calls makes it durable before
anything that it implies happens, and `states` lets no other step through.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from monitor.core.events import CredentialStatus
from monitor.response.states import ENDS, Decision, Step, changed
from monitor.wire.credentials import CredentialRecord, RuleName

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from monitor.response.casebook import Casebook
    from monitor.wire.credentials import Held

#: How much an action takes away; a finding changes a status only to a stronger one.
STRENGTH: Final = {
    CredentialStatus.ACTIVE: 0,
    CredentialStatus.SUSPENDED: 1,
    CredentialStatus.REVOKED: 2,
}
STATUS_OF: Final = {"suspend": CredentialStatus.SUSPENDED, "revoke": CredentialStatus.REVOKED}


def on_finding(book: Casebook, finding: Mapping[str, Any], now_ms: int) -> Step:
    """Return what follows from a finding.

    The same finding twice (a worker repeated it after a crash) changes nothing the second time.
    """
    current = book.records.get(finding["subject"]) if finding["principal"] is not None else None
    if current is not None and current.finding == finding["id"]:
        return Step()
    reason = _suppressed_by(book, current, finding, now_ms)
    if reason is not None:
        return Step([Decision("suppressed", {**_about(book, finding), "reason": reason})])
    if current is not None and current.state == "failed" and _is_refused_so(current, finding):
        # The gateway did not take it, and it goes on: it is told again.
        record = changed(current, state="requested", requested_ms=now_ms)
        return Step(
            [Decision("requested", {**_about(book, finding), **of(record), "again": True})], record, told=True
        )
    held, fuse, name = _held_by(book, current, finding, now_ms)
    record = _record(book, current, finding, now_ms)
    step = Step(fuse=fuse, archived=_archived(current, record))
    if held is not None:
        step.record = _hold(current, record, held, name, now_ms)
        # What is too old to act on may be found again at once: by an event that is not.
        step.heard = True
        details = {**_about(book, finding), **of(step.record), "reason": held, "fuse": name}
        step.decisions.append(Decision("held", details))
        if name is not None and fuse is not None and name not in book.fuse.blown:
            step.decisions.append(Decision("fuse_blown", {"fuse": name, "reason": fuse.blown[name][1]}))
        return step
    return request(book, step, record, now_ms, _about(book, finding))


def request(
    book: Casebook, step: Step, record: CredentialRecord, now_ms: int, why: Mapping[str, Any]
) -> Step:
    """Complete a step by which a credential is to be refused, as `record.action` says."""
    current = book.records.get(record.subject)
    version = book.next_version(current)
    status = STATUS_OF[record.action]
    ttl_ms = record.ttl_ms or book.policy.default_ttl_ms
    record = changed(
        record,
        status=status,
        version=version,
        state="requested",
        since_ms=now_ms,
        until_ms=now_ms + ttl_ms if status is CredentialStatus.SUSPENDED else None,
        held=None,
        fuse=None,
        webhook_id=webhook_id(record.realm, record.id, version, record.finding),
        attempts=0,
        leaked=0,
        requested_ms=now_ms,
        accepted_ms=None,
        enforced_ms=None,
        proof=None,
        quiet_ms=None,
        ended_ms=None,
        restart_ms=None,
        reopen_ms=None,
    )
    step.record, step.told = record, True
    step.decisions.append(Decision("requested", {**why, **of(record)}))
    if not book.policy.delivers:
        # The record itself is what the decision service refuses by.
        step.record = changed(record, state="accepted", accepted_ms=now_ms)
        step.decisions.append(Decision("accepted", {**of(record), "by": "authz"}))
    return step


def _suppressed_by(
    book: Casebook, current: CredentialRecord | None, finding: Mapping[str, Any], now_ms: int
) -> str | None:
    """Return why a finding changes nothing, or None where it is to be acted on or held."""
    status = STATUS_OF.get(finding["action"])
    if status is None:
        return "alert_only"
    if finding["realm"] is None or finding["principal"] is None:
        return "not_a_credential"
    if is_shadow(book, finding):
        return "shadow"
    if book.is_allowed(finding["subject"], now_ms):
        return "allowed"
    if current is None or not current.refused:
        return None
    if STRENGTH[current.status] >= STRENGTH[status]:
        # A gateway that did not take it is told again.
        return None if current.state == "failed" else "already_refused"
    # It is refused already; old news, or what nobody may do, does not make that stronger.
    if is_stale(book, finding, now_ms):
        return "stale"
    if book.is_protected(finding["subject"]):
        return "protected"
    return "paused" if book.is_paused(now_ms) else None


def _held_by(
    book: Casebook, current: CredentialRecord | None, finding: Mapping[str, Any], now_ms: int
) -> tuple[Held | None, Any, str | None]:
    """Return why a finding is held, if it is; the fuse after it, and the name of the one that holds it."""
    if is_stale(book, finding, now_ms):
        return "stale", None, None
    if book.is_protected(finding["subject"]):
        return "protected", None, None
    if book.is_paused(now_ms):
        return "paused", None, None
    of_class = _class(book, finding)
    entry = now_ms, of_class, finding["rule"]["id"], finding["subject"]
    if current is not None and current.refused:
        return None, None, None  # it is one of those that were let through
    fuse, name = book.fuse.admit(book.policy.limits, entry)
    return ("fuse" if name else None), fuse, name


def is_shadow(book: Casebook, finding: Mapping[str, Any]) -> bool:
    """Return whether nothing may follow: the rule's mode, under the ceiling of all rules."""
    return "shadow" in (book.policy.mode, finding["mode"])


def is_stale(book: Casebook, finding: Mapping[str, Any], now_ms: int) -> bool:
    """Return whether a finding is too old to act on: when detect read its event, or by now."""
    return bool(finding.get("stale")) or now_ms - finding["event"]["time_ms"] > book.policy.max_age_ms


def _is_refused_so(current: CredentialRecord, finding: Mapping[str, Any]) -> bool:
    return STRENGTH[current.status] >= STRENGTH[STATUS_OF[finding["action"]]]


def _record(
    book: Casebook, current: CredentialRecord | None, finding: Mapping[str, Any], now_ms: int
) -> CredentialRecord:
    """Return the record of a finding's credential, still active; what is the response's own comes later."""
    realm, principal = finding["realm"], finding["principal"]
    action, ttl_ms = finding["action"], finding["ttl_ms"]
    if current is not None and current.state not in ENDS:
        # One incident from its first finding to its end; what it exposed does not shrink.
        if current.state == "held" and STRENGTH[STATUS_OF[current.action]] > STRENGTH[STATUS_OF[action]]:
            action, ttl_ms = current.action, current.ttl_ms
        return changed(
            current,
            finding=finding["id"] if current.state != "held" else current.finding,
            rule=RuleName(finding["rule"]["id"], finding["rule"]["title"]),
            level=finding["rule"]["level"],
            summary=finding["summary"],
            patients=max(finding["patients"], current.patients),
            patients_capped=current.patients_capped or finding["patients_capped"],
            tenants=max(finding["tenants"], current.tenants),
            action=action,
            ttl_ms=ttl_ms,
            by=f"rule {finding['rule']['id']}",
            handle=finding.get("handle") or current.handle,
        )
    incident = book.new_incident()
    version = current.version if current else book.position.versions
    return CredentialRecord(
        realm=realm,
        id=principal,
        kind=finding["principal_kind"] or "api_key",
        status=CredentialStatus.ACTIVE,
        version=version,
        state="held",
        since_ms=now_ms,
        until_ms=None,
        incident=incident,
        finding=finding["id"],
        rule=RuleName(finding["rule"]["id"], finding["rule"]["title"]),
        level=finding["rule"]["level"],
        summary=finding["summary"],
        patients=finding["patients"],
        patients_capped=finding["patients_capped"],
        tenants=finding["tenants"],
        leaked=0,
        webhook_id=current.webhook_id if current else webhook_id(realm, principal, version, finding["id"]),
        attempts=current.attempts if current else 0,
        detected_ms=finding["observed_ms"],
        requested_ms=now_ms,
        # A reinstatement that a gateway still waits for is delivered on.
        accepted_ms=current.accepted_ms if current else now_ms,
        told=current.told if current else {},
        handle=finding.get("handle") or (current.handle if current else None),
        principal_class=_class(book, finding),
        action=action,
        ttl_ms=ttl_ms,
        by=f"rule {finding['rule']['id']}",
    )


def _archived(current: CredentialRecord | None, record: CredentialRecord) -> CredentialRecord | None:
    """Return the incident that another one follows now, if there was one."""
    return current if current is not None and current.incident != record.incident else None


def _hold(
    current: CredentialRecord | None, record: CredentialRecord, held: Held, fuse: str | None, now_ms: int
) -> CredentialRecord:
    again = current is not None and current.state == "held"
    return changed(
        record,
        state="held",
        held=held,
        fuse=fuse,
        since_ms=record.since_ms if again else now_ms,
        reopen_ms=now_ms if held == "stale" else record.reopen_ms,
    )


def on_attempt(current: CredentialRecord, adapter: str) -> Step:
    """Return the note that a gateway is about to be told; it is durable before the call."""
    record = changed(current, attempts=current.attempts + 1)
    details = {**of(record), "adapter": adapter, "attempt": record.attempts}
    return Step([Decision("attempted", details)], record)


def on_accepted(
    current: CredentialRecord,
    adapter: str,
    now_ms: int,
    awaited: Collection[str] = (),
    note: str | None = None,
) -> Step:
    """Return what follows where a gateway has taken the current version; `awaited` are all that must.

    `note` is what was special about it, such as that the gateway does not know the credential.
    """
    told = {**current.told, adapter: current.version}
    record = changed(current, told=told)
    step = Step([Decision("noted", {**of(record), "adapter": adapter, "note": note})] if note else [], record)
    if current.accepted_ms is not None or any(told.get(name) != current.version for name in awaited):
        return step
    state = "accepted" if current.state in {"requested", "failed"} else current.state
    step.record = changed(record, accepted_ms=now_ms, state=state)
    step.decisions.append(Decision("accepted", {**of(record), "by": adapter}))
    return step


def on_read_back(current: CredentialRecord, adapter: str, now_ms: int, *, refused: bool) -> Step:
    """Return what follows where a gateway was asked: its own word that it refuses is proof, too."""
    if not refused or not current.refused or current.enforced_ms is not None:
        return Step()
    record = changed(current, state="enforced", enforced_ms=now_ms, proof="read_back")
    return Step([Decision("enforced", {**of(record), "proof": "read_back", "by": adapter})], record)


def on_given_up(current: CredentialRecord, adapter: str, reason: str) -> Step:
    """Return what follows where a gateway did not accept until the end of the policy."""
    record = current
    if current.state in {"requested", "accepted"}:
        record = changed(current, state="failed")
    return Step([Decision("failed", {**of(record), "adapter": adapter, "reason": reason})], record)


def on_tick(book: Casebook, current: CredentialRecord, now_ms: int) -> Step:
    """Return the end of a suspension whose time is over, or of a pause that held a finding, or nothing."""
    if current.state == "held" and current.held == "paused" and not book.is_paused(now_ms):
        # Detect looks again: if it still goes on, a fresh finding follows and is acted on.
        record = changed(current, held="stale", reopen_ms=now_ms)
        return Step([Decision("held", {**of(record), "reason": "stale"})], record, heard=True)
    if current.until_ms is None or now_ms < current.until_ms:
        return Step()
    # What the suspension answered counts no more; what leaked meanwhile does.
    return end(book, current, "expired", now_ms, restart_ms=current.since_ms, why={"by": "its time is over"})


def end(  # noqa: PLR0917 - all that an end is
    book: Casebook,
    current: CredentialRecord,
    state: str,
    now_ms: int,
    restart_ms: int,
    why: Mapping[str, Any],
) -> Step:
    """Return the step by which a credential is active again; events up to `restart_ms` count no more."""
    version = book.next_version(current)
    record = changed(
        current,
        status=CredentialStatus.ACTIVE,
        version=version,
        state=state,
        since_ms=now_ms,
        until_ms=None,
        ended_ms=now_ms,
        webhook_id=webhook_id(current.realm, current.id, version, current.finding),
        attempts=0,
        # Where there is no gateway, the record is all there is, and nothing is outstanding.
        accepted_ms=None if book.policy.delivers else now_ms,
        requested_ms=now_ms,
        restart_ms=restart_ms,
        reopen_ms=now_ms,
    )
    return Step([Decision(state, {**of(record), **why})], record, told=True)


def webhook_id(realm: str, principal: str, version: int, finding: str) -> str:
    """Return the id of the webhook about one version of a credential: the same at each retry.

    The finding is part of it: versions begin again where `credentials` was made anew, and a receiver
    would take the first revocation after that for one that it has done already.
    """
    digest = hashlib.sha256(f"{realm}/{principal}\0{version}\0{finding}".encode()).hexdigest()
    return f"msg_{digest[:27]}"


def is_open(record: CredentialRecord) -> bool:
    """Return whether the incident is still one: the credential is refused, or is to be, or is held."""
    return record.state not in ENDS


def of(record: CredentialRecord) -> dict[str, Any]:
    """Return what each entry of the ledger says of its credential; only what is enforced has a record."""
    return {
        "incident": record.incident,
        "finding": record.finding,
        "realm": record.realm,
        "id": record.id,
        "status": record.status.value,
        "version": record.version,
        "mode": "enforce",
    }


def _about(book: Casebook, finding: Mapping[str, Any]) -> dict[str, Any]:
    event = finding["event"]
    return {
        "finding": finding["id"],
        "rule": {"id": finding["rule"]["id"], "title": finding["rule"]["title"]},
        "by": f"rule {finding['rule']['id']}",
        "action": finding["action"],
        "mode": "shadow" if is_shadow(book, finding) else "enforce",
        "realm": finding["realm"],
        "id": finding["principal"],
        "event": {key: event[key] for key in ("topic", "topic_id", "partition", "offset", "time_ms")},
        "summary": finding["summary"],
    }


def _class(book: Casebook, finding: Mapping[str, Any]) -> str:
    """Return the class whose ceiling counts: that of the directory, else the row's."""
    known = book.directory.entries.get(finding["subject"])
    if known is not None:
        return known.of_class
    return str(finding["principal_class"] or book.class_of("", "", finding["principal_kind"] or "api_key"))
