"""`monitor rejected list`: what was rejected, by reason or one by one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.wire.rejected import Letter


@click.command()
@click.option("--each", is_flag=True, help="Every letter instead of one line for each reason.")
@click.option("--topic", default=None, help="Only those of one source's topic.")
@click.option("--reason", default=None, help="Only those of one reason, such as not_json.")
@click.option("-n", "--limit", type=click.IntRange(1), default=50, show_default=True, help="Newest so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.option("-c", "--config", type=click.Path(path_type=Path), help="Default: ./monitor.yaml")
def command(
    *, each: bool, topic: str | None, reason: str | None, limit: int, as_json: bool, config: Path | None
) -> None:
    """List the dead letters that Kafka keeps; none of them shows anything of its record."""
    from monitor.observe.logs import configure_logs
    from monitor.settings import load_settings
    from monitor.stream.replays import read_letters

    configure_logs("console")
    letters = [
        letter
        for letter in asyncio.run(read_letters(load_settings(config)))
        if (topic is None or letter.topic == topic) and (reason is None or letter.reason == reason)
    ]
    if as_json:
        import json

        for letter in letters[-limit:]:
            click.echo(json.dumps(plain(letter)))
    elif each:
        _each(letters[-limit:])
    else:
        _by_reason(letters, limit)
    withheld = sum(letter.withheld for letter in letters)
    if withheld:
        click.echo(f"monitor: {withheld:,} more were rejected without a letter, in floods", err=True)


def plain(letter: Letter) -> dict[str, object]:
    """Return a letter without its record, as JSON has it."""
    return {
        "letter": letter.number,
        "place": letter.place,
        "format": letter.format,
        "reason": letter.reason,
        "detail": letter.detail,
        "at_ms": letter.at_ms,
        "withheld": letter.withheld,
        "payload_kept": letter.payload is not None,
    }


def time_text(at_ms: int) -> str:
    """Return a time as people read it."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _each(letters: Sequence[Letter]) -> None:
    from rich.table import Table

    from monitor.cli.trials import print_table

    table = Table("Letter", "At (UTC)", "Record", "Format", "Why", box=None)
    for letter in letters:
        why = f"{letter.reason}: {letter.detail}"
        table.add_row(str(letter.number), time_text(letter.at_ms), letter.place, letter.format, why)
    print_table(table, to_stderr=False)


def _by_reason(letters: Sequence[Letter], limit: int) -> None:
    from collections import defaultdict

    from rich.table import Table

    from monitor.cli.trials import print_table

    groups: defaultdict[tuple[str, str, str, str], list[Letter]] = defaultdict(list)
    for letter in letters:
        groups[letter.topic, letter.format, letter.reason, letter.detail].append(letter)
    table = Table("Letters", "Newest (UTC)", "Number", "Topic", "Format", "Why", box=None)
    for (topic, form, reason, detail), found in sorted(groups.items(), key=lambda item: -len(item[1]))[
        :limit
    ]:
        newest = found[-1]
        count, number = f"{len(found):,}", str(newest.number)
        table.add_row(count, time_text(newest.at_ms), number, topic, form, f"{reason}: {detail}")
    print_table(table, to_stderr=False)
