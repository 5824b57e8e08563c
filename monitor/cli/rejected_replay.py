"""`monitor rejected replay`: send records again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.settings import Settings
    from monitor.wire.rejected import Letter


@click.command()
@click.option("--all", "everything", is_flag=True, help="All letters that the other options leave.")
@click.option("--topic", default=None, help="Only those of one source's topic.")
@click.option("--reason", default=None, help="Only those of one reason, such as unknown_field.")
@click.option(
    "--again", is_flag=True, help="Also what was sent again before: it counts twice if it was read."
)
@click.option("--dry-run", is_flag=True, help="Only say what would be sent.")
@click.option("-c", "--config", type=click.Path(path_type=Path), help="Default: ./monitor.yaml")
@click.argument("numbers", nargs=-1, type=click.IntRange(0))
def command(
    *,
    numbers: Sequence[int],
    everything: bool,
    topic: str | None,
    reason: str | None,
    again: bool,
    dry_run: bool,
    config: Path | None,
) -> None:
    """Send the records of dead letters NUMBERS again, once their format or routes are mended.

    They enter by the topic `replay`: at their old place they would pass for known ones. Each is sent once
    unless --again says otherwise; one that is rejected again is not sent by --all. Exit code 1 where a
    record could not be sent.
    """
    from monitor.cli.rejected_show import find
    from monitor.errors import ExitCode
    from monitor.observe.logs import configure_logs
    from monitor.settings import load_settings
    from monitor.stream.replays import chosen, read_letters, sent_before

    if bool(numbers) == (everything or topic is not None or reason is not None):
        raise click.UsageError("say which letters: their numbers, or --all, --topic, --reason")
    configure_logs("console")
    settings = load_settings(config)
    letters = asyncio.run(read_letters(settings))
    if numbers:
        letters = [find(letters, number) for number in numbers]
    own = settings.topic("replay")
    wanted = chosen(
        letters,
        lambda letter: (
            bool(numbers)
            or (
                letter.topic not in {own, settings.topic("routed")}
                and (topic is None or letter.topic == topic)
                and (reason is None or letter.reason == reason)
            )
        ),
    )
    before = frozenset() if again else asyncio.run(sent_before(settings))
    known = [letter for letter in wanted if letter.place in before]
    todo = [letter for letter in wanted if letter.place not in before]
    if known:
        click.echo(f"monitor: {len(known)} were sent again before; --again sends them once more", err=True)
    if dry_run:
        for letter in todo:
            click.echo(f"letter {letter.number}: {letter.place} ({letter.reason})")
        return
    sent, failed = asyncio.run(_send(settings, todo))
    click.echo(f"monitor: {sent} sent to {own}, {failed} not", err=True)
    if failed:
        raise click.exceptions.Exit(ExitCode.FAILED)


async def _send(settings: Settings, letters: Sequence[Letter]) -> tuple[int, int]:
    from monitor.stream.replays import Replaying

    sent = failed = 0
    async with Replaying(settings) as replaying:
        for letter in letters:
            why_not = await replaying.send(letter)
            if why_not is None:
                sent += 1
            else:
                failed += 1
                click.echo(f"letter {letter.number}: {letter.place}: {why_not}", err=True)
    return sent, failed
