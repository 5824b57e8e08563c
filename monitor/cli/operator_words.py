"""What operators' commands have in common: options, safe text, times, tables, JSON."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from monitor.cli.rule_words import moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from monitor.wire.views import CredentialView, IncidentView

#: Control characters, and those that turn the direction of a line or break it.
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000))
_SECOND_MS: Final = 1000
#: A person's own credential is shown by its beginning: the rest is nobody's business.
_SHOWN_OF_PEOPLE: Final = 8


def plain(text: str) -> str:
    """Return a text that cannot move the cursor, change colours or hide behind others on a terminal."""
    return _UNSAFE.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def age(milliseconds: int) -> str:
    """Return a duration as a person says it, in its two largest units."""
    rest = max(0, milliseconds)
    parts = []
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def when(epoch_ms: int | None, now_ms: int) -> str:
    """Return a time and how far it is from now, or a dash where there is none."""
    if epoch_ms is None:
        return "-"
    if epoch_ms > now_ms:
        return f"{moment(epoch_ms)} (in {age(epoch_ms - now_ms)})"
    return f"{moment(epoch_ms)} ({age(now_ms - epoch_ms)} ago)"


def shown(view: CredentialView | IncidentView) -> str:
    """Return a credential as it is shown: ``realm/id``, of people's own only the beginning."""
    name = f"{view.id[:_SHOWN_OF_PEOPLE]}…" if view.kind in {"session", "account"} else view.id
    return plain(f"{view.realm}/{name}")


def named(subject: str, options: str = "") -> str:
    """Return an argument as a shell takes it, with the options that reach this installation."""
    return shlex.quote(subject) + options


def echo_json(value: Any) -> None:
    """Write JSON in ASCII: what a terminal would act on is escaped."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=True))


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table; one that goes elsewhere than to a terminal is not cut."""
    from rich.table import Table
    from rich.text import Text

    from monitor.cli.rule_words import wide_console

    made = Table(*headings, box=None, pad_edge=False)
    for column in made.columns:
        column.overflow = "fold"
    for row in rows:
        made.add_row(*(Text(plain(cell)) for cell in row))
    wide_console().print(made)


def pairs(rows: Iterable[tuple[str, str]]) -> None:
    """Write lines of a label and a text; those without a text are left out."""
    kept = [(label, text) for label, text in rows if text]
    width = max((len(label) for label, _ in kept), default=0)
    for label, text in kept:
        click.echo(f"{label:<{width}}  {plain(text)}")


def duration(_context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    """Return the milliseconds of an option such as ``4h``."""
    from monitor.settings.values import parse_duration

    if text is None:
        return None
    try:
        milliseconds = int(parse_duration(text).total_seconds() * 1000)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if milliseconds < _SECOND_MS and not (milliseconds == 0 and parameter.name == "grace"):
        raise click.BadParameter("expected at least a second")
    return milliseconds


def _decorated(options: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


_REACH: Final = (
    click.option(
        "--json", "as_json", is_flag=True, help="JSON for machines; docs/response.md has its shape."
    ),
    click.option("--server", multiple=True, metavar="URL", help="Default: operator.servers."),
    click.option(
        "--identity",
        type=click.Path(path_type=Path),
        metavar="KEY",
        help="Your SSH key, or its public half where the agent has it. Default: operator.identity_file.",
    ),
    click.option("-c", "--config", type=click.Path(path_type=Path), help="Default: ./monitor.yaml"),
)
#: Options of every command that reaches the operator API.
REACH: Final = _decorated(_REACH)
#: Options of every act.
ACT: Final = _decorated(
    (
        click.option("--reason", required=True, metavar="TEXT", help="Why; it stands in the ledger."),
        *_REACH,
    )
)
YES: Final = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
#: Options of acts that gateways must follow.
WAIT: Final = _decorated(
    (
        click.option(
            "--wait",
            type=click.Choice(["accepted", "enforced"]),
            is_flag=False,
            flag_value="accepted",
            help="Wait until every gateway has accepted it, or until a refusal was proven.",
        ),
        click.option(
            "--timeout",
            callback=duration,
            default="60s",
            show_default=True,
            metavar="DURATION",
            help="How long to wait.",
        ),
    )
)
