"""`monitor rejected show`: one dead letter."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.rejected_list import time_text
from monitor.errors import ConfigurationError, Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.wire.rejected import Letter


@click.command()
@click.option("--payload", is_flag=True, help="Also the record itself: it may hold health data, and secrets.")
@click.option("-c", "--config", type=click.Path(path_type=Path), help="Default: ./monitor.yaml")
@click.argument("number", type=click.IntRange(0))
def command(number: int, *, payload: bool, config: Path | None) -> None:
    """Show dead letter NUMBER (`monitor rejected list` has the numbers).

    With --payload its record is printed, from the letter or from the source's topic, with everything that
    is not printable escaped.
    """
    from monitor.observe.logs import configure_logs
    from monitor.settings import load_settings
    from monitor.stream.replays import read_letters, record_of

    configure_logs("console")
    settings = load_settings(config)
    letter = find(asyncio.run(read_letters(settings)), number)
    for name, value in (
        ("letter", letter.number),
        ("record", letter.place),
        ("at", f"{time_text(letter.at_ms)} UTC"),
        ("format", letter.format),
        ("reason", letter.reason),
        ("detail", letter.detail),
        ("kept", "yes" if letter.payload is not None else "no: privacy.keep_rejected_payload is false"),
    ):
        click.echo(f"{name:8} {value}")
    if not payload:
        return
    raw = asyncio.run(record_of(settings, letter))
    if isinstance(raw, str):
        raise ConfigurationError("the record cannot be shown", [Fault(letter.place, raw)])
    click.echo()
    click.echo(escaped(raw.value))


def find(letters: Sequence[Letter], number: int) -> Letter:
    """Return a letter; raises ConfigurationError where there is none."""
    for letter in letters:
        if letter.number == number:
            return letter
    remedy = "`monitor rejected list` shows those that are kept"
    raise ConfigurationError("no such dead letter", [Fault(f"letter {number}", "is not kept", remedy)])


def escaped(value: bytes) -> str:
    """Return bytes as text that does nothing to a terminal."""
    text = value.decode("utf-8", "backslashreplace")
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )
