"""The life of a response, as pure functions: what follows from a finding, an observation, a receipt.

suppressed(reason) | held(stale) | requested → accepted → enforced | failed → expired

`enforced` is proof, not hope: a refusal that was seen in the events. Each function returns a `Step`;
whoever calls makes it durable before anything that it implies happens.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from monitor.core.events import CredentialStatus
from monitor.wire.credentials import CredentialRecord, RuleName

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

#: How much an action takes away; a finding changes a status only to a stronger one.
_STRENGTH: Final = {
    CredentialStatus.ACTIVE: 0,
    CredentialStatus.SUSPENDED: 1,
    CredentialStatus.REVOKED: 2,
}
_STATUS_OF: Final = {"suspend": CredentialStatus.SUSPENDED, "revoke": CredentialStatus.REVOKED}


@dataclass(frozen=True, slots=True)
class Policy:
    """What the configuration says about responses. Durations in milliseconds."""

    mode: str
    max_age_ms: int
    default_ttl_ms: int
    delivers: bool
    """Whether somebody is to be told (a webhook); if not, the decision service is all there is."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One entry of the ledger, before it has its number."""

    kind: str
    details: Mapping[str, Any]


@dataclass(slots=True)
class Step:
    """What changes: entries of the ledger, and the credential's new record if it has one.

    `told` is set where the status changed, so that detect and the gateways must hear of it; `reopens`
    where only detect must: it is to look at the credential again.
    """

    decisions: list[Decision] = field(default_factory=list)
    record: CredentialRecord | None = None
    told: bool = False
    reopens: bool = False


def on_finding(
    current: CredentialRecord | None,
    finding: Mapping[str, Any],
    policy: Policy,
    incident: str,
    now_ms: int,
) -> Step:
    """Return what follows from a finding; `incident` is the name that a new incident gets.

    The same finding twice (a worker repeated it after a crash) changes nothing the second time.
    """
    if current is not None and current.finding == finding["id"]:
        return Step()
    status = _STATUS_OF.get(finding["action"])
    stale = now_ms - finding["event"]["time_ms"] > policy.max_age_ms
    reason = _suppressed_by(current, finding, policy, stale=stale)
    if reason is not None or status is None:
        return Step([Decision("suppressed", {**_about(finding), "reason": reason})])
    version = (current.version if current else 0) + 1
    ttl_ms = finding["ttl_ms"] or policy.default_ttl_ms
    realm, principal = finding["realm"], finding["principal"]
    patients, capped = finding["patients"], finding["patients_capped"]
    if current is not None and current.status is not CredentialStatus.ACTIVE:
        # A suspension becomes a revocation: one incident, and what it exposed does not shrink.
        incident = current.incident
        patients, capped = max(patients, current.patients), capped or current.patients_capped
    record = CredentialRecord(
        realm=realm,
        id=principal,
        kind=finding["principal_kind"] or "api_key",
        status=CredentialStatus.ACTIVE if stale else status,
        version=version,
        state="held" if stale else "requested",
        since_ms=now_ms,
        until_ms=now_ms + ttl_ms if status is CredentialStatus.SUSPENDED and not stale else None,
        incident=incident,
        finding=finding["id"],
        rule=RuleName(finding["rule"]["id"], finding["rule"]["title"]),
        level=finding["rule"]["level"],
        summary=finding["summary"],
        patients=patients,
        patients_capped=capped,
        leaked=0,
        webhook_id=webhook_id(realm, principal, version, finding["id"]),
        attempts=0,
        detected_ms=finding["observed_ms"],
        requested_ms=now_ms,
        told=current.told if current else {},
        # What is held is delivered to nobody, but takes the place of what a gateway still waits for.
        accepted_ms=now_ms if stale and (current is None or current.accepted_ms is not None) else None,
        handle=finding.get("handle") or (current.handle if current else None),
    )
    if stale:
        # History must cut off nobody. Detect looks again: if it still goes on, a fresh finding follows.
        held = {**_about(finding), "incident": incident, "reason": "stale", "version": version}
        return Step([Decision("held", held)], record, reopens=True)
    details = {**_about(finding), "incident": incident, "status": status.value, "version": version}
    step = Step([Decision("requested", details)], record, told=True)
    if not policy.delivers:
        # The record itself is what the decision service refuses by.
        step.record = msgspec.structs.replace(record, state="accepted", accepted_ms=now_ms)
        step.decisions.append(Decision("accepted", {**_of(record), "by": "authz"}))
    return step


def _suppressed_by(
    current: CredentialRecord | None, finding: Mapping[str, Any], policy: Policy, *, stale: bool
) -> str | None:
    """Return why a finding changes nothing, or None where it is to be acted on or held."""
    status = _STATUS_OF.get(finding["action"])
    if status is None:
        return "alert_only"
    if finding["realm"] is None or finding["principal"] is None:
        return "not_a_credential"
    if "shadow" in (policy.mode, finding["mode"]):
        return "shadow"
    if current is None or current.status is CredentialStatus.ACTIVE:
        return None
    if _STRENGTH[current.status] >= _STRENGTH[status]:
        return "already_refused"
    # It is refused already; old news does not make that stronger.
    return "stale" if stale else None


