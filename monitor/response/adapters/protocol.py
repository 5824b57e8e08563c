"""What an adapter is: one way to tell one gateway what the status of a credential must be.

`docs/adapters.md` says how to write one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from monitor.core.events import CredentialStatus

if TYPE_CHECKING:
    from monitor.wire.credentials import CredentialRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredState:
    """The status that a credential must have at a gateway, and why. Times in epoch milliseconds.

    A higher `version` of the same credential is newer. `message` names this version of this credential:
    it is the same at each retry and after each restart. `drill` marks a test.
    """

    realm: str
    id: str
    kind: str
    status: CredentialStatus
    version: int
    since_ms: int
    until_ms: int | None
    incident: str
    finding: str
    rule_id: str
    rule_title: str
    reason: str
    message: str
    drill: bool = False

    def __repr__(self) -> str:
        return f"DesiredState({self.status.value}, version={self.version})"

    @property
    def refused(self) -> bool:
        """Whether the credential must be refused."""
        return self.status is not CredentialStatus.ACTIVE


@dataclass(frozen=True, slots=True)
class Accepted:
    """The gateway has taken it. `note` says what was special: a credential that it does not know."""

    note: str | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """The gateway has not taken it; try again, after `seconds` where it named a time."""

    reason: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The gateway will never take this, however often it is told: a person must look."""

    reason: str


@dataclass(frozen=True, slots=True)
class Disabled:
    """The receiver wants no more calls at all."""

    reason: str


Outcome = Accepted | Retry | Refused | Disabled


class Seen(Enum):
    """What a gateway says of a credential when it is asked."""

    ACTIVE = "active"
    REFUSED = "refused"
    UNKNOWN_CREDENTIAL = "unknown credential"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What can be said of an adapter before it is used.

    `kinds` are the kinds of credentials that it can refuse. `irreversible` says what it does that a
    reinstatement does not undo, if anything. `time_to_effect_seconds` is the longest time from an accepted
    call until the gateway refuses, by its own documentation; `scope` what is refused with the credential.
    """

    kinds: frozenset[str]
    time_to_effect_seconds: float
    scope: str
    irreversible: str | None = None

    @property
    def reversible(self) -> bool:
        """Whether a reinstatement undoes all of it."""
        return self.irreversible is None


class Adapter(Protocol):
    """One way to tell one gateway. A repeated call about the same version must be harmless."""

    @property
    def name(self) -> str:
        """A bounded name for metrics and the ledger."""

    @property
    def traits(self) -> Traits:
        """What it can do."""

    async def tell(self, wanted: DesiredState) -> Outcome:
        """Tell the gateway once; whatever the network or the gateway does is an outcome, not raised.

        A credential that the gateway does not know (any more) cannot be used there: that is `Accepted`.
        """

    async def read_back(self, wanted: DesiredState) -> Seen | None:
        """Return what the gateway says of the credential; None where it cannot be asked (now)."""

    async def probe(self) -> list[str]:
        """Return what keeps this adapter from doing its work, in words for a person; changes nothing."""

    async def close(self) -> None:
        """Give up connections."""


def desired_state(record: CredentialRecord) -> DesiredState:
    """Return what gateways are told about a credential's record."""
    return DesiredState(
        realm=record.realm,
        id=record.id,
        kind=record.kind,
        status=record.status,
        version=record.version,
        since_ms=record.since_ms,
        until_ms=record.until_ms,
        incident=record.incident,
        finding=record.finding,
        rule_id=record.rule.id,
        rule_title=record.rule.title,
        reason=record.summary,
        message=record.webhook_id,
    )
