"""`monitor init`: all that must stand in Kafka before the first worker runs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import click


@click.command()
@click.option(
    "--from",
    "start",
    default="latest",
    show_default=True,
    metavar="WHERE",
    help=(
        "Where to begin in the sources: latest, earliest, a time back such as 24h, or an RFC 3339 time."
        " Only for partitions that have no position yet."
    ),
)
@click.option(
    "--adopt",
    multiple=True,
    metavar="TOPIC",
    help=(
        "Take a topic as it is now that was deleted and made again, from its first record on. For `state`"
        " (or `routed`): build the state anew from what `routed` keeps. For `findings`: the enforcer decides"
        " from its first record on, and who is refused stays refused."
    ),
)
@click.option("--plan", "plan_only", is_flag=True, help="Print topics and rights per role; contact nothing.")
@click.option("-c", "--config", type=click.Path(path_type=Path), help="Default: ./monitor.yaml")
def command(start: str, adopt: tuple[str, ...], config: Path | None, *, plan_only: bool) -> None:
    """Create our topics, publish the first rule set, and set where to begin.

    May be run again at any time: what exists is checked and left as it is, and everything that is
    not as it must be is reported at once. Source topics are never created.
    """
    from monitor.settings import load_settings

    settings = load_settings(config)
    if plan_only:
        from monitor.stream.plan import plan

        click.echo(plan(settings), nl=False)
        return
    from monitor.response.adopting import adopt_findings
    from monitor.stream.first_run import initialise
    from monitor.stream.starts import parse_start

    async def work() -> None:
        await initialise(settings, parse_start(start, datetime.now(UTC)), click.echo, adopt)
        if settings.topic("findings") in adopt:
            click.echo(await adopt_findings(settings))

    asyncio.run(work())
