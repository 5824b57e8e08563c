"""`monitor rules list`: the rules, and what each has led to so far."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Final

import click

from monitor.cli.rule_words import CONFIG, PATHS, finds, moment, response, span_words, warn, wide_console

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from monitor.core.rules import Rule
    from monitor.response.outcomes import Outcomes, RuleOutcome
    from monitor.wire.credentials import RulesInForce

_DONE: Final = {"suspend": "suspended", "revoke": "revoked"}


@click.command()
@PATHS
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line instead of the table.")
@CONFIG
def command(paths: tuple[str, ...], config: Path | None, *, as_json: bool) -> None:
    """Show the rules in force and what each has found; with PATH, the rules of files.

    For a rule in shadow mode it says how many credentials it would have refused. Findings are counted
    that the rule made as it is now; those from before its last change stand apart ("earlier"). They
    reach back as far as the topic findings keeps them.
    """
    from monitor.observe.logs import configure_logs
    from monitor.rulebook import load_rules
    from monitor.settings import load_settings
    from monitor.stream.rules import rule_set_of

    if paths:
        rule_set = load_rules(paths).rule_set
        if as_json:
            for rule in rule_set.rules:
                click.echo(json.dumps(_plain(rule), ensure_ascii=False))
        else:
            _print_rules(rule_set.rules)
        warn(rule_set)
        return
    settings = load_settings(config)
    configure_logs("console")
    in_force, outcomes = asyncio.run(_read(settings))
    rule_set = rule_set_of(in_force)
    if as_json:
        for rule in rule_set.rules:
            plain = {
                **_plain(rule),
                "version": in_force.version,
                "counted_since_ms": outcomes.kept_since_ms,
                **_plain_outcome(outcomes.by_rule[rule.id]),
            }
            click.echo(json.dumps(plain, ensure_ascii=False))
    else:
        _print_outcomes(in_force, rule_set.rules, outcomes)
    warn(rule_set)


async def _read(settings: Any) -> tuple[RulesInForce, Outcomes]:
    from monitor.errors import ConfigurationError, Fault
    from monitor.response.history import read_activations
    from monitor.response.outcomes import read_outcomes
    from monitor.stream.rules import read_rules_in_force, rule_set_of

    in_force = await read_rules_in_force(settings)
    if in_force is None:
        fault = Fault(
            "rules",
            "none is in force",
            "run `monitor init`, and a worker with the role enforce; or name files: `monitor rules list PATH`",
        )
        raise ConfigurationError("there are no rules to list yet", [fault])
    activations = await read_activations(settings)
    rule_set = rule_set_of(in_force)
    return in_force, await read_outcomes(settings, rule_set, activations)


def _print_rules(rules: Sequence[Rule]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("Id", "Rule", "Finds", "Level", "Action", "Mode"):
        table.add_column(column, no_wrap=column not in ("Rule", "Finds"))
    for rule in rules:
        table.add_row(rule.id[:8], rule.title, finds(rule), rule.level, response(rule), rule.mode)
    wide_console().print(table)


def _print_outcomes(in_force: RulesInForce, rules: Sequence[Rule], outcomes: Outcomes) -> None:
    from rich.table import Table

    console = wide_console()
    console.print(
        f"Version {in_force.version}, revision {in_force.revision}, in force since"
        f" {moment(in_force.published_ms)} by {in_force.by}"
    )
    table = Table(box=None, pad_edge=False)
    columns = (
        "Id",
        "Rule",
        "Finds",
        "Action",
        "Mode",
        "Findings",
        "Subjects",
        "Credentials",
        "Last",
        "Since",
    )
    for column in columns:
        right = column in ("Findings", "Subjects")
        table.add_column(
            column,
            no_wrap=column not in ("Rule", "Finds", "Credentials"),
            justify="right" if right else "left",
        )
    for rule in rules:
        outcome = outcomes.by_rule[rule.id]
        earlier = f" (+{outcome.earlier:,} earlier)" if outcome.earlier else ""
        table.add_row(
            rule.id[:8],
            rule.title,
            finds(rule),
            response(rule),
            rule.mode,
            f"{outcome.findings:,}{earlier}",
            f"{len(outcome.subjects):,}",
            _credentials(rule, outcome),
            moment(outcome.last_ms) if outcome.last_ms else "never",
            _since(outcome),
        )
    console.print(table)
    if outcomes.kept_since_ms is not None:
        console.print(f"Counted since {moment(outcomes.kept_since_ms)}: older findings are not kept.")


def _credentials(rule: Rule, outcome: RuleOutcome) -> str:
    done = _DONE.get(rule.action)
    if done is None:
        return "alerts only"
    parts = []
    if outcome.did or not outcome.would:
        parts.append(f"{done} {len(outcome.did):,}")
    if outcome.would:
        parts.append(f"would have {done} {len(outcome.would):,}")
    if outcome.held:
        parts.append(f"{len(outcome.held):,} held as too old")
    return ", ".join(parts)


def _since(outcome: RuleOutcome) -> str:
    since = moment(outcome.since_ms) if outcome.since_ms is not None else "?"
    left_ms = _warming_ms(outcome)
    return f"{since}, warming for {span_words(left_ms)} more" if left_ms else since


def _warming_ms(outcome: RuleOutcome) -> int:
    return 0 if outcome.warm_ms is None else max(0, outcome.warm_ms - int(time.time() * 1000))


def _plain(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "title": rule.title,
        "finds": finds(rule),
        "level": rule.level,
        "action": rule.action,
        "mode": rule.mode,
        "ttl_ms": rule.ttl_ms,
        "revision": rule.revision,
    }


def _plain_outcome(outcome: RuleOutcome) -> dict[str, Any]:
    return {
        "since_ms": outcome.since_ms,
        "warming": _warming_ms(outcome) > 0,
        "warm_ms": outcome.warm_ms,
        "findings": outcome.findings,
        "earlier_findings": outcome.earlier,
        "subjects": len(outcome.subjects),
        "would_refuse": len(outcome.would),
        "refused": len(outcome.did),
        "held": len(outcome.held),
        "last_finding_ms": outcome.last_ms,
    }
