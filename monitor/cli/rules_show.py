"""`monitor rules show`: one rule in full."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from monitor.cli.rule_words import CONFIG, PATHS, condition, finds, response

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from monitor.core.rules import Rule, RuleSet
    from monitor.rulebook.documents import Document


@dataclass(frozen=True, slots=True)
class _Written:
    """A rule's document as a person wrote it, and the text of it."""

    document: Document
    text: str


@click.command()
@click.argument("rule_id", metavar="ID")
@PATHS
@CONFIG
def command(rule_id: str, paths: tuple[str, ...], config: Path | None) -> None:
    """Show one rule: what it finds, what follows, when it is wrong, and its text.

    ID is the beginning of a rule's id, its name, or its title. The rule is that of the set in force,
    or of the files at PATH.
    """
    rule_set, texts = _read(paths, config)
    written = _written(texts)
    rule = _find(rule_set, rule_id, written)
    own = [entry for entry in written if entry.document.value.get("id") in (rule.id, rule.id.upper())]
    for line in _lines(rule, own):
        click.echo(line)
    for entry in [*own, *_bases(own, written)]:
        click.echo(f"\n# {entry.document.file}:{entry.document.line}\n{entry.text}")


def _read(paths: tuple[str, ...], config: Path | None) -> tuple[RuleSet, Mapping[str, str]]:
    from monitor.core.rules import RuleSet
    from monitor.observe.logs import configure_logs
    from monitor.rulebook import load_rules
    from monitor.settings import load_settings
    from monitor.stream.rules import read_rules_in_force, rule_set_of

    if paths:
        loaded = load_rules(paths)
        return loaded.rule_set, loaded.texts
    settings = load_settings(config)
    configure_logs("console")
    in_force = asyncio.run(read_rules_in_force(settings))
    if in_force is None:
        return RuleSet(()), {}
    return rule_set_of(in_force), in_force.text


def _written(texts: Mapping[str, str]) -> list[_Written]:
    from monitor.rulebook.documents import parse

    found = []
    for name, text in texts.items():
        lines = text.splitlines()
        for document in parse(name, text, []):
            end = document.node.end_mark.line
            body = "\n".join(lines[document.line - 1 : end + 1 if document.node.end_mark.column else end])
            found.append(_Written(document, body.rstrip()))
    return found


def _find(rule_set: RuleSet, wanted: str, written: Sequence[_Written]) -> Rule:
    name = wanted.casefold()
    named = {
        entry.document.value.get("id") for entry in written if entry.document.value.get("name") == wanted
    }
    exact = [rule for rule in rule_set.rules if name in (rule.id, rule.title.casefold()) or rule.id in named]
    found = exact or [
        rule for rule in rule_set.rules if rule.id.startswith(name) or name in rule.title.casefold()
    ]
    if len(found) == 1:
        return found[0]
    there = "; ".join(f"{rule.id[:8]} {rule.title}" for rule in (found or rule_set.rules))
    if not there:
        raise click.UsageError("no rule set is in force; name files, or run `monitor init` and a worker")
    problem = f"{len(found)} rules are called so" if found else "no rule is called so"
    raise click.UsageError(f"{wanted}: {problem}; there is: {there}")


def _lines(rule: Rule, own: Sequence[_Written]) -> Iterator[str]:
    yield rule.title
    yield f"  id               {rule.id}"
    yield f"  revision         {rule.revision}"
    yield f"  finds            {finds(rule)}"
    for base in rule.bases:
        yield f"  counts events    {condition(base.condition)}"
    yield f"  level            {rule.level}"
    yield f"  response         {response(rule)}, {rule.mode}"
    if rule.description:
        yield f"  description      {' '.join(rule.description.split())}"
    for label, texts in (
        ("false positives", rule.falsepositives),
        ("references", _references(own)),
        ("runbook", [rule.runbook] if rule.runbook else []),
    ):
        for number, text in enumerate(texts):
            yield f"  {label if not number else '':<16} {text}"


def _references(own: Sequence[_Written]) -> list[str]:
    found: list[str] = []
    for entry in own:
        references: Any = entry.document.value.get("references")
        found += [str(reference) for reference in references] if isinstance(references, list) else []
    return found


def _bases(own: Sequence[_Written], written: Sequence[_Written]) -> list[_Written]:
    """Return the base rules that a rule names, and the filters on them."""
    names: set[str] = set()
    for entry in own:
        correlation = entry.document.value.get("correlation")
        rules = correlation.get("rules") if isinstance(correlation, dict) else None
        names |= {rules} if isinstance(rules, str) else {str(name) for name in rules or ()}
    bases = [entry for entry in written if names & _called(entry) and "detection" in entry.document.value]
    names = {name for base in bases for name in _called(base)}
    filters = []
    for entry in written:
        applied = entry.document.value.get("filter")
        rules = applied.get("rules") if isinstance(applied, dict) else None
        if rules == "any" or (isinstance(rules, list) and names & {str(rule) for rule in rules}):
            filters.append(entry)
    return [*bases, *filters]


def _called(entry: _Written) -> set[str]:
    value = entry.document.value
    return {str(value[key]) for key in ("name", "id") if key in value}
