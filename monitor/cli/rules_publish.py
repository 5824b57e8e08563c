"""`monitor rules publish`: put rules in force while everything runs."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from monitor.cli.rule_words import CONFIG, PATHS

if TYPE_CHECKING:
    from pathlib import Path

    from monitor.core.rules import RuleSet
    from monitor.settings import Settings
    from monitor.wire.credentials import RulesInForce

REASON = click.option("--reason", default="", help="Why, in a few words; it stands in the ledger.")
YES = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
TIMEOUT = click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait until it is in force.",
)


@click.command()
@PATHS
@REASON
@YES
@TIMEOUT
@CONFIG
def command(paths: tuple[str, ...], reason: str, timeout: float, config: Path | None, *, yes: bool) -> None:
    """Put the rules at PATH in force; by default those of rules.paths of the configuration.

    They are checked, compared with what is in force, and sent to the enforcer, who takes them into the
    ledger. Every worker then switches at one place of the log, without a restart. Windows of what is
    still counted stay.

    \b
    Exit codes: 0 in force; 1 refused; 69 no answer in time (the rules come into force when an
    enforcer runs); 78 the rules have faults, and those before stay.
    """
    from monitor.observe.logs import configure_logs
    from monitor.settings import load_settings
    from monitor.stream.rules import read_configured_rules, read_rules_in_force

    settings = load_settings(config)
    configure_logs("console")
    rules = read_configured_rules(settings, paths)
    in_force = asyncio.run(read_rules_in_force(settings))
    carry_out(settings, in_force, rules.rule_set, rules.texts, reason=reason, yes=yes, timeout=timeout)


def carry_out(
    settings: Settings,
    in_force: RulesInForce | None,
    rule_set: RuleSet,
    text: dict[str, str],
    *,
    reason: str,
    yes: bool,
    timeout: float,
    back_to: int | None = None,
) -> None:
    """Show what changes, ask, publish, and say what is in force."""
    from monitor.cli.rule_changes import print_difference
    from monitor.core.rules import RuleSet
    from monitor.errors import ConfigurationError
    from monitor.response.difference import difference
    from monitor.stream.control import publish, publish_act, this_person
    from monitor.stream.rules import rule_set_of

    before = RuleSet(())
    try:
        before = rule_set_of(in_force) if in_force else before
    except ConfigurationError as error:
        # Publishing is the way out of it.
        click.echo(f"warning: {error}", err=True)
    found = difference(before, rule_set)
    if in_force is not None and found.empty:
        click.echo(
            f"Nothing changes: revision {in_force.revision} is in force as version {in_force.version}."
        )
        return
    print_difference(found, rule_set)
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("nobody can be asked here: say --yes")
        click.confirm(f"Publish {len(rule_set.rules)} rules?", abort=True)
    act = publish_act(
        rule_set,
        text,
        by=this_person(),
        reason=reason,
        after=in_force.version if in_force else None,
        back_to=back_to,
    )
    answer = asyncio.run(publish(settings, act, seconds=timeout))
    if answer.changed:
        click.echo(f"In force: version {answer.version}, revision {answer.revision}.")
    else:
        # Somebody else published the same meanwhile.
        click.echo(f"In force already: version {answer.version}, revision {answer.revision}.")
