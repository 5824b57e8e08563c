"""`monitor deliveries`: the gateways that are told, and how to have one called again after a 410."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from monitor.cli.acting import act, reach
from monitor.cli.operator_words import ACT, REACH, echo_json, plain, table
from monitor.errors import ConfigurationError, Fault

if TYPE_CHECKING:
    from monitor.cli.operator_client import OperatorClient
    from monitor.wire.acts import Act
    from monitor.wire.views import EndpointView

_HEADINGS: Final = ("Endpoint", "Type", "State", "Breaker", "Waiting", "Dead letters", "Why")


@click.group()
def command() -> None:
    """See whether each gateway can be told, and have one called again that answered 410.

    Exit codes are those of `monitor credentials`.
    """


@command.command("list")
@REACH
def list_(**options: Any) -> None:
    """List the gateways of response.adapters: which is called, and what each was not told yet."""
    import msgspec

    how = reach(options)

    async def body(client: OperatorClient) -> list[EndpointView]:
        return await client.endpoints()

    views = sorted(how.run(body), key=lambda view: (not view.disabled, view.endpoint))
    if how.as_json:
        echo_json(msgspec.to_builtins(views))
    elif not views:
        click.echo("No gateway is told: response.adapters names none.")
    else:
        table(_HEADINGS, (_row(view) for view in views))
        if any(view.disabled for view in views):
            click.echo(
                "\nOnce the receiver wants calls again:"
                f"\n  monitor deliveries enable ENDPOINT --reason TEXT{how.options}"
            )


@command.command()
@click.argument("endpoint")
@ACT
def enable(endpoint: str, reason: str, **options: Any) -> None:
    """Call ENDPOINT again after it answered 410, and tell it all that it has not accepted.

    ENDPOINT is the name in response.adapters, or as much of it as makes it clear which one is meant.
    """
    from monitor.wire.acts import EnableDelivery

    async def body(client: OperatorClient) -> Act:
        names = [view.endpoint for view in await client.endpoints()]
        return EnableDelivery(**client.asked(reason), endpoint=_one_of(names, endpoint))

    act(reach(options), body)


def _one_of(names: list[str], text: str) -> str:
    begun = [name for name in names if name.startswith(text)]
    found = [text] if text in begun else begun
    if len(found) == 1:
        return found[0]
    problem = f"begins more than one: {', '.join(found)}" if found else "no gateway's name begins so"
    fault = Fault(plain(repr(text)), plain(problem), "`monitor deliveries list` shows their names")
    raise ConfigurationError("nothing was done", [fault])


def _row(view: EndpointView) -> tuple[str, ...]:
    return (
        view.endpoint,
        view.type,
        "DISABLED" if view.disabled else "called",
        "OPEN" if view.breaker == "open" else "closed",
        str(view.waiting),
        str(view.dead_letters),
        view.reason,
    )
