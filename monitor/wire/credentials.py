"""The bytes of `credentials`, `status`, `control` and `decisions`: JSON, so that a person can read them.

`credentials` is compacted: one record per credential, and three of our own whose keys start with
``@`` (a realm never does).
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, Literal

import msgspec
import orjson

from monitor.core.events import CredentialStatus, RulesRecord
from monitor.errors import InvariantError

FORMAT_VERSION: Final = 1
ENFORCER_KEY: Final = b"@enforcer"
RULES_KEY: Final = b"@rules"
#: Largest act: the ledger's answer holds all of it, in records of 2 MiB at most.
ACT_BYTES: Final = 1_500_000
#: The ledger's answers to an act that publishes rules; each entry names the act.
RULES_ACTIVATED: Final = "rules_activated"
RULES_UNCHANGED: Final = "rules_unchanged"
RULES_REFUSED: Final = "rules_refused"

#: How far the response to a finding has come.
#: `held` is a finding too old to act on: the credential stays active.
ResponseState = Literal["held", "requested", "accepted", "enforced", "failed", "expired", "reinstated"]


class RuleName(msgspec.Struct, frozen=True):
    """The rule that a response answers."""

    id: str
    title: str


class CredentialRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Today's status of a credential, and how far the gateway has followed. Times in epoch ms.

    `version` rises with each change of `status`; `state` tells of the delivery of that version.
    `enforced_ms` is when a refusal was seen in the events.
    """

    v: int = FORMAT_VERSION
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

    @property
    def subject(self) -> str:
        """The credential's key: ``realm/id``."""
        return f"{self.realm}/{self.id}"


class EnforcerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Where the enforcer goes on, and its sign of life.

    `findings_offset` and `control_offset` are the next to read; `hash` is that of the last decision.
    """

    v: int = FORMAT_VERSION
    findings_offset: int = 0
    control_offset: int = 0
    sequence: int = 0
    hash: str = ""
    incidents: int = 0
    heartbeat_ms: int = 0
    mode: str = "shadow"


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


class CredentialStatusEntry(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="status"):
    """An entry of `status`: a credential's status changed."""

    v: int = FORMAT_VERSION
    realm: str
    id: str
    status: CredentialStatus
    version: int
    at_ms: int
    finding: str | None


class _FormerRules(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="rules"):
    """An entry of `status` of earlier monitors: rule sets are read from `credentials` now."""

    v: int = FORMAT_VERSION


def encode(record: msgspec.Struct) -> bytes:
    """Return the bytes of any record of this module."""
    return msgspec.json.encode(record)


def decode_credential(value: bytes, place: str) -> CredentialRecord:
    """Return a credential's record; raises InvariantError, with `place`, where it is not one."""
    record: CredentialRecord = _decode(value, CredentialRecord, place)
    return record


def decode_enforcer(value: bytes, place: str) -> EnforcerRecord:
    """Return the enforcer's record; raises InvariantError, with `place`, where it is not one."""
    record: EnforcerRecord = _decode(value, EnforcerRecord, place)
    return record


def decode_rules(value: bytes, place: str) -> RulesInForce:
    """Return the rule set in force; raises InvariantError, with `place`, where it is not one."""
    rules: RulesInForce = _decode(value, RulesInForce, place)
    return rules


def decode_control(value: bytes, place: str) -> PublishRules:
    """Return an act of `control`; raises InvariantError, with `place`, where it is not one."""
    act: PublishRules = _decode(value, PublishRules, place)
    return act


def decode_status(value: bytes, place: str) -> CredentialStatusEntry | None:
    """Return an entry of `status`; raises InvariantError, with `place`, where it is not one.

    None stands for a rule set that an earlier monitor said there.
    """
    entry: CredentialStatusEntry | _FormerRules = _decode(value, CredentialStatusEntry | _FormerRules, place)
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


def _decode(value: bytes, kind: Any, place: str) -> Any:
    try:
        record = msgspec.json.decode(value, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # msgspec's text names a field and a type; a value of ours is no secret, but of others may be.
        msg = f"{place}: not a record of ours ({type(error).__name__}); who else writes there?"
        raise InvariantError(msg) from None
    if record.v != FORMAT_VERSION:
        msg = f"{place}: format {record.v}: this monitor reads {FORMAT_VERSION}; was it downgraded?"
        raise InvariantError(msg)
    return record
