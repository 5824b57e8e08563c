"""`monitor rules tune`: what each threshold of a rule would have found in recorded events."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.trials import (
    CONFIG,
    FORMAT,
    JOBS,
    REALM,
    RULES,
    SOURCE,
    print_table,
    progress,
    say,
    say_what_was_read,
    settled,
)

if TYPE_CHECKING:
    from rich.table import Table

    from monitor.trial.tune import Spread, Tuned


@click.command()
@RULES
@FORMAT
@REALM
@SOURCE
@JOBS
@click.option("--json", "as_json", is_flag=True, help="One JSON object per rule instead of the tables.")
@CONFIG
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...|-")
def command(
    *,
    rules: tuple[str, ...],
    format_name: str | None,
    realm: str | None,
    source: str | None,
    jobs: int | None,
    as_json: bool,
    config: Path | None,
    files: tuple[Path, ...],
) -> None:
    """Show for each rule how high its subjects ever counted in FILEs, and whom each threshold would find.

    Take a threshold that nobody reached who does what they should, with room for a busy day: the
    largest counts are listed, so that you can ask who they are.
    """
    from monitor.cli.rule_words import finds
    from monitor.trial.feeding import default_jobs
    from monitor.trial.inputs import check_files, total_bytes
    from monitor.trial.tune import tune_files

    check_files(files)
    what = settled(rules, format_name, realm, source, config)
    size = total_bytes(files)
    with progress("Reading", size) as meter:
        tuning = tune_files(what, files, jobs=jobs or default_jobs(size), on_read=meter.advance)
    for tuned in tuning.rules:
        if as_json:
            _print_json(tuned)
        else:
            click.echo(f"{tuned.rule.title} ({tuned.rule.id[:8]}): {finds(tuned.rule)}")
            _print_tables(tuned)
    say_what_was_read(tuning.tally, tuning.feeds, tuning.seconds)
    if tuning.too_late:
        say(
            f"{tuning.too_late:,} rows too late to count: older than timespan + allowed lateness, or after a line whose clock ran ahead"
        )


def _print_json(tuned: Tuned) -> None:
    import orjson

    click.echo(orjson.dumps(tuned.plain()))


def _print_tables(tuned: Tuned) -> None:
    from rich.table import Table
    from rich.text import Text

    if not tuned.spread.subjects:
        click.echo("  no event that it counts\n")
        return
    spread = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2))
    for name in ("Highest count per subject", "Subjects", "p50", "p90", "p99", "max"):
        spread.add_column(name, justify="left" if name.startswith("H") else "right")
    _add_spread(spread, f"all, by {' and '.join(tuned.rule.group_by)}", tuned.spread)
    if len(tuned.by_class) > 1:
        for name, of in tuned.by_class.items():
            _add_spread(spread, f"class {name}", of)
    print_table(spread, to_stderr=False)
    found = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2))
    for name in ("Threshold", "Subjects found", "Of all"):
        found.add_column(name, justify="right")
    found.add_column("")
    for threshold, subjects in tuned.thresholds:
        share = f"{100 * subjects / tuned.spread.subjects:.2f} %"
        own = "the rule's own" if threshold == tuned.rule.threshold else ""
        found.add_row(f"{threshold:,}", f"{subjects:,}", share, own)
    print_table(found, to_stderr=False)
    top = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2))
    top.add_column("Highest", justify="right")
    for name in ("Subject", "Class", "When"):
        top.add_column(name, no_wrap=True)
    for one in tuned.top:
        subject = " ".join([one.subject, *(f"{name}={value}" for name, value in one.group.items())])
        top.add_row(_count(one.count), Text(subject), one.credential_class or "", one.time)
    print_table(top, to_stderr=False)
    click.echo()


def _add_spread(table: Table, name: str, spread: Spread) -> None:
    counts = (spread.p50, spread.p90, spread.p99, spread.max)
    table.add_row(name, f"{spread.subjects:,}", *map(_count, counts))


def _count(count: int) -> str:
    from monitor.trial.peaks import LARGEST_THRESHOLD

    return f"{'≥ ' if count >= LARGEST_THRESHOLD else ''}{count:,}"
