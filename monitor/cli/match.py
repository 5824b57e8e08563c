"""`monitor match`: which of some patients an incident touched; for who holds the keys, and recorded first."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, TextIO

import click

from monitor.cli.operator_words import plain
from monitor.cli.pseudonym import config_option, pseudonymisers, reason_option, record

if TYPE_CHECKING:
    from pathlib import Path

    from monitor.response.lookup import Affected


class _Found(NamedTuple):
    id: str
    reads: int
    first_ms: int
    last_ms: int


@click.command()
@click.option(
    "--ids",
    type=click.File(encoding="utf-8"),
    required=True,
    help="A file with one patient's id a line; - for stdin.",
)
@click.option("--incident", required=True, help="Such as INC-0142.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reason_option
@config_option
def command(ids: TextIO, incident: str, reason: str, config: Path | None, *, as_json: bool) -> None:
    """Say which of some patients an incident touched, by all keys of the key file.

    It compares their pseudonyms with the incident's evidence, and prints each one found with its reads, the
    first and the last. Who asked, why and how many ids stands in `decisions`; the ids do not.
    """
    from monitor.intake.keys import load_keys
    from monitor.response.lookup import patients_of
    from monitor.settings import load_settings

    settings = load_settings(config)
    names = pseudonymisers(load_keys(settings.privacy.key_file), "patient")
    wanted = list(dict.fromkeys(line.strip() for line in ids if line.strip()))

    async def ask() -> Affected:
        await record(settings, "match", len(wanted), incident, reason)
        return await patients_of(settings, incident)

    affected = asyncio.run(ask())
    found = []
    for one in wanted:
        reads = [
            affected.patients[name] for name in (name(one) for name in names) if name in affected.patients
        ]
        if reads:
            first, last = min(each.first_ms for each in reads), max(each.last_ms for each in reads)
            found.append(_Found(one, sum(each.count for each in reads), first, last))
    if as_json:
        document = {
            "v": 1,
            "incident": incident,
            "asked": len(wanted),
            "pseudonyms": len(affected.patients),
            "whole": affected.whole,
            "affected": [each._asdict() for each in found],
        }
        click.echo(json.dumps(document, ensure_ascii=True))
        return
    for each in found:
        click.echo(f"{plain(each.id)}\t{each.reads}\t{_time(each.first_ms)}\t{_time(each.last_ms)}")
    click.echo(
        f"{len(found)} of {len(wanted)} ids are in the evidence of {incident}, which holds"
        f" {len(affected.patients)} pseudonyms.",
        err=True,
    )
    if not affected.whole:
        click.echo(
            "The evidence is not complete (yet): who is not found here may be affected all the same.",
            err=True,
        )


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