def on_observation(current: CredentialRecord | None, seen: Mapping[str, Any], now_ms: int) -> Step:
    """Return what follows from a first refusal or a leak that detect saw."""
    if current is None or seen["status_version"] != current.version:
        return Step()  # it is about an earlier version
    if seen["what"] == "refused":
        if current.enforced_ms is not None or current.status is CredentialStatus.ACTIVE:
            return Step()
        record = msgspec.structs.replace(
            current,
            state="enforced",
            enforced_ms=now_ms,
            leaked=max(current.leaked, seen["leaked"]),
            patients=max(current.patients, seen["patients"]),
            patients_capped=current.patients_capped or seen["patients_capped"],
        )
        details = {**_of(record), "refused_ms": seen["time_ms"], "leaked": record.leaked}
        return Step([Decision("enforced", details)], record)
    if seen["leaked"] <= current.leaked:
        return Step()
    record = msgspec.structs.replace(
        current,
        leaked=seen["leaked"],
        patients=max(current.patients, seen["patients"]),
        patients_capped=current.patients_capped or seen["patients_capped"],
    )
    return Step([Decision("leaked", {**_of(record), "leaked": record.leaked})], record)


def on_gap(gap: Mapping[str, Any]) -> Step:
    """Return the note that records were deleted before they were read: nobody counted them."""
    about = {name: gap[name] for name in ("group", "topic", "topic_id", "partition", "first", "last")}
    return Step([Decision("gap", about)])


def on_attempt(current: CredentialRecord, adapter: str) -> Step:
    """Return the note that a gateway is about to be told; it is durable before the call."""
    record = msgspec.structs.replace(current, attempts=current.attempts + 1)
    details = {**_of(record), "adapter": adapter, "attempt": record.attempts}
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
    record = msgspec.structs.replace(current, told=told)
    step = Step(
        [Decision("noted", {**_of(record), "adapter": adapter, "note": note})] if note else [], record
    )
    if current.accepted_ms is not None or any(told.get(name) != current.version for name in awaited):
        return step
    step.record = msgspec.structs.replace(
        record,
        accepted_ms=now_ms,
        state="accepted" if current.state in {"requested", "failed"} else current.state,
    )
    step.decisions.append(Decision("accepted", {**_of(record), "by": adapter}))
    return step


def on_read_back(current: CredentialRecord, adapter: str, now_ms: int, *, refused: bool) -> Step:
    """Return what follows where a gateway was asked: its own word that it refuses is proof, too."""
    if not refused or not current.refused or current.enforced_ms is not None:
        return Step()
    record = msgspec.structs.replace(current, state="enforced", enforced_ms=now_ms, proof="read_back")
    return Step([Decision("enforced", {**_of(record), "proof": "read_back", "by": adapter})], record)


def on_given_up(current: CredentialRecord, adapter: str, reason: str) -> Step:
    """Return what follows where a gateway did not accept until the end of the policy."""
    record = current
    if current.state == "requested":
        record = msgspec.structs.replace(current, state="failed")
    return Step([Decision("failed", {**_of(record), "adapter": adapter, "reason": reason})], record)


def on_tick(current: CredentialRecord, policy: Policy, now_ms: int) -> Step:
    """Return the end of a suspension whose time is over, or nothing."""
    if current.status is not CredentialStatus.SUSPENDED or current.until_ms is None:
        return Step()
    if now_ms < current.until_ms:
        return Step()
    version = current.version + 1
    record = msgspec.structs.replace(
        current,
        status=CredentialStatus.ACTIVE,
        version=version,
        state="expired",
        since_ms=now_ms,
        until_ms=None,
        webhook_id=webhook_id(current.realm, current.id, version, current.finding),
        attempts=0,
        # Where nobody is to be told, the record is all there is, and nothing is outstanding.
        accepted_ms=None if policy.delivers else now_ms,
        requested_ms=now_ms,
    )
    return Step([Decision("expired", _of(record))], record, told=True)


def webhook_id(realm: str, principal: str, version: int, finding: str) -> str:
    """Return the id of the webhook about one version of a credential: the same at each retry.

    The finding is part of it: versions begin again where `credentials` was made anew, and a receiver
    would take the first revocation after that for one that it has done already.
    """
    digest = hashlib.sha256(f"{realm}/{principal}\0{version}\0{finding}".encode()).hexdigest()
    return f"msg_{digest[:27]}"


def is_open(record: CredentialRecord) -> bool:
    """Return whether the incident is still one: the credential is refused, or is to be."""
    return record.status is not CredentialStatus.ACTIVE


def _about(finding: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "finding": finding["id"],
        "rule": {"id": finding["rule"]["id"], "title": finding["rule"]["title"]},
        "action": finding["action"],
        "realm": finding["realm"],
        "id": finding["principal"],
        "summary": finding["summary"],
    }


def _of(record: CredentialRecord) -> dict[str, Any]:
    return {
        "incident": record.incident,
        "finding": record.finding,
        "realm": record.realm,
        "id": record.id,
        "status": record.status.value,
        "version": record.version,
    }
