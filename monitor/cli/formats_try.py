"""`monitor formats try`: what each line of a file becomes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from monitor.cli.format_options import described, lines_of, masked, options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from monitor.intake.event import Event

#: Patients of one event that are shown.
_SHOWN_PATIENTS: Final = 5


@click.command()
@options
@click.option(
    "-n", "--lines", "limit", type=click.IntRange(1), default=20, show_default=True, help="At most."
)
@click.option("--raw", is_flag=True, help="Show ids of patients and records, and addresses, as they are.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True, allow_dash=True))
def command(
    *,
    name: str,
    file: Path,
    config: Path | None,
    source: str | None,
    routes: Sequence[str],
    files: Sequence[Path],
    realm: str | None,
    limit: int,
    raw: bool,
    as_json: bool,
) -> None:
    """Show what the lines of FILE (or stdin: -) become in the format NAME, or where and why not.

    Contacts nothing. Ids of patients and records, sessions and addresses are cut short unless --raw.
    Exit code 1 where a line cannot be read.
    """
    from itertools import islice

    from monitor.errors import ExitCode, RejectedRecordError
    from monitor.intake.event import PartlyRead

    secrets: dict[str, int] = {}

    def note(place: str) -> None:
        secrets[place] = secrets.get(place, 0) + 1

    read = described(name, config, source, routes=routes, files=files, realm=realm)
    decode = read.decoder(note)
    wrong = 0
    for number, line in islice(lines_of(file), limit):
        try:
            events = decode(line)
        except RejectedRecordError as error:
            wrong += 1
            _tell(number, [], [(None, error.reason, error.detail)], raw=raw, as_json=as_json)
            continue
        refusals: list[tuple[int | None, str, str]] = []
        if isinstance(events, PartlyRead):
            refusals += events.refusals
            wrong += 1
        _tell(number, events, refusals, raw=raw, as_json=as_json)
    for place, count in sorted(secrets.items()):
        remedy = f"`monitor formats show {name}` says how to keep it out"
        click.echo(f"monitor: {place} holds a secret in {count} record(s): dropped; {remedy}", err=True)
    if wrong:
        click.echo(f"monitor: {wrong} line(s) cannot be read", err=True)
        raise click.exceptions.Exit(ExitCode.FAILED)


def _tell(
    number: int,
    events: Sequence[Event],
    refusals: Sequence[tuple[int | None, str, str]],
    *,
    raw: bool,
    as_json: bool,
) -> None:
    if as_json:
        import json

        told = [dict(_fields(event, raw=raw)) for event in events]
        wrong = [{"event": at, "reason": reason, "detail": detail} for at, reason, detail in refusals]
        click.echo(json.dumps({"line": number, "events": told, "rejected": wrong}))
        return
    for event in events:
        click.echo(f"line {number}")
        for name, value in _fields(event, raw=raw):
            click.echo(f"  {name:10} {_text(value)}")
        if event.principal is None:
            click.echo("  (no authenticated credential: it counts for none)")
    for at, reason, detail in refusals:
        place = "" if at is None else f", event {at} of the batch"
        click.echo(f"line {number}{place}: rejected, {reason}: {detail}")
    if not events and not refusals:
        click.echo(f"line {number}: no event of a request, left out")


def _fields(event: Event, *, raw: bool) -> Iterator[tuple[str, Any]]:
    """Yield what an event holds, in the order in which people ask for it."""
    from datetime import UTC, datetime

    show = _clean if raw else masked
    yield "time", datetime.fromtimestamp(event.time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    yield "status", event.status
    if event.principal is not None:
        person = event.principal_kind in {"session", "account"}
        principal = show(event.principal) if person else event.principal
        yield "credential", f"{event.realm}/{principal} ({event.principal_kind})"
    patients = [
        show(patient) if tenant is None else f"{show(patient)} of {tenant}"
        for patient, tenant in event.patients
    ]
    if patients:
        more = len(patients) - _SHOWN_PATIENTS
        yield "patients", patients[:_SHOWN_PATIENTS] + ([f"and {more} more"] if more > 0 else [])
    for name, value in (
        ("tenant", event.tenant),
        ("object", show(event.object)),
        ("method", event.method),
        ("route", event.route),
        ("category", event.category),
        ("client_ip", show(event.client_ip)),
        ("bytes", event.bytes),
        ("records", event.records),
        ("gateway", event.gateway),
        ("id", show(event.event_id)),
    ):
        if value is not None:
            yield name, value


def _clean(text: str | None) -> str | None:
    from monitor.intake.event import clean

    return clean(text)


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
