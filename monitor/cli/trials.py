"""What the commands share that try rules on recorded events: their options, progress and words."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from monitor.errors import ConfigurationError, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.progress import Progress, TaskID

    from monitor.settings import Settings, SourceSettings
    from monitor.trial.backtest import Settled
    from monitor.trial.reading import Tally
    from monitor.trial.topics import Range

MAX_JOBS = 16
_PIPED_WIDTH = 160

RULES = click.option(
    "--rules",
    "rules",
    multiple=True,
    metavar="PATH",
    help="A rule file, a folder, or pack:default; repeatable.",
)
FORMAT = click.option(
    "--format", "format_name", metavar="NAME", help="How lines are read. Default: canonical"
)
REALM = click.option("--realm", metavar="NAME", help="Where credentials live by default. Default: default")
SOURCE = click.option(
    "--source", metavar="NAME", help="A source of monitor.yaml: its format and realm. Default: the only one."
)
JOBS = click.option(
    "--jobs",
    type=click.IntRange(1, MAX_JOBS),
    help="Processes that decode, and as many that judge. Default: cores.",
)
CONFIG = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A monitor.yaml: its key file, realm, lateness and classes of credentials.",
)


def settled(
    rules: Sequence[str], format_name: str | None, realm: str | None, source: str | None, config: Path | None
) -> Settled:
    """Return what the options say; raises ConfigurationError with what is wrong."""
    from monitor.intake.formats import find_format
    from monitor.intake.inputs import Input
    from monitor.intake.keys import load_keys, new_keys
    from monitor.rulebook import load_rules
    from monitor.settings import load_settings
    from monitor.trial.backtest import Settled

    if config is None:
        if not rules:
            raise click.UsageError("--rules is needed, or -c with the rules of monitor.yaml")
        if source is not None:
            raise click.UsageError("--source is a name in monitor.yaml: say -c too")
        find_format(format_name or "canonical", "--format")
        rule_set = load_rules(rules).rule_set
        say("no key file: patients, records and addresses are pseudonyms of this run alone (see -c)")
        return Settled(rule_set, new_keys(), format_name or "canonical", realm or "default")
    settings = load_settings(config)
    of_source = find_source(settings, source)
    form = format_name or (of_source.format if of_source else "canonical")
    routes, formats = tuple(of_source.routes) if of_source else (), tuple(settings.formats)
    chosen = Input(
        form, realm or (of_source.realm if of_source else "default"), routes=routes, formats=formats
    )
    chosen.decoder()
    return Settled(
        load_rules(rules or settings.rules.paths, settings.credentials.directory_file).rule_set,
        load_keys(settings.privacy.key_file),
        chosen.format,
        chosen.realm,
        lateness_ms(settings),
        routes,
        formats,
    )


def lateness_ms(settings: Settings) -> int:
    """Return `detect.allowed_lateness` in milliseconds."""
    return int(settings.detect.allowed_lateness.total_seconds() * 1000)


def find_source(settings: Settings, name: str | None) -> SourceSettings | None:
    """Return a source by its name; without a name the only one, or None where there are several."""
    if name is None:
        return settings.sources[0] if len(settings.sources) == 1 else None
    for source in settings.sources:
        if source.name == name:
            return source
    known = ", ".join(source.name for source in settings.sources)
    fault = Fault(f"--source {name}", "no such source", f"there is: {known}")
    raise ConfigurationError("nothing to read", [fault])


def time_range(since: str | None, until: str | None) -> Range:
    """Return the range of two times as people write them: ``24h`` back, or RFC 3339."""
    from datetime import UTC, datetime

    from monitor.stream.starts import parse_start
    from monitor.trial.topics import Range

    now = datetime.now(UTC)
    whole = Range()
    times: list[int | None] = []
    faults: list[Fault] = []
    for option, text in (("--since", since), ("--until", until)):
        at_ms = None
        if text is not None and text not in {"earliest", "latest"}:
            try:
                at_ms = parse_start(text, now).at_ms
            except ConfigurationError as error:
                faults += [Fault(option, fault.problem, fault.remedy) for fault in error.faults]
        times.append(at_ms)
    if faults:
        raise ConfigurationError("unknown time", faults)
    since_ms, until_ms = times
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        raise ConfigurationError("no time between", [Fault("--until", "is not after --since")])
    return Range(
        whole.since_ms if since_ms is None else since_ms, whole.until_ms if until_ms is None else until_ms
    )


def say(text: str) -> None:
    """Say a sentence on stderr: stdout is for data."""
    click.echo(f"monitor: {text}", err=True)


def say_what_was_read(
    tally: Tally, feeds: Sequence[str], seconds: float, cpu_seconds: float | None = None
) -> None:
    """Say how much was read, and what was not: by reason, with the first places, never with content."""
    from monitor.trial.reading import NAMED_RECORDS

    rate = tally.events / seconds if seconds else 0.0
    work = "" if cpu_seconds is None else f" with {cpu_seconds:.1f} s of processor time"
    say(f"{tally.records:,} records, {tally.events:,} events in {seconds:.1f} s: {rate:,.0f} events/s{work}")
    for reason, number in sorted(tally.rejected.items()):
        places = ", ".join(f"{feeds[feed]}:{position}" for feed, position in tally.places[reason])
        more = ", …" if number > NAMED_RECORDS else ""
        say(f"{number:,} rejected as {reason}: {places}{more}")
    if tally.anonymous:
        say(f"{tally.anonymous:,} events without an authenticated credential")
    if tally.ahead:
        say(f"{tally.ahead:,} events ahead of now: a clock is wrong")


def print_table(table: Any, *, to_stderr: bool) -> None:
    """Print a table of rich, in full width where it is piped."""
    from rich.console import Console

    console = Console(stderr=to_stderr)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    console.print(table)


class Meter:
    """How far a command is: says nothing where nobody looks."""

    def __init__(self, bar: Progress | None, task: TaskID | None) -> None:
        self._bar = bar
        self._task = task

    def advance(self, step: int) -> None:
        """Tell of so much more done."""
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, step)

    def expect(self, total: int) -> None:
        """Tell how much there is, once that is known."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=total)


@contextmanager
def progress(title: str, total: int | None, *, is_bytes: bool = True) -> Iterator[Meter]:
    """Show on a terminal how far it is and how long it will take."""
    if not sys.stderr.isatty():
        yield Meter(None, None)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn() if is_bytes else MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield Meter(bar, bar.add_task(title, total=total))
