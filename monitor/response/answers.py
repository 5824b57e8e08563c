"""What an act is answered, and what every step of an act leaves in the ledger."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from monitor.response.states import Decision, Step
from monitor.wire.acts import ACT, kind_of

if TYPE_CHECKING:
    from monitor.wire.acts import Act
    from monitor.wire.credentials import CredentialRecord

Outcome = Literal["done", "held", "unchanged", "refused"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an act, and the step that makes it so."""

    outcome: Outcome
    text: str
    step: Step = field(default_factory=Step)
    record: CredentialRecord | None = None


def done(text: str, step: Step, record: CredentialRecord | None = None) -> Answer:
    """Answer that it takes its course."""
    return Answer("done", text, step, record if record is not None else step.record)


def waiting(text: str, step: Step) -> Answer:
    """Answer that it waits for another person."""
    return Answer("held", text, step, step.record)


def unchanged(text: str, record: CredentialRecord | None = None) -> Answer:
    """Answer that it was so already."""
    return Answer("unchanged", text, record=record)


def refused(text: str, record: CredentialRecord | None = None) -> Answer:
    """Answer that it cannot be, and what to do instead."""
    return Answer("refused", text, record=record)


def because(act: Act) -> dict[str, Any]:
    """Return what entries say that follow from an act."""
    return {"act": act.act, "by": act.by, "why": act.reason}


def entry(act: Act, answer: Answer) -> Decision:
    """Return the ledger's entry of an act."""
    record = answer.record
    about: dict[str, Any] = {
        "realm": getattr(act, "realm", None) if record is None else record.realm,
        "id": getattr(act, "id", None) if record is None else record.id,
        "incident": getattr(act, "incident", None) if record is None else record.incident,
        "version": None if record is None else record.version,
    }
    asked = {
        name: value
        for name in act.__struct_fields__
        if name not in {"v", "act", "by", "reason", "at_ms", "realm", "id", "incident"}
        and (value := getattr(act, name)) is not None
    }
    return Decision(
        ACT,
        {
            "act": act.act,
            "what": kind_of(act),
            "by": act.by,
            "reason": act.reason,
            "asked_ms": act.at_ms,
            **asked,
            "outcome": answer.outcome,
            "text": answer.text,
            **{name: value for name, value in about.items() if value is not None},
        },
    )
