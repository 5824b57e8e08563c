"""`monitor rules diff`: what a publish would change."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import click

from monitor.cli.rule_words import CONFIG, PATHS
from monitor.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@PATHS
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@CONFIG
def command(paths: tuple[str, ...], config: Path | None, *, as_json: bool) -> None:
    """Show what would change if the rules at PATH took the place of those in force.

    PATH is by default rules.paths of the configuration. For each rule it says whether its window
    stays, or starts anew: then the rule is warming for one timespan. Ends with 0 where both say the
    same, and 1 where they differ.
    """
    from monitor.cli.rule_changes import plain_difference, print_difference
    from monitor.core.rules import RuleSet
    from monitor.observe.logs import configure_logs
    from monitor.response.difference import difference
    from monitor.settings import load_settings
    from monitor.stream.rules import read_configured_rules, read_rules_in_force, rule_set_of

    settings = load_settings(config)
    configure_logs("console")
    after = read_configured_rules(settings, paths).rule_set
    in_force = asyncio.run(read_rules_in_force(settings))
    before = rule_set_of(in_force) if in_force else RuleSet(())
    found = difference(before, after)
    if as_json:
        answer = {
            "same": found.empty,
            "in_force": {"version": in_force.version, "revision": in_force.revision} if in_force else None,
            "revision": after.revision,
            **plain_difference(found, after),
        }
        click.echo(json.dumps(answer, ensure_ascii=False))
    elif found.empty:
        click.echo(f"No difference: revision {after.revision} is in force.")
    else:
        print_difference(found, after)
    if not found.empty:
        raise click.exceptions.Exit(ExitCode.FAILED)
