"""`monitor rules check`: whether rules can be used, or all that is wrong with them."""

from __future__ import annotations

import json

import click

from monitor.cli.rule_words import allow_list_warnings, warn
from monitor.errors import ConfigurationError, ExitCode


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def command(paths: tuple[str, ...], *, as_json: bool) -> None:
    """Read the rules at PATH (files, folders, pack:default) and report every fault at once.

    Ends with 0 where they can be used and 78 where not. An allow-list that ends within two weeks, or
    has ended, is a warning.
    """
    from monitor.rulebook import load_rules

    try:
        loaded = load_rules(paths)
    except ConfigurationError as error:
        if not as_json:
            raise
        faults = [
            {"where": fault.where, "problem": fault.problem, "remedy": fault.remedy} for fault in error.faults
        ]
        answer = {"ok": False, "rules": 0, "faults": faults, "warnings": []}
        click.echo(json.dumps(answer, ensure_ascii=False))
        raise click.exceptions.Exit(ExitCode.CONFIG) from None
    rule_set = loaded.rule_set
    if as_json:
        answer = {
            "ok": True,
            "rules": len(rule_set.rules),
            "revision": rule_set.revision,
            "faults": [],
            "warnings": list(allow_list_warnings(rule_set)),
        }
        click.echo(json.dumps(answer, ensure_ascii=False))
    else:
        click.echo(f"{len(rule_set.rules)} rules in {len(loaded.texts)} files, revision {rule_set.revision}")
        warn(rule_set)
