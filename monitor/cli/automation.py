"""`monitor automation`: break-glass for the whole of the automatic response."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from monitor.cli.acting import act, confirm, reach
from monitor.cli.operator_words import ACT, REACH, YES, age, duration, echo_json, pairs, when

if TYPE_CHECKING:
    from monitor.cli.operator_client import OperatorClient
    from monitor.wire.acts import Act
    from monitor.wire.views import AutomationView, BreakGlass


@click.group()
def command() -> None:
    """Pause the automatic response for a limited time, resume it, or see whether it is on."""


@command.command()
@click.option("--for", "span", callback=duration, required=True, metavar="DURATION", help="Such as 1h.")
@YES
@ACT
def pause(span: int, reason: str, *, yes: bool, **options: Any) -> None:
    """Break-glass: refuse nobody automatically for a time. Who is refused stays refused."""
    from monitor.wire.acts import PauseAutomation

    async def body(client: OperatorClient) -> Act:
        confirm(f"Let nobody be refused automatically for {age(span)}, whatever is found?", yes=yes)
        return PauseAutomation(**client.asked(reason), for_ms=span)

    act(reach(options), body)


@command.command()
@ACT
def resume(reason: str, **options: Any) -> None:
    """End the pause."""
    from monitor.wire.acts import ResumeAutomation

    async def body(client: OperatorClient) -> Act:
        return ResumeAutomation(**client.asked(reason))

    act(reach(options), body)


@command.command()
@REACH
def status(**options: Any) -> None:
    """Show whether findings refuse anybody, and what is switched off until when, by whom and why."""
    import msgspec

    how = reach(options)

    async def body(client: OperatorClient) -> AutomationView:
        return await client.automation()

    view = how.run(body)
    if how.as_json:
        echo_json(msgspec.to_builtins(view))
        return
    mode = "enforce: limits refuse credentials" if view.mode == "enforce" else "SHADOW: nobody is refused"
    pairs(
        (
            ("Mode", mode),
            ("Automation", _exception(view.paused, "PAUSED: nobody is refused automatically", "on")),
            ("Decision service", _exception(view.allow_all, "LETS EVERYBODY THROUGH", "refuses as decided")),
        )
    )


def _exception(glass: BreakGlass | None, loud: str, quiet: str) -> str:
    if glass is None:
        return quiet
    return f"{loud} until {when(glass.until_ms, int(time.time() * 1000))}, by {glass.by}: {glass.reason}"
