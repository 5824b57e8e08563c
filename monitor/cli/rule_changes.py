"""A difference of rule sets on the screen and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from monitor.cli.rule_words import allow_list_warnings, field_text, finds, moment, response, span
from monitor.response.difference import plain_field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monitor.core.rules import AllowList, Rule, RuleSet
    from monitor.response.difference import Difference, RuleChange

#: Credentials whose class changes that are shown; the rest are counted.
_SHOWN_CLASSES: Final = 20
_NAMES: Final = {"timespan_ms": "timespan", "ttl_ms": "ttl", "group_by": "group-by", "kind": "type"}


def print_difference(found: Difference, after: RuleSet) -> None:
    """Write what changes, one thing per line."""
    for line in _lines(found):
        click.echo(line)
    for sentence in allow_list_warnings(after):
        click.echo(f"! {sentence}")


def _lines(found: Difference) -> Iterator[str]:
    for change in found.added:
        rule = change.rule
        yield f"+ rule {_named(rule)}: {finds(rule)}, {response(rule)}, {rule.mode}"
        yield f"    {_window(change)}"
    for rule in found.removed:
        yield f"- rule {_named(rule)}: {finds(rule)}, {response(rule)}, {rule.mode}"
    for change in found.changed:
        yield f"~ rule {_named(change.rule)}"
        for name, (before, now) in change.changes.items():
            label = _NAMES.get(name, name)
            old, new = field_text(name, before), field_text(name, now)
            if len(old) + len(new) < 80:  # noqa: PLR2004 - a line of a terminal, with its label
                yield f"    {label}: {old} → {new}"
            else:
                yield f"    {label}:"
                yield f"      - {old}"
                yield f"      + {new}"
        yield f"    {_window(change)}"
    yield from _allow_lists(found)
    yield from _classes(found)


def _window(change: RuleChange) -> str:
    if change.anew:
        return f"its window starts anew: warming for {span(change.rule.timespan_ms)}"
    return "its window stays"


def _allow_lists(found: Difference) -> Iterator[str]:
    for entry in found.allow_lists_added:
        yield f"+ allow-list {entry.title!r} of {entry.owner}, until {moment(entry.expires_ms)}"
    for entry in found.allow_lists_removed:
        yield f"- allow-list {entry.title!r} of {entry.owner}"
    for before, now in found.allow_lists_changed:
        yield f"~ allow-list {now.title!r}"
        for name in ("title", "owner"):
            if getattr(before, name) != getattr(now, name):
                yield f"    {name}: {getattr(before, name)} → {getattr(now, name)}"
        if before.expires_ms != now.expires_ms:
            yield f"    expires: {moment(before.expires_ms)} → {moment(now.expires_ms)}"


def _classes(found: Difference) -> Iterator[str]:
    for subject, (before, now) in list(found.classes.items())[:_SHOWN_CLASSES]:
        yield f"~ credential {subject}: {before or 'default class'} → {now or 'default class'}"
    more = len(found.classes) - _SHOWN_CLASSES
    if more > 0:
        yield f"~ and {more:,} more credentials change their class"


def plain_difference(found: Difference, after: RuleSet) -> dict[str, Any]:
    """Return the difference as JSON can carry it."""
    return {
        "rules": {
            "added": [{**_plain_rule(change.rule), **_plain_window(change)} for change in found.added],
            "removed": [_plain_rule(rule) for rule in found.removed],
            "changed": [
                {
                    **_plain_rule(change.rule),
                    "changes": {
                        name: [plain_field(before), plain_field(now)]
                        for name, (before, now) in change.changes.items()
                    },
                    **_plain_window(change),
                }
                for change in found.changed
            ],
        },
        "allow_lists": {
            "added": [_plain_allow_list(entry) for entry in found.allow_lists_added],
            "removed": [_plain_allow_list(entry) for entry in found.allow_lists_removed],
            "changed": [
                [_plain_allow_list(before), _plain_allow_list(now)]
                for before, now in found.allow_lists_changed
            ],
        },
        "classes": {subject: list(change) for subject, change in found.classes.items()},
        "warnings": list(allow_list_warnings(after)),
    }


def _named(rule: Rule) -> str:
    return f"{rule.id[:8]} {rule.title!r}"


def _plain_rule(rule: Rule) -> dict[str, Any]:
    return {"id": rule.id, "title": rule.title, "finds": finds(rule)}


def _plain_window(change: RuleChange) -> dict[str, Any]:
    return {
        "window": "anew" if change.anew else "stays",
        "warming_ms": change.rule.timespan_ms if change.anew else 0,
    }


def _plain_allow_list(entry: AllowList) -> dict[str, Any]:
    return {"id": entry.id, "title": entry.title, "owner": entry.owner, "expires_ms": entry.expires_ms}
