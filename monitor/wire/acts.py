"""What a person may ask of the enforcer: acts, and the receipt that answers each.

An act is JSON with a `kind`. Its id `act` is made by whoever asks and is told once: the enforcer
answers a repeated id with the first receipt and does nothing more. `by` is the person whose signature
was verified, never what a client merely claims.

Each act leaves exactly one entry in the ledger, of kind ``act``, with its id, what was asked (`what`:
the kind of the act), by whom, why, on what, and the receipt's outcome and text; also where it was
refused. What follows from it (``requested``, ``reinstated`` …) are entries of their own, which name
the act.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from monitor.errors import InvariantError

FORMAT_VERSION: Final = 1
#: The ledger's entry that answers an act.
ACT: Final = "act"
#: Longest `reason`, in characters; and largest act, in bytes.
REASON_CHARACTERS: Final = 1_000
LARGEST_ACT_BYTES: Final = 16_384

Verdict = Literal["true_positive", "benign", "false_positive", "undetermined"]
#: What a person judged an incident to be: something that must be notified (its clock starts), or not.
Qualification = Literal["notifiable", "not_notifiable"]
Right = Literal["read", "respond", "approve", "break-glass"]


class _Asked(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    """What all acts have. `at_ms` is the time on the clock of whoever asked."""

    v: int = FORMAT_VERSION
    act: str
    by: str
    reason: str
    at_ms: int


class _OnCredential(_Asked, frozen=True, kw_only=True):
    realm: str
    id: str

    @property
    def subject(self) -> str:
        """The credential's key: ``realm/id``."""
        return f"{self.realm}/{self.id}"


class _OnIncident(_Asked, frozen=True, kw_only=True):
    incident: str


class Suspend(_OnCredential, frozen=True, kw_only=True, tag="suspend"):
    """Refuse a credential for a time; None is `response.default_ttl`."""

    ttl_ms: int | None = None


class Revoke(_OnCredential, frozen=True, kw_only=True, tag="revoke"):
    """Refuse a credential until a person reinstates it."""


class Reinstate(_OnCredential, frozen=True, kw_only=True, tag="reinstate"):
    """Let a credential in again; its windows begin anew, and for `grace_ms` nothing automatic refuses it."""

    grace_ms: int = 0


class Allow(_OnCredential, frozen=True, kw_only=True, tag="allow"):
    """Do not refuse a credential automatically for a time: a migration, a known bulk read."""

    for_ms: int


class Approve(_OnCredential, frozen=True, kw_only=True, tag="approve"):
    """Agree to a response that is held; a protected credential needs two different people.

    `incident` is the one that the person saw: an approval never covers another.
    """

    incident: str


class Acknowledge(_OnIncident, frozen=True, kw_only=True, tag="acknowledge"):
    """Somebody is on it."""


class Qualify(_OnIncident, frozen=True, kw_only=True, tag="qualify"):
    """Judge what it is in the eyes of the law; may be judged again, the ledger keeps each."""

    qualified: Qualification


class Dismiss(_OnIncident, frozen=True, kw_only=True, tag="dismiss"):
    """Drop what is held: nobody is refused for it. Refused where the credential is refused already."""


class Close(_OnIncident, frozen=True, kw_only=True, tag="close"):
    """End the work on an incident. The credential stays as it is."""

    verdict: Verdict


class ResetFuse(_Asked, frozen=True, kw_only=True, tag="reset_fuse"):
    """Arm the fuse again; what it held goes on, or is dismissed. `fuse` is one of several, None all."""

    then: Literal["resume", "dismiss"]
    fuse: str | None = None


class PauseAutomation(_Asked, frozen=True, kw_only=True, tag="pause_automation"):
    """Break-glass: refuse nobody automatically for a time; who is refused stays refused."""

    for_ms: int


class ResumeAutomation(_Asked, frozen=True, kw_only=True, tag="resume_automation"):
    """End the pause."""


class AllowAll(_Asked, frozen=True, kw_only=True, tag="allow_all"):
    """Break-glass: the decision service lets everybody through for a time."""

    for_ms: int


class EndAllowAll(_Asked, frozen=True, kw_only=True, tag="end_allow_all"):
    """The decision service refuses again."""


class EnableDelivery(_Asked, frozen=True, kw_only=True, tag="enable_delivery"):
    """Call a receiver again that answered 410, and tell it what it missed. `endpoint` is the adapter's name."""

    endpoint: str


CredentialAct = Suspend | Revoke | Reinstate | Allow | Approve
IncidentAct = Acknowledge | Qualify | Dismiss | Close
Act = (
    Suspend
    | Revoke
    | Reinstate
    | Allow
    | Approve
    | Acknowledge
    | Qualify
    | Dismiss
    | Close
    | ResetFuse
    | PauseAutomation
    | ResumeAutomation
    | AllowAll
    | EndAllowAll
    | EnableDelivery
)

#: The right that each act needs.
RIGHT_FOR: Final[dict[type[Act], Right]] = {
    Suspend: "respond",
    Revoke: "respond",
    Reinstate: "respond",
    Allow: "respond",
    Approve: "approve",
    Acknowledge: "respond",
    Qualify: "respond",
    Dismiss: "respond",
    Close: "respond",
    ResetFuse: "approve",
    PauseAutomation: "break-glass",
    ResumeAutomation: "break-glass",
    AllowAll: "break-glass",
    EndAllowAll: "break-glass",
    EnableDelivery: "respond",
}


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an act, once that is durable.

    `done`: it is in the ledger and takes its course. `held`: it waits, such as for a second person.
    `unchanged`: it was so already. `refused`: it cannot be; `text` says why and what to do instead.
    `sequence` is the number of the ledger's entry. Where a credential's status changed, `version` is
    the one to wait for. `incident` is the one that it belongs to, if any.
    """

    v: int = FORMAT_VERSION
    act: str
    outcome: Literal["done", "held", "unchanged", "refused"]
    text: str
    sequence: int
    at_ms: int
    realm: str | None = None
    id: str | None = None
    version: int | None = None
    incident: str | None = None


def kind_of(act: Act) -> str:
    """Return the kind of an act as it stands in its bytes, such as ``suspend``."""
    return str(act.__struct_config__.tag)


def encode_act(act: Act) -> bytes:
    """Return the bytes of an act: the same for the same act."""
    return msgspec.json.encode(act)


def decode_act(value: bytes, place: str) -> Act:
    """Return an act; raises InvariantError, with `place`, where it is not one that this monitor reads."""
    try:
        act: Act = msgspec.json.decode(value, type=Act)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # A ValidationError names a field and a type, never a value.
        why = str(error) if isinstance(error, msgspec.ValidationError) else type(error).__name__
        msg = f"{place}: not an act ({why})"
        raise InvariantError(msg) from None
    if act.v != FORMAT_VERSION:
        msg = f"{place}: format {act.v}: this monitor reads {FORMAT_VERSION}; is one of both older?"
        raise InvariantError(msg)
    return act
