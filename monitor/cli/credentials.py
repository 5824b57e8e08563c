"""`monitor credentials`: who is refused, and the acts that change it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from monitor.cli.acting import (
    act,
    act_on_credential,
    confirm,
    find_credential,
    find_incident,
    reach,
    subject_line,
    timeline_of,
    waiting_of,
)
from monitor.cli.operator_words import ACT, REACH, WAIT, YES, age, duration, echo_json, shown, table, when

if TYPE_CHECKING:
    from monitor.cli.operator_client import OperatorClient
    from monitor.wire.acts import Act
    from monitor.wire.views import CredentialView

CREDENTIAL: Final = click.argument("credential")
_UNSEEN: Final = click.option(
    "--unseen", is_flag=True, help="Take a realm/id that nobody has heard of as it is written."
)
_HEADINGS: Final = ("Credential", "Status", "State", "Since", "Until", "Incident", "Owner", "Phone")


@click.group()
def command() -> None:
    """See which credentials are refused; suspend, revoke, reinstate, allow or approve one.

    CREDENTIAL is realm/id, or as much of it or of the id as makes it clear which one is meant, or an
    incident's name, such as INC-0142. Acts are signed with your SSH key, go to the enforcer's operator
    API, and stand in the ledger with your name and reason.

    \b
    Exit codes: 0 done; 1 refused or failed; 69 no active enforcer answers; 75 in the ledger, but it
    waits for somebody or is not in effect before the deadline; 77 no key or no right; 78 not clear who
    is meant, and nothing was done.
    """


@command.command("list")
@click.option("--all", "everyone", is_flag=True, help="Also those that are active and exempt from nothing.")
@REACH
def list_(*, everyone: bool, **options: Any) -> None:
    """List credentials that are refused, are held, or are exempt."""
    import msgspec

    how = reach(options)

    async def body(client: OperatorClient) -> list[CredentialView]:
        return await client.credentials()

    views = sorted(how.run(body), key=lambda view: (view.status.value == "active", view.subject))
    now_ms = _now_ms()
    if not everyone:
        views = [view for view in views if _is_of_interest(view, now_ms)]
    if how.as_json:
        echo_json(msgspec.to_builtins(views))
    elif not views:
        click.echo("No credential is refused, held or exempt.")
    else:
        table(_HEADINGS, (_row(view, now_ms) for view in views))


@command.command()
@CREDENTIAL
@REACH
def show(credential: str, **options: Any) -> None:
    """Show one credential: status, whose it is, its incidents, and everything that was ever decided."""
    from monitor.cli.incident_page import print_credential

    how = reach(options)

    async def body(client: OperatorClient) -> Any:
        view = await find_credential(client, credential)
        incidents = [one for one in await client.incidents() if (one.realm, one.id) == (view.realm, view.id)]
        return view, incidents, *await timeline_of(client, realm=view.realm, id=view.id)

    print_credential(how, *how.run(body))


@command.command()
@CREDENTIAL
@click.option(
    "--for", "ttl", callback=duration, metavar="DURATION", help="Such as 4h. Default: response.default_ttl."
)
@_UNSEEN
@YES
@WAIT
@ACT
def suspend(
    credential: str, ttl: int | None, reason: str, *, unseen: bool, yes: bool, **options: Any
) -> None:
    """Refuse CREDENTIAL for a time; it ends by itself.

    \b
    A partner phones that a key leaked:
      monitor credentials suspend clinic-api/agenda-sync --reason "leaked, ticket 4711" --wait
    """
    from monitor.wire.acts import Suspend

    how, waiting = reach(options), waiting_of(options)
    span = f" for {age(ttl)}" if ttl is not None else ""

    async def body(client: OperatorClient) -> tuple[Act, CredentialView]:
        view = await find_credential(client, credential, unseen=unseen)
        confirm(f"Suspend {subject_line(view)}{span}?", yes=yes)
        return Suspend(**client.asked(reason), realm=view.realm, id=view.id, ttl_ms=ttl), view

    act_on_credential(how, waiting, body)


@command.command()
@CREDENTIAL
@_UNSEEN
@YES
@WAIT
@ACT
def revoke(credential: str, reason: str, *, unseen: bool, yes: bool, **options: Any) -> None:
    """Refuse CREDENTIAL until a person reinstates it."""
    from monitor.wire.acts import Revoke

    how, waiting = reach(options), waiting_of(options)

    async def body(client: OperatorClient) -> tuple[Act, CredentialView]:
        view = await find_credential(client, credential, unseen=unseen)
        confirm(f"Revoke {subject_line(view)}, until a person reinstates it?", yes=yes)
        return Revoke(**client.asked(reason), realm=view.realm, id=view.id), view

    act_on_credential(how, waiting, body)


@command.command()
@CREDENTIAL
@click.option(
    "--grace",
    callback=duration,
    default="0s",
    metavar="DURATION",
    help="For so long nothing automatic refuses it. Default: none.",
)
@YES
@WAIT
@ACT
def reinstate(credential: str, grace: int, reason: str, *, yes: bool, **options: Any) -> None:
    """Let CREDENTIAL in again; what it read before counts no more."""
    from monitor.wire.acts import Reinstate

    how, waiting = reach(options), waiting_of(options)

    async def body(client: OperatorClient) -> tuple[Act, CredentialView]:
        view = await find_credential(client, credential)
        confirm(f"Reinstate {subject_line(view)}?", yes=yes)
        return Reinstate(**client.asked(reason), realm=view.realm, id=view.id, grace_ms=grace), view

    act_on_credential(how, waiting, body)


@command.command()
@CREDENTIAL
@click.option("--for", "span", callback=duration, required=True, metavar="DURATION", help="Such as 4h.")
@_UNSEEN
@YES
@ACT
def allow(credential: str, span: int, reason: str, *, unseen: bool, yes: bool, **options: Any) -> None:
    """Let nothing automatic refuse CREDENTIAL for a time, such as for a migration.

    One that is refused already stays so: reinstate it with --grace.
    """
    from monitor.wire.acts import Allow

    async def body(client: OperatorClient) -> Act:
        view = await find_credential(client, credential, unseen=unseen)
        confirm(f"Let nothing automatic refuse {subject_line(view)} for {age(span)}?", yes=yes)
        return Allow(**client.asked(reason), realm=view.realm, id=view.id, for_ms=span)

    act(reach(options), body)


@command.command()
@CREDENTIAL
@click.option("--incident", metavar="INCIDENT", help="Only where this is the one that is held.")
@YES
@WAIT
@ACT
def approve(credential: str, incident: str | None, reason: str, *, yes: bool, **options: Any) -> None:
    """Agree to the response that is held for CREDENTIAL.

    A protected credential needs two different people.
    """
    from monitor.errors import ConfigurationError, Fault
    from monitor.wire.acts import Approve

    how, waiting = reach(options), waiting_of(options)

    async def body(client: OperatorClient) -> tuple[Act, CredentialView]:
        view = await find_credential(client, credential)
        if view.incident is None:
            fault = Fault(shown(view), "nothing is held for it", "`monitor incidents list` shows what is")
            raise ConfigurationError("nothing was done", [fault])
        seen = await find_incident(client, incident or view.incident)
        confirm(f"{seen.summary} Agree to {seen.action or 'refuse'} {subject_line(view)}?", yes=yes)
        asked = client.asked(reason)
        return Approve(**asked, realm=view.realm, id=view.id, incident=seen.incident), view

    act_on_credential(how, waiting, body)


def _is_of_interest(view: CredentialView, now_ms: int) -> bool:
    return (
        view.status.value != "active"
        or view.state == "held"
        or (view.exempt_until_ms is not None and view.exempt_until_ms > now_ms)
    )


def _row(view: CredentialView, now_ms: int) -> tuple[str, ...]:
    until = when(view.until_ms, now_ms)
    if view.until_ms is None and view.exempt_until_ms is not None and view.exempt_until_ms > now_ms:
        until = f"exempt until {when(view.exempt_until_ms, now_ms)}"
    return (
        shown(view),
        view.status.value,
        view.state or "-",
        when(view.since_ms, now_ms) if view.version else "-",
        until,
        view.incident or "-",
        view.owner or "-",
        view.phone or "-",
    )


def _now_ms() -> int:
    import time

    return int(time.time() * 1000)
