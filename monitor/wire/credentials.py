"""The bytes of `credentials`, `status`, `control` and `decisions`: JSON, so that a person can read them.

`credentials` is compacted: one record per credential, and records of our own whose keys start with
``@`` (a realm never does): where the enforcer is, the rules in force, earlier incidents of credentials,
and what `wire.safety` has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
import orjson

from monitor.core.events import CredentialStatus, RulesRecord
from monitor.errors import InvariantError

FORMAT_VERSION: Final = 1
#: Of a credential's record: 2 has what holds a response, who did what, and the incident's times.
CREDENTIAL_VERSION: Final = 2
ENFORCER_KEY: Final = b"@enforcer"
RULES_KEY: Final = b"@rules"
#: Before the name of an incident that another one of the same credential has followed.
INCIDENT_KEY: Final = b"@incident/"
#: Largest act: the ledger's answer holds all of it, in records of 2 MiB at most.
ACT_BYTES: Final = 1_500_000
#: The ledger's answers to an act that publishes rules; each entry names the act.
RULES_ACTIVATED: Final = "rules_activated"
RULES_UNCHANGED: Final = "rules_unchanged"
RULES_REFUSED: Final = "rules_refused"
#: The ledger's entry on an act that says who looked up ids, and why.
LOOKED_UP: Final = "looked_up"

#: How far the response has come. `held` waits for a person, or for fresh events: the credential stays
#: active. `enforced` is proven, by a refusal seen or by the gateway's own state; `quiet` is silence while
#: others of its realm were heard. `expired`, `reinstated` and `dismissed` are ends.
ResponseState = Literal[
    "held",
    "requested",
    "accepted",
    "enforced",
    "quiet",
    "failed",
    "expired",
    "reinstated",
    "dismissed",
]
#: Why a response is held: a ceiling, two people must agree, too old to act on, automation is paused.
Held = Literal["fuse", "protected", "stale", "paused"]


class RuleName(msgspec.Struct, frozen=True):
    """The rule that a response answers."""

    id: str
    title: str


#: What stands for a rule where a person asked for the response.
BY_HAND: Final = RuleName("", "Asked for by a person")


class Approval(msgspec.Struct, frozen=True):
    """One person's agreement to a response that is held."""

    by: str
    at_ms: int
    reason: str


class CredentialRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Today's status of a credential, its latest incident, and how far the response has come.

    `version` rises with each change of `status` (or of `until_ms`); `state` tells of that version.
    `finding` is the one that the response answers, or ``act-`` and the id of a person's act; `by` is
    ``rule`` and its id, or the person. `enforced_ms` is when the proof came: `proof` says which.
    Of what is held, `action` is what approving it does, `exposed` counts successful requests since the
    finding, and `paged` is the number of patients that the last page told of. `told` is the newest version
    that each adapter has taken. Times in epoch ms.
    """

    v: int = CREDENTIAL_VERSION
    realm: str
    id: str
    kind: str
    status: CredentialStatus
    version: int
    state: ResponseState
    since_ms: int
    until_ms: int | None
    incident: str
    finding: str
    rule: RuleName
    level: str
    summary: str
    patients: int
    patients_capped: bool
    leaked: int
    webhook_id: str
    attempts: int
    detected_ms: int
    requested_ms: int
    accepted_ms: int | None = None
    enforced_ms: int | None = None
    proof: Literal["refused", "read_back"] | None = None
    quiet_ms: int | None = None
    principal_class: str = ""
    tenants: int = 0
    action: Literal["suspend", "revoke"] = "suspend"
    ttl_ms: int | None = None
    by: str = ""
    reason: str = ""
    held: Held | None = None
    approvals: tuple[Approval, ...] = ()
    exposed: int = 0
    paged: int = 0
    acknowledged_ms: int | None = None
    acknowledged_by: str | None = None
    qualified_ms: int | None = None
    qualified_by: str | None = None
    qualified: Literal["notifiable", "not_notifiable"] | None = None
    ended_ms: int | None = None
    closed_ms: int | None = None
    closed_by: str | None = None
    verdict: Literal["true_positive", "benign", "false_positive", "undetermined"] | None = None
    #: Of a person's credential: its raw id, sealed; `id` is a pseudonym then.
    handle: str | None = None
    told: Mapping[str, int] = {}
    #: Which fuse holds it, where one does.
    fuse: str | None = None
    #: What detect is told with the status: see `CredentialStatusEntry`.
    restart_ms: int | None = None
    reopen_ms: int | None = None

    def __repr__(self) -> str:
        # Where a gateway is told, `id` is a person's own.
        return f"CredentialRecord({self.incident}, version {self.version})"

    @property
    def subject(self) -> str:
        """The credential's key: ``realm/id``."""
        return f"{self.realm}/{self.id}"

    @property
    def refused(self) -> bool:
        """Whether the credential must be refused."""
        return self.status is not CredentialStatus.ACTIVE


class EnforcerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Where the enforcer goes on, and its sign of life.

    `findings_offset` and `control_offset` are the next to read, `evidence_offset` the next finding whose
    evidence is to be gathered (None: an earlier monitor gathered none); `hash` is that of the last decision. `versions` is the highest version of
    any credential whose record is kept no more: where it comes again, it goes on from there. `disabled`
    are the adapters that are not called any more, each with its configuration's fingerprint. `operator`
    is where operators reach it, if they can.
    """

    v: int = FORMAT_VERSION
    findings_offset: int = 0
    control_offset: int = 0
    sequence: int = 0
    hash: str = ""
    incidents: int = 0
    heartbeat_ms: int = 0
    mode: str = "shadow"
    evidence_offset: int | None = None
    versions: int = 0
    disabled: Mapping[str, str] = {}
    operator: str = ""


class RulesInForce(msgspec.Struct, frozen=True, kw_only=True):
    """The rule set of the ledger, with the files that it was read from."""

    v: int = FORMAT_VERSION
    version: int
    revision: str
    document: dict[str, Any]
    text: dict[str, str]
    published_ms: int
    by: str

    def record(self) -> RulesRecord:
        """Return what intake puts into the routed log."""
        return RulesRecord(self.version, self.revision, self.document)


class PublishRules(msgspec.Struct, frozen=True, kw_only=True):
    """An act of `control`: put a rule set in force.

    The ledger's answer names `act`, so that whoever asked can tell it from others; an act of an
    earlier monitor has none. Where `after` is given, the set is to take the place of that version and
    of no other. `back_to` is the version that a rollback goes back to.
    """

    v: int = FORMAT_VERSION
    kind: Literal["publish_rules"] = "publish_rules"
    revision: str
    document: dict[str, Any]
    text: dict[str, str]
    by: str
    at_ms: int
    reason: str
    act: str = ""
    after: int | None = None
    back_to: int | None = None


class LookUp(msgspec.Struct, frozen=True, kw_only=True):
    """An act of `control`: who holds the keys looks up so many ids; which ones is nobody's business."""

    v: int = FORMAT_VERSION
    kind: Literal["look_up"] = "look_up"
    what: Literal["pseudonym", "match"]
    ids: int
    incident: str | None
    by: str
    at_ms: int
    reason: str
    act: str


class _Kind(msgspec.Struct, frozen=True):
    v: int
    kind: str


class CredentialStatusEntry(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="status"):
    """An entry of `status`: a credential's status changed, or detect is to look at it anew.

    Events up to `restart_ms` count no more; what rules found before `reopen_ms` they may find again;
    `watch` is the finding that is held, whose exposure is to be told. An entry that says again what
    another one said changes nothing.
    """

    v: int = FORMAT_VERSION
    realm: str
    id: str
    status: CredentialStatus
    version: int
    at_ms: int
    finding: str | None
    restart_ms: int | None = None
    reopen_ms: int | None = None
    watch: str | None = None


class _FormerRules(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="rules"):
    """An entry of `status` of earlier monitors: rule sets are read from `credentials` now."""

    v: int = FORMAT_VERSION


