"""`monitor rules rollback`: back to the rules before."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from monitor.cli.rule_words import CONFIG, moment
from monitor.cli.rules_publish import REASON, TIMEOUT, YES, carry_out

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.option(
    "--to",
    metavar="REVISION",
    help="Go back to this revision, or the only one that begins so. Default: the set before the last change.",
)
@REASON
@YES
@TIMEOUT
@CONFIG
def command(to: str | None, reason: str, timeout: float, config: Path | None, *, yes: bool) -> None:
    """Put an earlier rule set in force again, exactly as the ledger holds it.

    It becomes a new version, and the ledger says which one it goes back to. Run twice without --to it
    undoes itself. The rule files stay as they are: until they are changed too, a SIGHUP would publish
    them again, and the metric access_monitor_rules_differ_from_files is 1.
    """
    from monitor.observe.logs import configure_logs
    from monitor.response.history import find_activation, read_activations
    from monitor.settings import load_settings
    from monitor.stream.rules import read_rules_in_force

    settings = load_settings(config)
    configure_logs("console")
    in_force = asyncio.run(read_rules_in_force(settings))
    target = find_activation(asyncio.run(read_activations(settings)), to)
    rule_set = target.rule_set
    click.echo(
        f"Back to version {target.version}, revision {target.revision},"
        f" of {moment(target.at_ms)} by {target.by}:"
    )
    carry_out(
        settings,
        in_force,
        rule_set,
        target.text,
        reason=reason or f"back to version {target.version}",
        yes=yes,
        timeout=timeout,
        back_to=target.version,
    )
