"""Which steps a response can take, and what a step is; no other step can be made durable.

held(fuse | protected | stale | paused) → requested → accepted → enforced | quiet | failed →
expired | reinstated; what is held may also end as dismissed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from monitor.core.events import CredentialStatus
from monitor.errors import InvariantError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from monitor.core.fuse import Fuse
    from monitor.wire.credentials import CredentialRecord, ResponseState
    from monitor.wire.safety import AllowedRecord, BreakGlass

#: The ends of a response: the credential is active, and the next finding begins another incident.
ENDS: Final[frozenset[ResponseState]] = frozenset({"expired", "reinstated", "dismissed"})
#: The credential is, or is to be, refused.
REFUSING: Final[frozenset[ResponseState]] = frozenset(
    {"requested", "accepted", "enforced", "quiet", "failed"}
)
#: Where no gateway is to be told, what is requested is accepted at once.
_REQUEST: Final[frozenset[ResponseState]] = frozenset({"requested", "accepted"})
_BEGINNINGS: Final[frozenset[ResponseState]] = frozenset({"held", "requested", "accepted"})
#: From each state (None: no record) to those that may follow. A state may follow itself.
TRANSITIONS: Final[Mapping[ResponseState | None, frozenset[ResponseState]]] = {
    None: _BEGINNINGS,
    "held": _REQUEST | {"dismissed"},
    "requested": frozenset({"accepted", "enforced", "quiet", "failed", "expired", "reinstated"}),
    "accepted": _REQUEST | {"enforced", "quiet", "failed", "expired", "reinstated"},
    "enforced": _REQUEST | {"expired", "reinstated"},
    "quiet": _REQUEST | {"enforced", "expired", "reinstated"},
    "failed": _REQUEST | {"enforced", "quiet", "expired", "reinstated"},
    "expired": _BEGINNINGS,
    "reinstated": _BEGINNINGS,
    "dismissed": _BEGINNINGS,
}


@dataclass(frozen=True, slots=True)
class Decision:
    """One entry of the ledger, before it has its number."""

    kind: str
    details: Mapping[str, Any]


@dataclass(slots=True)
class Step:
    """What changes: entries of the ledger, and the credential's new record if it has one.

    `told` is set where the status changed, so that detect and the gateways must hear of it; `heard`
    where only detect must. `archived` is the incident that another one of the credential follows, or one
    of those after an act. `more` are steps that belong to it, of other credentials.
    """

    decisions: list[Decision] = field(default_factory=list)
    record: CredentialRecord | None = None
    told: bool = False
    heard: bool = False
    archived: CredentialRecord | None = None
    allowed: AllowedRecord | None = None
    fuse: Fuse | None = None
    glass: BreakGlass | None = None
    #: The gateway that is called again after a 410.
    enabled: str | None = None
    #: Keys of `credentials` that are kept no more.
    forgotten: tuple[bytes, ...] = ()
    more: list[Step] = field(default_factory=list)

    def parts(self) -> Iterator[Step]:
        """Yield it and all that belong to it."""
        yield self
        for step in self.more:
            yield from step.parts()


def check(before: CredentialRecord | None, after: CredentialRecord) -> None:
    """Raise InvariantError where a record must not follow another: nothing of it becomes durable."""
    wrong = _wrong(before, after)
    if wrong:
        msg = f"{after.incident}: {before.state if before else None} → {after.state}: {wrong}"
        raise InvariantError(msg)


def _wrong(before: CredentialRecord | None, after: CredentialRecord) -> str | None:
    state = before.state if before else None
    if after.state != state and after.state not in TRANSITIONS[state]:
        return "no such step"
    if after.refused != (after.state in REFUSING):
        return f"a status {after.status.value} in that state"
    if (after.until_ms is not None) != (after.status is CredentialStatus.SUSPENDED):
        return "only a suspension ends by itself"
    if (after.held is not None) != (after.state == "held"):
        return "held for nothing, or for something without being held"
    version = before.version if before else 0
    if after.version < version:
        return "a version that goes back"
    if before and after.status is not before.status and after.version == version:
        return "another status in the same version"
    if before and after.incident != before.incident and before.state not in ENDS:
        return "another incident before the end of one"
    return None


def changed(record: CredentialRecord, **changes: Any) -> CredentialRecord:
    """Return a record with other values."""
    return msgspec.structs.replace(record, **changes)
