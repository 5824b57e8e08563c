"""`monitor formats coverage`: what share of a file's events names whom."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from monitor.cli.format_options import described, lines_of, options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.intake.routes import Matcher
    from monitor.intake.survey import Survey, Watching


class _Least(click.ParamType):
    name = "field=share"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        from monitor.intake.survey import NAMED

        name, _, text = str(value).partition("=")
        try:
            share = float(text)
        except ValueError:
            share = -1.0
        if name not in NAMED or not 0 <= share <= 1:
            self.fail(f"expected one of {', '.join(NAMED)}, an = and a share of 0 to 1", param, ctx)
        return name, share


@click.command()
@options
@click.option("--format", "name", default=None, help="The format; the source's unless given.")
@click.option(
    "--min",
    "least",
    type=_Least(),
    multiple=True,
    help="patient=0.8: fail below; over the source's `coverage`.",
)
@click.option(
    "--paths", "shown", type=click.IntRange(0), default=20, show_default=True, help="Paths to show."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True, allow_dash=True))
def command(
    *,
    name: str | None,
    file: Path,
    config: Path | None,
    source: str | None,
    routes: Sequence[str],
    files: Sequence[Path],
    realm: str | None,
    least: Sequence[tuple[str, float]],
    shown: int,
    as_json: bool,
) -> None:
    """Show what share of the successful events of FILE names a credential, a patient, a tenant, a route.

    Then the paths for which no route template was meant, most frequent first, ids masked. Exit code 1
    where a share is below what the source's `coverage`, or --min, demands.
    """
    from monitor.errors import ExitCode
    from monitor.intake.survey import Survey, Watching

    read = described(name, config, source, routes=routes, files=files, realm=realm)
    watching = Watching(read.matcher())
    decode = read.find().decoder(
        read.realm, match=cast("Matcher", watching), max_record_bytes=read.max_record_bytes
    )
    survey = Survey()
    survey.read(decode, (line for _, line in lines_of(file)))
    wanted = _configured(config, source) | dict(least)
    below = survey.below(wanted)
    if as_json:
        click.echo(_as_json(survey, watching, wanted, shown))
    else:
        _print(survey, watching, wanted, shown)
    for field in below:
        click.echo(
            f"monitor: {field} is named in {survey.share(field):.1%} of successful events, below {wanted[field]:.1%}",
            err=True,
        )
    if below or not survey.events:
        raise click.exceptions.Exit(ExitCode.FAILED)


def _configured(config: Path | None, source: str | None) -> dict[str, float]:
    from monitor.cli.trials import find_source
    from monitor.settings import load_settings

    if config is None:
        return {}
    found = find_source(load_settings(config, check_files=False), source)
    return found.coverage.model_dump() if found is not None else {}


def _print(survey: Survey, watching: Watching, wanted: dict[str, float], shown: int) -> None:
    from rich.table import Table

    from monitor.cli.trials import print_table
    from monitor.intake.survey import NAMED

    rejected = sum(survey.rejected.values())
    click.echo(
        f"{survey.records:,} records: {survey.events:,} events, {survey.successes:,} of them with 2xx;"
        f" {survey.not_events:,} no events; {rejected:,} cannot be read"
    )
    table = Table("Of the 2xx", "name a", "at least", box=None)
    for name in NAMED:
        demanded = f"{wanted[name]:.1%}" if wanted.get(name) else ""
        table.add_row(f"{survey.share(name):.1%}", name, demanded)
    print_table(table, to_stderr=False)
    for why, number in survey.rejected.most_common(shown):
        click.echo(f"{number:10,}  cannot be read: {why}")
    for path, number in watching.masked()[:shown]:
        click.echo(f"{number:10,}  no route: {path}")


def _as_json(survey: Survey, watching: Watching, wanted: dict[str, float], shown: int) -> str:
    import json

    from monitor.intake.survey import NAMED

    return json.dumps(
        {
            "records": survey.records,
            "events": survey.events,
            "successes": survey.successes,
            "not_events": survey.not_events,
            "shares": {name: round(survey.share(name), 6) for name in NAMED},
            "least": wanted,
            "categories": dict(survey.categories),
            "rejected": dict(survey.rejected.most_common(shown)),
            "unmatched": [{"path": path, "events": number} for path, number in watching.masked()[:shown]],
        }
    )
