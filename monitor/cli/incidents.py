"""`monitor incidents`: what happened, whether it is contained, and what people say of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import click

from monitor.cli.acting import act, conclude_all, confirm, find_credential, find_incident, reach, timeline_of
from monitor.cli.incident_page import is_unfinished, print_incident, verdict
from monitor.cli.operator_words import ACT, REACH, YES, age, duration, echo_json, shown, table

if TYPE_CHECKING:
    from monitor.cli.operator_client import OperatorClient
    from monitor.wire.acts import Act
    from monitor.wire.statements import Answered
    from monitor.wire.views import IncidentView

INCIDENT: Final = click.argument("incident")
_HEADINGS: Final = (
    "Incident",
    "Contained?",
    "Credential",
    "Patients",
    "Leaked",
    "Found",
    "Acknowledged",
    "Rule",
)
_QUALIFIED: Final = {"notifiable": "notifiable", "not-notifiable": "not_notifiable"}
_VERDICTS: Final = ("true_positive", "benign", "false_positive", "undetermined")


@click.group()
def command() -> None:
    """See incidents, and say what they were: ack, qualify, dismiss, close.

    INCIDENT is its name (INC-0142, or 142), or the beginning of it or of a finding's id. Exit codes are
    those of `monitor credentials`.
    """


@command.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that are closed or dismissed.")
@REACH
def list_(*, everything: bool, **options: Any) -> None:
    """List unfinished incidents, which nobody has closed or dismissed, the newest first."""
    import msgspec

    how = reach(options)

    async def body(client: OperatorClient) -> list[IncidentView]:
        return await client.incidents()

    views = sorted(how.run(body), key=lambda view: (view.detected_ms, view.incident), reverse=True)
    if not everything:
        views = [view for view in views if is_unfinished(view)]
    if how.as_json:
        echo_json(msgspec.to_builtins(views))
    elif not views:
        click.echo("No unfinished incidents: each is closed or dismissed.")
    else:
        now_ms = int(time.time() * 1000)
        table(_HEADINGS, (_row(view, now_ms) for view in views))


@command.command()
@INCIDENT
@REACH
def show(incident: str, **options: Any) -> None:
    """Show one incident: what happened, whose credential, contained or not, and what to do next."""
    how = reach(options)

    async def body(client: OperatorClient) -> Any:
        view = await find_incident(client, incident)
        credential = await find_credential(client, f"{view.realm}/{view.id}")
        return view, credential, *await timeline_of(client, incident=view.incident)

    print_incident(how, *how.run(body))


@command.command()
@INCIDENT
@ACT
def ack(incident: str, reason: str, **options: Any) -> None:
    """Say that you are on it. The time of the first one is kept."""
    from monitor.wire.acts import Acknowledge

    async def body(client: OperatorClient) -> Act:
        view = await find_incident(client, incident)
        return Acknowledge(**client.asked(reason), incident=view.incident)

    act(reach(options), body)


@command.command()
@INCIDENT
@click.option("--as", "qualified", type=click.Choice(list(_QUALIFIED)), required=True)
@ACT
def qualify(incident: str, qualified: str, reason: str, **options: Any) -> None:
    """Judge whether it must be notified. The ledger keeps when, by whom and why."""
    from monitor.wire.acts import Qualify

    async def body(client: OperatorClient) -> Act:
        view = await find_incident(client, incident)
        judged: Any = _QUALIFIED[qualified]
        return Qualify(**client.asked(reason), incident=view.incident, qualified=judged)

    act(reach(options), body)


@command.command()
@click.argument("incident", required=False)
@click.option("--stale", is_flag=True, help="All that are held because their events were old.")
@click.option("--older-than", callback=duration, metavar="DURATION", help="With --stale: such as 2h.")
@YES
@ACT
def dismiss(
    incident: str | None, reason: str, *, stale: bool, older_than: int | None, yes: bool, **options: Any
) -> None:
    """Drop the response that is held: nobody is refused for it, and detection looks afresh.

    With --stale and --older-than, all stale ones that were found longer ago than that, each by an act
    of its own.
    """
    from monitor.wire.acts import Dismiss

    if (incident is None) is not stale or stale is (older_than is None):
        raise click.UsageError("name an INCIDENT, or say --stale with --older-than.")
    how = reach(options)

    async def body(client: OperatorClient) -> Act:
        view = await find_incident(client, incident or "")
        confirm(f"{view.summary} Refuse nobody for {view.incident}?", yes=yes)
        return Dismiss(**client.asked(reason), incident=view.incident)

    async def every_stale(client: OperatorClient) -> list[Answered]:
        before_ms = int(time.time() * 1000) - (older_than or 0)
        held = [view for view in await client.incidents() if view.held_for == "stale"]
        old = sorted(view.incident for view in held if view.detected_ms < before_ms)
        if old:
            confirm(f"Refuse nobody for {len(old)} stale incident(s), {old[0]} to {old[-1]}?", yes=yes)
        return [await client.act(Dismiss(**client.asked(reason), incident=name)) for name in old]

    if stale:
        conclude_all(how, how.run(every_stale))
    else:
        act(how, body)


@command.command()
@INCIDENT
@click.option("--verdict", "judged", type=click.Choice(_VERDICTS), required=True)
@ACT
def close(incident: str, judged: Any, reason: str, **options: Any) -> None:
    """End the work on an incident. Its credential stays as it is: a revocation stays in force."""
    from monitor.wire.acts import Close

    async def body(client: OperatorClient) -> Act:
        view = await find_incident(client, incident)
        return Close(**client.asked(reason), incident=view.incident, verdict=judged)

    act(reach(options), body)


def _row(view: IncidentView, now_ms: int) -> tuple[str, ...]:
    more = "≥ " if view.patients_capped else ""
    return (
        view.incident,
        verdict(view).name,
        shown(view),
        f"{more}{view.patients:,}",
        f"{view.leaked + view.exposed:,}",
        f"{age(now_ms - view.detected_ms)} ago",
        view.acknowledged.by if view.acknowledged is not None else "NOBODY",
        view.rule_title,
    )
