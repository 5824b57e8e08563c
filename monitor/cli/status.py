"""`monitor status`: one screen that says what happens, and whether it is contained."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitor.stream.overview import OpenIncident, Overview


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object, times in epoch milliseconds.")
@click.option("-c", "--config", type=click.Path(path_type=Path), help="Default: ./monitor.yaml")
def command(config: Path | None, *, as_json: bool) -> None:
    """Show mode, rules, feeds, lag and open incidents, read from Kafka.

    An incident is open until its response ends: expired, reinstated or dismissed. `monitor incidents
    list` shows the unfinished ones, which somebody is still to close.
    Lag counts records whose effect is not durable yet; a quiet detect catches up within seconds.
    An incident is contained once a refusal was seen in the events after the decision. Accepted means
    that the gateway was told, and that no request of the credential was seen since.
    """
    import orjson

    from monitor.observe.logs import configure_logs
    from monitor.settings import load_settings
    from monitor.stream.overview import read_overview

    settings = load_settings(config)
    configure_logs("console")
    overview = asyncio.run(read_overview(settings))
    if as_json:
        click.echo(orjson.dumps(overview.plain(), option=orjson.OPT_INDENT_2).decode())
    else:
        _print(overview)


def _print(overview: Overview) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=not click.get_text_stream("stdout").isatty())
    mode = "enforce: limits refuse credentials" if overview.mode == "enforce" else "SHADOW: nobody is refused"
    console.print(f"Mode      {mode}")
    console.print(f"Enforcer  {_life(overview)}")
    if overview.rules_version is None:
        console.print("Rules     none yet: run `monitor init`, and a worker with the role enforce")
    else:
        console.print(f"Rules     version {overview.rules_version}, revision {overview.rules_revision}")
    feeds = Table("Feed", "Topic", "Records", "Lag", box=None, pad_edge=False)
    for feed in overview.feeds:
        lag = "no position: run `monitor init`" if feed.lag is None else f"{feed.lag:,}"
        feeds.add_row(feed.name, feed.topic, f"{feed.end:,}", lag)
    console.print()
    console.print(feeds)
    console.print()
    if not overview.incidents:
        console.print("No open incidents: no response goes on.")
        return
    for incident in overview.incidents:
        _print_incident(console.print, incident, overview.at_ms)


def _print_incident(say: Callable[[str], None], incident: OpenIncident, at_ms: int) -> None:
    verdict = "CONTAINED" if incident.contained else "NOT PROVEN YET"
    if incident.state == "held":
        verdict = "NOT REFUSED: the finding was older than response.max_age"
    atleast = "≥ " if incident.patients_capped else ""
    say(f"{incident.incident}  {incident.credential}  {incident.status}, {incident.state}  {verdict}")
    say(f"    {incident.rule} ({incident.level}), {_age(at_ms - incident.since_ms)} ago")
    say(f"    {atleast}{incident.patients:,} patients read; {incident.leaked:,} answered after the decision")
    if incident.until_ms is not None:
        say(f"    ends by itself in {_age(incident.until_ms - at_ms)}")
    if incident.summary:
        say(f"    {incident.summary}")


def _life(overview: Overview) -> str:
    if overview.heartbeat_ms is None:
        return "never seen: is `monitor worker` running?"
    age_ms = overview.at_ms - overview.heartbeat_ms
    alive = "alive" if age_ms < 15_000 else "SILENT: is `monitor worker` running?"  # noqa: PLR2004 - 7 heartbeats
    return f"{alive}, last sign {_age(age_ms)} ago"


def _age(milliseconds: int) -> str:
    """Return a duration as a person says it, in its two largest units."""
    seconds = max(0, milliseconds) // 1000
    parts = []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"
