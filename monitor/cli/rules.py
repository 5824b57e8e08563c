"""`monitor rules`: read rules and say what they are, or all that is wrong with them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from monitor.errors import ConfigurationError, ExitCode

if TYPE_CHECKING:
    from monitor.core.rules import Rule
    from monitor.rulebook import LoadedRules

_PATHS = click.argument("paths", nargs=-1, metavar="[PATH]...")
_PIPED_WIDTH = 200
_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"))


@click.group()
def command() -> None:
    """Check and list detection rules (Sigma correlation rules in YAML)."""


@command.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def check(paths: tuple[str, ...], *, as_json: bool) -> None:
    """Read the rules at PATH (files, folders, pack:default) and report every fault at once.

    Ends with 0 where they can be used and 78 where not.
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
        click.echo(json.dumps({"ok": False, "rules": 0, "faults": faults}, ensure_ascii=False))
        raise click.exceptions.Exit(ExitCode.CONFIG) from None
    rules = loaded.rule_set.rules
    if as_json:
        revision = loaded.rule_set.revision
        click.echo(json.dumps({"ok": True, "rules": len(rules), "revision": revision, "faults": []}))
    else:
        click.echo(f"{len(rules)} rules in {len(loaded.texts)} files, revision {loaded.rule_set.revision}")


@command.command(name="list")
@_PATHS
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line instead of the table.")
def list_rules(paths: tuple[str, ...], *, as_json: bool) -> None:
    """Show the rules at PATH, or of pack:default."""
    from monitor.rulebook import load_rules

    loaded = load_rules(paths or ("pack:default",))
    if as_json:
        for rule in loaded.rule_set.rules:
            click.echo(json.dumps(_plain(rule), ensure_ascii=False))
    else:
        _print_table(loaded)


def _print_table(loaded: LoadedRules) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("Id", "Rule", "Finds", "Level", "Action", "Mode"):
        table.add_column(column, no_wrap=column not in ("Rule", "Finds"))
    for rule in loaded.rule_set.rules:
        action = rule.action if rule.ttl_ms is None else f"{rule.action} {_time(rule.ttl_ms)}"
        table.add_row(rule.id[:8], rule.title, _finds(rule), rule.level, action, rule.mode)
    console = Console()
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    console.print(table)


def _plain(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "title": rule.title,
        "finds": _finds(rule),
        "level": rule.level,
        "action": rule.action,
        "mode": rule.mode,
        "ttl_ms": rule.ttl_ms,
        "revision": rule.revision,
    }


def _finds(rule: Rule) -> str:
    """Return what a rule looks for, such as ``50 different patients per principal in 10m``."""
    counted = "events" if rule.counted is None else f"different {rule.counted}s"
    return f"{rule.threshold} {counted} per {' and '.join(rule.group_by)} in {_time(rule.timespan_ms)}"


def _time(milliseconds: int) -> str:
    for size, unit in _UNITS:
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"
