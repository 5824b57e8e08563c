"""The way of every act from a command line: whom it means, the question, the receipt, until it is in effect."""

from __future__ import annotations

import asyncio
import shlex
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import click

from monitor.cli.operator_words import echo_json, plain, shown
from monitor.core.events import CredentialStatus
from monitor.errors import ConfigurationError, ExitCode, Fault, ServerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from monitor.cli.operator_client import OperatorClient
    from monitor.wire.acts import Act
    from monitor.wire.statements import Answered
    from monitor.wire.views import CredentialView, IncidentView

_Result = TypeVar("_Result")

_POLL_SECONDS: Final = 0.25
_CANDIDATES: Final = 10
_INCIDENT: Final = "INC-"
_TITLE: Final = "nothing was done"


@dataclass(frozen=True, slots=True)
class Reach:
    """How a command reaches the enforcer, and how it answers."""

    as_json: bool
    server: tuple[str, ...]
    identity: Path | None
    config: Path | None

    @property
    def options(self) -> str:
        """The same options again, for commands that are shown to be copied."""
        given = [
            ("-c", self.config),
            ("--identity", self.identity),
            *(("--server", one) for one in self.server),
        ]
        return "".join(f" {name} {shlex.quote(str(value))}" for name, value in given if value is not None)

    def run(self, body: Callable[[OperatorClient], Awaitable[_Result]]) -> _Result:
        """Return what `body` returns, given a client that is signed in."""
        from monitor.cli.operator_client import OperatorClient
        from monitor.settings.loading import load_operator_settings

        settings = load_operator_settings(self.config)

        async def main() -> _Result:
            async with OperatorClient(settings, self.server, self.identity) as client:
                return await body(client)

        return asyncio.run(main())


@dataclass(frozen=True, slots=True)
class Waiting:
    """Until when a command stays: None, ``accepted`` or ``enforced``, and for how long."""

    wait: str | None
    timeout: int


def confirm(question: str, *, yes: bool) -> None:
    """Ask; raises Abort on a no, UsageError where nobody is there to be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{plain(question)} Nobody is there to be asked: say --yes.")
    click.confirm(plain(question), abort=True, err=True)


async def find_credential(client: OperatorClient, text: str, *, unseen: bool = False) -> CredentialView:
    """Return the one credential that a text begins, or that an incident is about.

    Raises ConfigurationError where that is none, or more than one. With `unseen`, one that nobody has heard of is taken as it is written: a wrong letter there would
    refuse nobody, and look like a success.
    """
    if text.upper().startswith(_INCIDENT):
        incident = await find_incident(client, text)
        text = f"{incident.realm}/{incident.id}"
    found = await client.credentials(text)
    if len(found) == 1:
        return found[0]
    realm, slash, name = text.partition("/")
    if found:
        _several("credential", text, [shown(view) for view in found])
    if not (slash and realm and name):
        _none(
            text,
            "no credential begins so",
            "write it as realm/id; `monitor credentials list` shows what is known",
        )
    if not unseen:
        problem = "no response was ever about it, and it is not in the directory"
        _none(text, problem, "mind each letter; where it is right, say --unseen")
    return _unseen(realm, name)


async def find_incident(client: OperatorClient, text: str) -> IncidentView:
    """Return the one incident that a text begins; raises ConfigurationError otherwise."""
    found = await client.incidents(text)
    if len(found) == 1:
        return found[0]
    if found:
        _several("incident", text, [view.incident for view in found])
    return _none(
        text, "no incident or finding begins so", "`monitor incidents list --all` shows those that are kept"
    )


async def timeline_of(client: OperatorClient, **of: str) -> tuple[list[dict[str, Any]] | None, str]:
    """Return the ledger's entries, or None and why: without Kafka all else can still be shown."""
    try:
        return await client.timeline(**of), ""
    except ServerUnavailableError as error:
        return None, str(error)


@dataclass(frozen=True, slots=True)
class Waited:
    """What waiting for an act led to, in a sentence; `failed` where waiting longer would not help."""

    in_effect: bool
    failed: bool
    text: str


def conclude(how: Reach, answered: Answered, waited: Waited | None = None) -> None:
    """Say what became of an act, and end with its exit code."""
    receipt = answered.receipt
    if how.as_json:
        plain_receipt = {name: getattr(receipt, name) for name in receipt.__struct_fields__}
        in_effect = waited.in_effect if waited is not None else None
        echo_json({"receipt": plain_receipt, "repeated": answered.repeated, "in_effect": in_effect})
    else:
        click.echo(f"{receipt.outcome}: {plain(receipt.text)} (ledger entry {receipt.sequence})")
        if waited is not None:
            click.echo(waited.text)
    if receipt.outcome == "refused" or (waited is not None and waited.failed):
        raise click.exceptions.Exit(ExitCode.FAILED)
    if receipt.outcome == "held" or (waited is not None and not waited.in_effect):
        raise click.exceptions.Exit(ExitCode.NOT_YET)