def encode(record: msgspec.Struct) -> bytes:
    """Return the bytes of any record of this module."""
    return msgspec.json.encode(record)


def decode_credential(value: bytes, place: str) -> CredentialRecord:
    """Return a credential's record; raises InvariantError, with `place`, where it is not one."""
    record: CredentialRecord = read_json(value, CredentialRecord, place, CREDENTIAL_VERSION)
    # The version before held for one reason only, and did not name it.
    held = "stale" if record.state == "held" and record.held is None else record.held
    return msgspec.structs.replace(record, v=CREDENTIAL_VERSION, held=held)


def decode_enforcer(value: bytes, place: str) -> EnforcerRecord:
    """Return the enforcer's record; raises InvariantError, with `place`, where it is not one."""
    record: EnforcerRecord = read_json(value, EnforcerRecord, place)
    return record


def decode_rules(value: bytes, place: str) -> RulesInForce:
    """Return the rule set in force; raises InvariantError, with `place`, where it is not one."""
    rules: RulesInForce = read_json(value, RulesInForce, place)
    return rules


def decode_control(value: bytes, place: str) -> PublishRules | LookUp:
    """Return an act of `control`; raises InvariantError, with `place`, where it is not one."""
    kind: _Kind = read_json(value, _Kind, place)
    act: PublishRules | LookUp = read_json(value, LookUp if kind.kind == "look_up" else PublishRules, place)
    return act


def decode_status(value: bytes, place: str) -> CredentialStatusEntry | None:
    """Return an entry of `status`; raises InvariantError, with `place`, where it is not one.

    None stands for a rule set that an earlier monitor said there.
    """
    entry: CredentialStatusEntry | _FormerRules = read_json(
        value, CredentialStatusEntry | _FormerRules, place
    )
    return None if isinstance(entry, _FormerRules) else entry


def encode_decision(sequence: int, previous: str, kind: str, at_ms: int, details: dict[str, Any]) -> bytes:
    """Return an entry of the ledger; `previous` is the hash of the entry before it."""
    return orjson.dumps(
        {
            "v": FORMAT_VERSION,
            "sequence": sequence,
            "previous": previous,
            "kind": kind,
            "at_ms": at_ms,
            **details,
        }
    )


def decision_hash(value: bytes) -> str:
    """Return what the next entry of the ledger holds of this one: SHA-256 over its bytes, in hex."""
    return hashlib.sha256(value).hexdigest()


def status_entry(record: CredentialRecord) -> CredentialStatusEntry:
    """Return what detect is told of a credential."""
    return CredentialStatusEntry(
        realm=record.realm,
        id=record.id,
        status=record.status,
        version=record.version,
        at_ms=record.since_ms,
        finding=record.finding,
        restart_ms=record.restart_ms,
        reopen_ms=record.reopen_ms,
        watch=record.finding if record.state == "held" else None,
    )


def is_credential(key: bytes) -> bool:
    """Return whether the record of a key of `credentials` is a credential's, and none of our own."""
    return not key.startswith(b"@")


def read_json(value: bytes, kind: Any, place: str, newest: int = FORMAT_VERSION) -> Any:
    """Return a record of a kind, of a version up to `newest`; raises InvariantError where it is not one."""
    try:
        record = msgspec.json.decode(value, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # msgspec's text names a field and a type; a value of ours is no secret, but of others may be.
        version = _version_of(value)
        if isinstance(version, int) and version > newest:
            raise InvariantError(_too_new(place, version, newest)) from None
        msg = f"{place}: not a record of ours ({type(error).__name__}); who else writes there?"
        raise InvariantError(msg) from None
    if not FORMAT_VERSION <= record.v <= newest:
        raise InvariantError(_too_new(place, record.v, newest))
    return record


def _too_new(place: str, version: int, newest: int) -> str:
    reads = f"{FORMAT_VERSION} to {newest}" if newest > FORMAT_VERSION else f"{newest}"
    return f"{place}: format {version}: this monitor reads {reads}; was it downgraded?"


def _version_of(value: bytes) -> Any:
    try:
        return orjson.loads(value)["v"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
