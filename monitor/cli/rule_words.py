"""Rules in words, for all commands that show some: what one finds, its condition, times, warnings."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from monitor.core.rules import EVENT_TIME, AllOf, AnyOf, Base, Match, Negation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from monitor.core.rules import Condition, Rule, RuleSet

PATHS: Final = click.argument("paths", nargs=-1, metavar="[PATH]...")
CONFIG: Final = click.option(
    "-c", "--config", type=click.Path(path_type=Path), help="Default: ./monitor.yaml"
)

#: How long before its end an allow-list is warned of, in days.
_WARNED_DAYS: Final = 14
_DAY_MS: Final = 86_400_000
_UNITS: Final = ((_DAY_MS, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"))
_PIPED_WIDTH: Final = 200
_OPERATORS: Final = {
    "eq": "=", "gt": ">", "gte": "≥", "lt": "<", "lte": "≤", "re": "matches", "cidr": "in",
    "contains": "contains", "startswith": "starts with", "endswith": "ends with",
}  # fmt: skip


def finds(rule: Rule) -> str:
    """Return what a rule looks for, such as ``50 different patients per principal in 10m``."""
    if rule.kind == "value_sum":
        counted = f"{rule.counted} in all"
    else:
        counted = "events" if rule.counted is None else f"different {rule.counted}s"
    return f"{rule.threshold:,} {counted} per {' and '.join(rule.group_by)} in {span(rule.timespan_ms)}"


def response(rule: Rule) -> str:
    """Return what follows a finding, such as ``suspend 24h``."""
    return rule.action if rule.ttl_ms is None else f"{rule.action} {span(rule.ttl_ms)}"


def span(milliseconds: int) -> str:
    """Return a duration in the largest unit that it is a multiple of."""
    for size, unit in _UNITS:
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def moment(epoch_ms: int) -> str:
    """Return a time to the second, in UTC."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def condition(given: Condition) -> str:
    """Return a condition as one line."""
    match given:
        case Match(field, "exists", value):
            return f"{field} is {'there' if value else 'absent'}"
        case Match(field, operator, value):
            if field == EVENT_TIME and isinstance(value, int):
                return f"time {_OPERATORS[operator]} {moment(value)}"
            return (
                f"{field} {_OPERATORS[operator]} {value!r}"
                if isinstance(value, str)
                else (f"{field} {_OPERATORS[operator]} {value}")
            )
        case AllOf(parts):
            return " and ".join(_inner(part) for part in parts) or "every event"
        case AnyOf(parts):
            return " or ".join(_inner(part) for part in parts) or "no event"
        case Negation(part):
            return f"not {_inner(part)}"


def _inner(part: Condition) -> str:
    text = condition(part)
    return f"({text})" if isinstance(part, AllOf | AnyOf) and len(part.parts) > 1 else text


def field_text(name: str, value: Any) -> str:
    """Return the value of a rule's field as a person reads it."""
    if value is None or value in ("", ()):
        return "none"
    if name in ("timespan_ms", "ttl_ms"):
        return span(value)
    if isinstance(value, Match | AllOf | AnyOf | Negation):
        return condition(value)
    if name == "aliases":
        return "; ".join(_base(base) for base in value)
    if isinstance(value, tuple):
        return ", ".join(str(part) for part in value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _base(base: Base) -> str:
    return f"{condition(base.condition)} by {', '.join(base.group_by)}"


def allow_list_warnings(rule_set: RuleSet, now_ms: int | None = None) -> Iterator[str]:
    """Yield a sentence for each allow-list that has ended, or ends within two weeks."""
    now_ms = int(time.time() * 1000) if now_ms is None else now_ms
    for entry in rule_set.allow_lists:
        left_days = (entry.expires_ms - now_ms) / _DAY_MS
        name = f"allow-list {entry.title!r} of {entry.owner}"
        if left_days <= 0:
            yield f"{name} ended at {moment(entry.expires_ms)}: it leaves out nobody; renew it or remove it"
        elif left_days <= _WARNED_DAYS:
            yield f"{name} ends at {moment(entry.expires_ms)}, in {span_words(entry.expires_ms - now_ms)}"


def span_words(milliseconds: int) -> str:
    """Return a duration roughly: in days, hours or minutes, at least one."""
    days, hours = milliseconds // _DAY_MS, milliseconds // 3_600_000
    if days > 1:
        return f"{days} days"
    return f"{hours} hours" if hours > 1 else f"{max(1, milliseconds // 60_000)} min"


def warn(rule_set: RuleSet) -> None:
    """Write the warnings about allow-lists on stderr."""
    for sentence in allow_list_warnings(rule_set):
        click.echo(f"warning: {sentence}", err=True)


def wide_console() -> Console:
    """Return a console whose tables are not cut where nobody looks at a terminal."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    return console
