"""`monitor fuse`: the ceilings on automatic responses."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import click

from monitor.cli.acting import act, confirm, reach
from monitor.cli.operator_words import ACT, REACH, YES, age, echo_json, plain, table

if TYPE_CHECKING:
    from monitor.cli.operator_client import OperatorClient
    from monitor.wire.acts import Act
    from monitor.wire.views import FuseView

_HEADINGS: Final = ("Fuse", "State", "Used", "Held", "Why")


@click.group()
def command() -> None:
    """See the ceilings on automatic responses, and reset one that has tripped."""


@command.command()
@REACH
def status(**options: Any) -> None:
    """Show every fuse: how much of it is used, whether it tripped, what it holds."""
    import msgspec

    how = reach(options)

    async def body(client: OperatorClient) -> list[FuseView]:
        return await client.fuses()

    fuses = sorted(how.run(body), key=lambda fuse: (fuse.tripped_ms is None, fuse.name))
    if how.as_json:
        echo_json(msgspec.to_builtins(fuses))
    elif not fuses:
        click.echo("No fuse has been used yet.")
    else:
        now_ms = int(time.time() * 1000)
        table(_HEADINGS, (_row(fuse, now_ms) for fuse in fuses))
        if any(fuse.tripped_ms is not None for fuse in fuses):
            click.echo(
                "\nWhat is held waits for you: `monitor incidents list` shows it; then"
                f"\n  monitor fuse reset --then resume --reason TEXT{how.options}     (they are refused after all)"
                f"\n  monitor fuse reset --then dismiss --reason TEXT{how.options}    (nobody is)"
            )


@command.command()
@click.argument("name", required=False)
@click.option(
    "--then",
    type=click.Choice(["resume", "dismiss"]),
    required=True,
    help="Whether what it held goes on, or is dropped.",
)
@YES
@ACT
def reset(name: str | None, then: Any, reason: str, *, yes: bool, **options: Any) -> None:
    """Arm the fuse NAME again, or all of them."""
    from monitor.wire.acts import ResetFuse

    async def body(client: OperatorClient) -> Act:
        fuses = [fuse for fuse in await client.fuses() if name in {None, fuse.name} and fuse.tripped_ms]
        held = sum(fuse.held for fuse in fuses)
        what = f"refuse {held} held credential(s)" if then == "resume" else f"drop {held} held response(s)"
        confirm(f"Reset {', '.join(plain(fuse.name) for fuse in fuses) or 'the fuse'} and {what}?", yes=yes)
        return ResetFuse(**client.asked(reason), then=then, fuse=name)

    act(reach(options), body)


def _row(fuse: FuseView, now_ms: int) -> tuple[str, ...]:
    tripped = "armed" if fuse.tripped_ms is None else f"TRIPPED {age(now_ms - fuse.tripped_ms)} ago"
    used = f"{fuse.used} of {fuse.ceiling} in {age(fuse.interval_ms)}"
    return fuse.name, tripped, used, str(fuse.held), fuse.why
