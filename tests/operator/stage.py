"""Operators with SSH keys of their own, and an enforcer that plays along."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from monitor.core.events import CredentialStatus
from monitor.wire.acts import (
    Acknowledge,
    Allow,
    AllowAll,
    Approve,
    Close,
    EnableDelivery,
    EndAllowAll,
    PauseAutomation,
    Qualify,
    Receipt,
    Reinstate,
    ResumeAutomation,
    Revoke,
    Suspend,
)
from monitor.wire.statements import NAMESPACE, Order, Signed, SignIn, encode_statement
from monitor.wire.views import (
    AutomationView,
    BreakGlass,
    CredentialView,
    EndpointView,
    FuseView,
    IncidentView,
    Person,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from monitor.wire.acts import Act
    from monitor.wire.statements import Statement

ANNA = "anna@clinic.example"
BEN = "ben@clinic.example"
EYE = "reader@clinic.example"
RIGHTS = {ANNA: "read, respond, approve, break-glass", BEN: "respond, approve", EYE: "read"}
SINCE_MS = 1_795_600_000_000


def make_key(folder: Path, name: str) -> Path:
    """Return a new private key."""
    path = folder / f"key-{name.partition('@')[0]}"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path], check=True)
    return path


def public(key: Path) -> str:
    """Return the public half as `allowed_signers` has it: type and key."""
    return " ".join(key.with_suffix(".pub").read_text().split()[:2])


@dataclass(frozen=True)
class Staff:
    """Keys of people, and the two files that know them."""

    keys: dict[str, Path]
    allowed_signers: Path
    rights: Path

    @property
    def settings(self) -> dict[str, str]:
        """The section `operator` of a server."""
        return {
            "listen": "127.0.0.1:0",
            "allowed_signers_file": str(self.allowed_signers),
            "rights_file": str(self.rights),
        }


def hire(folder: Path) -> Staff:
    """Return people with keys and rights."""
    keys = {name: make_key(folder, name) for name in RIGHTS}
    signers = folder / "allowed_signers"
    signers.write_text("".join(f"{name} {public(key)}\n" for name, key in keys.items()))
    rights = folder / "operators.yaml"
    rights.write_text("".join(f"{name}: [{given}]\n" for name, given in RIGHTS.items()))
    return Staff(keys, signers, rights)


def sign(statement: bytes, key: Path, namespace: str = NAMESPACE) -> Signed:
    """Return a statement with somebody's signature."""
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", namespace]
    done = subprocess.run(command, input=statement, capture_output=True, check=True)
    return Signed(statement=statement.decode(), signature=done.stdout.decode())


def now_ms() -> int:
    """Return the time of this machine."""
    return int(time.time() * 1000)


def order(act: Act, key: Path, audience: str = "access-monitor") -> Signed:
    """Return a signed act."""
    return sign(encode_statement(Order(audience=audience, act=act)), key)


def sign_in(challenge: str, key: Path, **changes: Any) -> Signed:
    """Return a signed sign-in."""
    statement: Statement = SignIn(
        **{"audience": "access-monitor", "challenge": challenge, "at_ms": now_ms(), **changes}
    )
    return sign(encode_statement(statement), key)


def suspend(by: str = ANNA, act: str = "act_1", **changes: Any) -> Suspend:
    """Return the act of a person who suspends gate/sync-1."""
    fields = {
        "act": act,
        "by": by,
        "reason": "key leaked",
        "at_ms": now_ms(),
        "realm": "gate",
        "id": "sync-1",
    }
    return Suspend(**{**fields, **changes})


def credential(name: str = "sync-1", **changes: Any) -> CredentialView:
    """Return an active credential."""
    fields: dict[str, Any] = {
        "realm": "gate",
        "id": name,
        "kind": "api_key",
        "status": CredentialStatus.ACTIVE,
        "state": None,
        "version": 0,
        "since_ms": SINCE_MS,
        "until_ms": None,
        "owner": "Integration team",
        "name": f"Agenda {name}",
        "phone": "+49 30 1234",
    }
    return CredentialView(**{**fields, **changes})


def incident(name: str = "INC-0142", **changes: Any) -> IncidentView:
    """Return an open incident of gate/sync-1, which is suspended."""
    fields: dict[str, Any] = {
        "incident": name,
        "realm": "gate",
        "id": "sync-1",
        "kind": "api_key",
        "open": True,
        "status": CredentialStatus.SUSPENDED,
        "state": "enforced",
        "version": 1,
        "finding": "5e5a3d3ec0ffee",
        "rule": "r-1",
        "rule_title": "One credential reads many patients",
        "level": "high",
        "summary": "sync-1 read 50 different patients in 1 s; limit 50 in 10 min",
        "action": "suspend",
        "patients": 53,
        "tenants": 4,
        "leaked": 2,
        "detected_ms": SINCE_MS,
        "requested_ms": SINCE_MS + 12,
        "accepted_ms": SINCE_MS + 30,
        "enforced_ms": SINCE_MS + 50,
        "proof": "refused",
        "until_ms": SINCE_MS + 86_400_000,
    }
    return IncidentView(**{**fields, **changes})


def endpoint(name: str = "webhook-0", **changes: Any) -> EndpointView:
    """Return a gateway that is told as it should be."""
    fields: dict[str, Any] = {"type": "webhook", "disabled": False, "reason": "", "breaker": "closed"}
    return EndpointView(**{**fields, "endpoint": name, "waiting": 0, "dead_letters": 0, **changes})