def conclude_all(how: Reach, answers: Sequence[Answered]) -> None:
    """Say what became of each of several acts; ends with 1 where one was refused."""
    receipts = [answered.receipt for answered in answers]
    if how.as_json:
        echo_json([{name: getattr(one, name) for name in one.__struct_fields__} for one in receipts])
    elif not receipts:
        click.echo("There is none.")
    else:
        for one in receipts:
            click.echo(f"{one.incident}: {one.outcome}: {plain(one.text)} (ledger entry {one.sequence})")
    if any(one.outcome == "refused" for one in receipts):
        raise click.exceptions.Exit(ExitCode.FAILED)


def act(how: Reach, body: Callable[[OperatorClient], Awaitable[Act]]) -> None:
    """Carry out an act that is in effect as soon as the ledger has it."""

    async def main(client: OperatorClient) -> Answered:
        return await client.act(await body(client))

    conclude(how, how.run(main))


def act_on_credential(
    how: Reach, waiting: Waiting, body: Callable[[OperatorClient], Awaitable[tuple[Act, CredentialView]]]
) -> None:
    """Carry out an act that gateways must follow, and wait for them where that is asked."""

    async def main(client: OperatorClient) -> tuple[Answered, Waited | None]:
        asked, view = await body(client)
        answered = await client.act(asked)
        receipt = answered.receipt
        if waiting.wait is None or receipt.outcome in {"refused", "held"}:
            return answered, None
        version = receipt.version if receipt.version is not None else view.version
        return answered, await _until(client, version, view, waiting)

    conclude(how, *how.run(main))


async def _until(client: OperatorClient, version: int, about: CredentialView, waiting: Waiting) -> Waited:
    until = time.monotonic() + waiting.timeout / 1000
    while True:
        found = [view for view in await client.credentials(about.subject) if view.subject == about.subject]
        view = found[0] if found else about
        state = f"{shown(view)} is {view.status.value}, {view.state or 'never told'}"
        if view.version > version:
            return Waited(in_effect=False, failed=True, text=f"{state}: somebody changed it meanwhile")
        if view.version == version and _reached(view, waiting.wait):
            return Waited(in_effect=True, failed=False, text=f"{state}: in effect")
        if view.state == "failed":
            text = f"{state}: a gateway did not accept it; `monitor credentials show` says more"
            return Waited(in_effect=False, failed=True, text=text)
        if time.monotonic() >= until:
            text = f"{state}: not {waiting.wait} yet; it goes on, look again"
            return Waited(in_effect=False, failed=False, text=text)
        await asyncio.sleep(_POLL_SECONDS)


def _reached(view: CredentialView, wait: str | None) -> bool:
    # Who is let in again is refused by nobody: there is nothing more to prove than that all were told.
    if wait == "accepted" or view.status is CredentialStatus.ACTIVE:
        return view.accepted_ms is not None
    return view.enforced_ms is not None


def _several(kind: str, text: str, names: Sequence[str]) -> NoReturn:
    listed = ", ".join(plain(name) for name in names[:_CANDIDATES])
    more = f" and {len(names) - _CANDIDATES} more" if len(names) > _CANDIDATES else ""
    _none(text, f"begins more than one {kind}: {listed}{more}", "write more of it")


def _none(text: str, problem: str, remedy: str) -> NoReturn:
    raise ConfigurationError(_TITLE, [Fault(plain(repr(text)), problem, remedy)])


def _unseen(realm: str, name: str) -> CredentialView:
    from monitor.wire.views import CredentialView

    return CredentialView(
        realm=realm,
        id=name,
        kind="",
        status=CredentialStatus.ACTIVE,
        state=None,
        version=0,
        since_ms=0,
        until_ms=None,
    )


def person_of(view: CredentialView) -> str:
    """Return whose a credential is, as the directory says."""
    parts = (view.owner, view.name, view.phone and f"phone {view.phone}")
    return (
        plain(", ".join(part for part in parts if part)) or "nobody knows whose: it is not in the directory"
    )


def subject_line(view: CredentialView) -> str:
    """Return a credential, what it is now, and whose."""
    return f"{shown(view)} ({person_of(view)}), now {view.status.value}"


def reach(options: dict[str, Any]) -> Reach:
    """Return the `Reach` of a command's options, which are taken out."""
    return Reach(**{name: options.pop(name) for name in Reach.__slots__})


def waiting_of(options: dict[str, Any]) -> Waiting:
    """Return the `Waiting` of a command's options, which are taken out."""
    return Waiting(options.pop("wait"), options.pop("timeout"))
