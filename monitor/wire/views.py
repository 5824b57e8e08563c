"""What operators are shown: JSON of a stable shape, for `--json` and for what follows in scripts.

Fields are only ever added. Times are epoch milliseconds, durations too; None is "not (yet)".
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from monitor.core.events import CredentialStatus
from monitor.wire.acts import Qualification, Verdict
from monitor.wire.credentials import ResponseState

FORMAT_VERSION: Final = 1


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Who did something, when and why."""

    by: str
    at_ms: int
    reason: str = ""


class CredentialView(msgspec.Struct, frozen=True, kw_only=True):
    """A credential that a response was about, or that a person acted on.

    `owner`, `name`, `phone`, `klass` and `protected` come from the credential directory. `state` is how
    far the gateways have followed `version`; None where nothing was ever asked of them. Until
    `exempt_until_ms` nothing automatic refuses it (an allowance or a grace after a reinstatement).
    """

    realm: str
    id: str
    kind: str
    status: CredentialStatus
    state: ResponseState | None
    version: int
    since_ms: int
    until_ms: int | None
    exempt_until_ms: int | None = None
    exempt_by: str = ""
    incident: str | None = None
    accepted_ms: int | None = None
    enforced_ms: int | None = None
    proof: str = ""
    attempts: int = 0
    by: str = ""
    reason: str = ""
    owner: str = ""
    name: str = ""
    phone: str = ""
    klass: str = msgspec.field(name="class", default="")
    protected: bool = False
    tenants_served: int | None = None

    @property
    def subject(self) -> str:
        """The credential's key: ``realm/id``."""
        return f"{self.realm}/{self.id}"


class IncidentView(msgspec.Struct, frozen=True, kw_only=True):
    """What happened with one credential, and how far the response has come.

    It is `open` until the response ends (expired, reinstated, dismissed), and unfinished until somebody
    has closed or dismissed it: one may be over and unfinished, or closed while the credential is refused.
    `held_for` says why a response waits: ``fuse``, ``protected``, ``stale``, ``paused``, and
    `approvals` who agreed so far, of `approvals_needed`. `patients` counts those read with success
    since the first event of the finding's window; where `patients_capped`, there were more. `leaked` are
    requests answered after the decision, `exposed` those answered while it is held. `by` is the person who
    asked for the response, or ``rule`` and its id. The law's clock starts at one of `detected_ms`, `acknowledged`, `qualified_as`.
    """

    incident: str
    realm: str
    id: str
    kind: str
    open: bool
    status: CredentialStatus
    state: ResponseState
    version: int
    finding: str | None
    rule: str
    rule_title: str
    level: str
    summary: str
    action: str = ""
    held_for: str = ""
    approvals: tuple[Person, ...] = ()
    approvals_needed: int = 0
    patients: int = 0
    patients_capped: bool = False
    tenants: int = 0
    leaked: int = 0
    exposed: int = 0
    by: str = ""
    reason: str = ""
    detected_ms: int
    requested_ms: int | None = None
    accepted_ms: int | None = None
    enforced_ms: int | None = None
    quiet_ms: int | None = None
    proof: str = ""
    until_ms: int | None = None
    ended_ms: int | None = None
    acknowledged: Person | None = None
    qualified: Person | None = None
    qualified_as: Qualification | None = None
    closed: Person | None = None
    verdict: Verdict | None = None
    dismissed: Person | None = None


class FuseView(msgspec.Struct, frozen=True, kw_only=True):
    """One ceiling on automatic responses: of a class of credentials or of a rule (`name`).

    `used` of `ceiling` within the last `interval_ms`; where it tripped, `held` responses wait.
    """

    name: str
    ceiling: int
    interval_ms: int
    used: int
    tripped_ms: int | None = None
    why: str = ""
    held: int = 0


class EndpointView(msgspec.Struct, frozen=True, kw_only=True):
    """One gateway that is told: `endpoint` is the adapter's name in the settings, `type` its kind.

    Where it is `disabled` it is not called, and `reason` says why. While `breaker` is open one call at a
    time is tried. `waiting` credentials are still to be told, `dead_letters` were given up.
    """

    endpoint: str
    type: str
    disabled: bool
    reason: str
    breaker: Literal["open", "closed"]
    waiting: int
    dead_letters: int


class BreakGlass(msgspec.Struct, frozen=True, kw_only=True):
    """An exception that a person made, for a limited time."""

    by: str
    reason: str
    since_ms: int
    until_ms: int


class AutomationView(msgspec.Struct, frozen=True, kw_only=True):
    """Whether findings refuse anybody: the mode, and the two exceptions while they are on."""

    mode: Literal["shadow", "enforce"]
    paused: BreakGlass | None = None
    allow_all: BreakGlass | None = None