class StandIn:
    """A responder in memory, as far as the API and the commands look at it."""

    def __init__(self) -> None:
        self.book: dict[str, CredentialView] = {}
        self.cases: dict[str, IncidentView] = {}
        self.ceilings: list[FuseView] = [
            FuseView(name="class bulk-sync", ceiling=5, interval_ms=600_000, used=1)
        ]
        self.gateways: dict[str, EndpointView] = {"webhook-0": endpoint()}
        self.exceptions = AutomationView(mode="enforce")
        self.acts: list[Act] = []
        self._receipts: dict[str, Receipt] = {}

    def add(self, *views: CredentialView | IncidentView) -> None:
        """Know of credentials and incidents."""
        for view in views:
            if isinstance(view, IncidentView):
                self.cases[view.incident] = view
            else:
                self.book[view.subject] = view

    async def act(self, act: Act) -> Receipt:
        """Do as the enforcer would, and remember the receipt."""
        known = self._receipts.get(act.act)
        if known is not None:
            return known
        self.acts.append(act)
        outcome, text, about = self._do(act)
        receipt = Receipt(
            act=act.act, outcome=outcome, text=text, sequence=len(self.acts), at_ms=act.at_ms, **about
        )
        self._receipts[act.act] = receipt
        return receipt

    def _do(self, act: Act) -> tuple[Any, str, dict[str, Any]]:
        if isinstance(act, Suspend | Revoke | Reinstate):
            return self._change(act)
        if isinstance(act, Approve):
            return self._approve(act)
        if isinstance(act, Allow):
            current = self.book.get(act.subject) or credential(act.id, realm=act.realm)
            until_ms = act.at_ms + act.for_ms
            self.add(msgspec.structs.replace(current, exempt_until_ms=until_ms, exempt_by=act.by))
        elif isinstance(act, Acknowledge | Qualify | Close):
            self._say_of(act)
        elif isinstance(act, EnableDelivery):
            self.gateways[act.endpoint] = endpoint(act.endpoint)
        else:
            self._switch(act)
        return "done", "it is done", {}

    def _change(self, act: Suspend | Revoke | Reinstate) -> tuple[Any, str, dict[str, Any]]:
        status = {
            Suspend: CredentialStatus.SUSPENDED,
            Revoke: CredentialStatus.REVOKED,
            Reinstate: CredentialStatus.ACTIVE,
        }[type(act)]
        current = self.book.get(act.subject) or credential(act.id, realm=act.realm)
        if current.status is status:
            return "unchanged", f"{act.subject} is {status.value} already", {}
        case_ = current.incident or f"INC-{len(self.cases) + 1:04d}"
        if case_ not in self.cases and not isinstance(act, Reinstate):
            self.add(incident(case_, realm=act.realm, id=act.id))
        version = current.version + 1
        self.add(
            msgspec.structs.replace(
                current,
                status=status,
                state="reinstated" if isinstance(act, Reinstate) else "accepted",
                version=version,
                accepted_ms=act.at_ms,
                incident=case_,
            )
        )
        about = {"realm": act.realm, "id": act.id, "version": version, "incident": case_}
        return "done", f"{act.subject} is {status.value}", about

    def _approve(self, act: Approve) -> tuple[Any, str, dict[str, Any]]:
        case_ = self.cases[act.incident]
        approvals = (*case_.approvals, Person(by=act.by, at_ms=act.at_ms, reason=act.reason))
        self.add(msgspec.structs.replace(case_, approvals=approvals))
        missing = case_.approvals_needed - len({one.by for one in approvals})
        if missing > 0:
            return "held", f"{missing} more must approve", {"incident": act.incident}
        self.add(
            msgspec.structs.replace(
                self.book[act.subject],
                status=CredentialStatus.SUSPENDED,
                state="accepted",
                version=1,
                accepted_ms=act.at_ms,
            )
        )
        return "done", f"{act.incident} goes on", {"incident": act.incident, "version": 1}

    def _say_of(self, act: Acknowledge | Qualify | Close) -> None:
        person = Person(by=act.by, at_ms=act.at_ms, reason=act.reason)
        changes: dict[str, Any] = {"acknowledged": person}
        if isinstance(act, Qualify):
            changes = {"qualified": person, "qualified_as": act.qualified}
        elif isinstance(act, Close):
            changes = {"closed": person, "verdict": act.verdict}
        self.add(msgspec.structs.replace(self.cases[act.incident], **changes))

    def _switch(self, act: Act) -> None:
        changes: dict[str, Any] = {}
        if isinstance(act, PauseAutomation | AllowAll):
            which = "paused" if isinstance(act, PauseAutomation) else "allow_all"
            until_ms = act.at_ms + act.for_ms
            changes[which] = BreakGlass(by=act.by, reason=act.reason, since_ms=act.at_ms, until_ms=until_ms)
        elif isinstance(act, ResumeAutomation):
            changes["paused"] = None
        elif isinstance(act, EndAllowAll):
            changes["allow_all"] = None
        self.exceptions = msgspec.structs.replace(self.exceptions, **changes)

    def credentials(self) -> Sequence[CredentialView]:
        """Return all that is known."""
        return list(self.book.values())

    def incidents(self) -> Sequence[IncidentView]:
        """Return all that is known."""
        return list(self.cases.values())

    def fuses(self) -> Sequence[FuseView]:
        """Return the fuses."""
        return self.ceilings

    def endpoints(self) -> Sequence[EndpointView]:
        """Return the gateways."""
        return list(self.gateways.values())

    def automation(self) -> AutomationView:
        """Return mode and exceptions."""
        return self.exceptions
