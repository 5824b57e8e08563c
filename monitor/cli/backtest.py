"""`monitor backtest`: what rules would have found in recorded events."""

from __future__ import annotations

import logging
import sys
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
    time_range,
)
from monitor.errors import ConfigurationError, Fault

if TYPE_CHECKING:
    from monitor.core.rules import Rule
    from monitor.trial.backtest import Backtest, Hit, Settled

#: Subjects of a rule that the summary shows.
_SHOWN_SUBJECTS = 20


@click.command()
@RULES
@FORMAT
@REALM
@SOURCE
@click.option("--topic", metavar="NAME", help="Read a topic instead of files: a source's, or routed.")
@click.option("--since", metavar="WHEN", help="With --topic: from then on, such as 24h or 2026-03-01T06:00Z.")
@click.option("--until", metavar="WHEN", help="With --topic: until then (exclusive). Default: its end now.")
@JOBS
@click.option(
    "--json-summary",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    metavar="FILE",
    help="Write the summary, with all subjects, as one JSON object there.",
)
@CONFIG
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...|-")
def command(
    *,
    rules: tuple[str, ...],
    format_name: str | None,
    realm: str | None,
    source: str | None,
    topic: str | None,
    since: str | None,
    until: str | None,
    jobs: int | None,
    json_summary: Path | None,
    config: Path | None,
    files: tuple[Path, ...],
) -> None:
    """Run rules over FILEs (one event per line; gzip and zstd too; - is stdin), or over a topic.

    Findings go to stdout as JSON lines, in order of time; the summary to stderr. Several files are one
    timeline, merged by event time, so rotated logs and the logs of several gateways go in together.
    Files know no arrival times: an event counts as come when its file shows its time.

    \b
      monitor backtest --rules pack:default access.log.*.gz
      monitor backtest --rules new.yml --topic events --since 7d -c monitor.yaml
      monitor backtest --topic routed --since 24h -c monitor.yaml

    The last runs the rules that were in force over our own log, and finds what live found, byte for
    byte. A damaged archive ends it with 1: counts over a part would be wrong.
    """
    from monitor.trial.inputs import check_files

    if topic is not None:
        if files:
            raise click.UsageError("give either files or --topic")
        if format_name or realm or source:
            raise click.UsageError(
                "--format, --realm and --source are for files: a topic's stand in monitor.yaml"
            )
        result = _topic(name=topic, since=since, until=until, rules=rules, jobs=jobs, config=config)
    else:
        if not files:
            raise click.UsageError("name files to read, - for stdin, or --topic")
        if since or until:
            raise click.UsageError("--since and --until are for --topic")
        check_files(files)
        what = settled(rules, format_name, realm, source, config)
        result = _files(what, files, jobs)
    for line in result.lines():
        sys.stdout.buffer.write(line + b"\n")
    sys.stdout.flush()
    _summarise(result, json_summary)


def _files(what: Settled, files: tuple[Path, ...], jobs: int | None) -> Backtest:
    from monitor.trial.backtest import backtest_files
    from monitor.trial.feeding import default_jobs
    from monitor.trial.inputs import total_bytes

    size = total_bytes(files)
    with progress("Reading", size) as meter:
        return backtest_files(what, files, jobs=jobs or default_jobs(size), on_read=meter.advance)


def _topic(
    *,
    name: str,
    since: str | None,
    until: str | None,
    rules: tuple[str, ...],
    jobs: int | None,
    config: Path | None,
) -> Backtest:
    from monitor.intake.keys import load_keys
    from monitor.observe.logs import configure_logs
    from monitor.rulebook import load_rules
    from monitor.settings import load_settings
    from monitor.trial.feeding import default_jobs
    from monitor.trial.topics import backtest_routed, backtest_source

    settings = load_settings(config)
    configure_logs("console")
    # Its own lines would repeat, less clearly, what is said here.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    within = time_range(since, until)
    directory = settings.credentials.directory_file
    if name in {"routed", settings.topic("routed")}:
        given = load_rules(rules, directory).rule_set if rules else None
        with progress("Reading routed", None, is_bytes=False) as meter:
            return backtest_routed(
                settings, within, given, say=say, on_read=meter.advance, on_total=meter.expect
            )
    source = next((entry for entry in settings.sources if name in (entry.name, entry.topic)), None)
    if source is None:
        known = ", ".join(["routed", *(entry.name for entry in settings.sources)])
        raise ConfigurationError(
            "nothing to read", [Fault(f"--topic {name}", "no such source", f"there is: {known}")]
        )
    rule_set = load_rules(rules or settings.rules.paths, directory).rule_set
    keys = load_keys(settings.privacy.key_file)
    with progress(f"Reading {source.topic}", None, is_bytes=False) as meter:
        return backtest_source(
            settings,
            source,
            within,
            rule_set,
            keys,
            jobs=jobs or default_jobs(None),
            on_read=meter.advance,
            on_total=meter.expect,
        )


def _summarise(result: Backtest, json_summary: Path | None) -> None:
    import orjson

    if json_summary is not None:
        document = orjson.dumps(result.plain(), option=orjson.OPT_INDENT_2) + b"\n"
        try:
            json_summary.write_bytes(document)
        except OSError as error:
            fault = Fault(str(json_summary), f"cannot be written: {error.strerror}")
            raise ConfigurationError("no summary", [fault]) from None
    say_what_was_read(result.tally, result.feeds, result.seconds, result.cpu_seconds)
    rows = result.counters
    for number, text in (
        (
            rows.get("too_late", 0),
            "rows too late to count: older than timespan + allowed lateness, or after a line whose clock ran ahead",
        ),
        (rows.get("late", 0), "rows late for a window, counted as stragglers"),
        (rows.get("lost_late", 0), "rows late for stragglers too, not counted"),
        (rows.get("clamped", 0), "rows ahead of the log's time, moved back to it"),
        (rows.get("internal", 0), "rows whose judging failed: please report it"),
    ):
        if number:
            say(f"{number:,} {text}")
    for rule in result.rules:
        _summarise_rule(rule, result.of(rule))


def _summarise_rule(rule: Rule, hits: list[Hit]) -> None:
    from rich.table import Table
    from rich.text import Text

    from monitor.trial.backtest import DONE
    from monitor.trial.findings import rfc3339

    would = f"would have been {DONE[rule.action]}" if rule.action != "alert" else "would have raised an alert"
    shadow = " if its mode were enforce" if rule.mode == "shadow" and rule.action != "alert" else ""
    count = f"{len(hits):,} {rule.axis} subject{'' if len(hits) == 1 else 's'}"
    say(f"{rule.title} ({rule.id[:8]}): {count} {would}{shadow}")
    if not hits:
        return
    table = Table(box=None, pad_edge=False)
    for name in ("Subject", "First", "Event", "Patients", "Findings"):
        table.add_column(name, no_wrap=True, justify="right" if name in ("Patients", "Findings") else "left")
    for hit in hits[:_SHOWN_SUBJECTS]:
        patients = f"{'≥ ' if hit.capped else ''}{hit.patients:,}" if hit.patients else "-"
        # Text: a credential's name may look like rich's markup.
        table.add_row(
            Text(hit.subject), rfc3339(hit.first_ms), Text(hit.event_id), patients, f"{hit.findings:,}"
        )
    print_table(table, to_stderr=True)
    if len(hits) > _SHOWN_SUBJECTS:
        say(f"… and {len(hits) - _SHOWN_SUBJECTS:,} more (--json-summary has all)")
