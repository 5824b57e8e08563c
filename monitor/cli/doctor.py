"""`monitor doctor`: tries what a worker, the decision service and a page need, and says what does not work."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from monitor.cli.doctor_checks import Result

#: Those of `monitor.stream.plan`, which is imported only when it is needed.
_ROLES: Final = ("intake", "detect", "enforce", "authz", "ship", "operator")
_MARKS: Final = {"ok": "ok  ", "warning": "WARN", "failed": "FAIL"}


@click.command()
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice(_ROLES),
    help="Whose rights in Kafka are asked for, several times if need be. Default: worker.roles of the configuration.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("-c", "--config", type=click.Path(path_type=Path), help="Default: ./monitor.yaml")
def command(roles: tuple[str, ...], config: Path | None, *, as_json: bool) -> None:
    """Try Kafka, topics, rights, clocks, feeds, gateways, the decision service and Alertmanager.

    Changes nothing; a role that writes in transactions leaves an idle transactional id, which the broker
    forgets. Run it where a worker runs, as the user that it runs as: what it may reach and do is
    what is tried. Exit code 0 where nothing failed, 1 otherwise; warnings do not count.
    """
    import orjson

    from monitor.cli.doctor_checks import examine
    from monitor.observe.logs import configure_logs
    from monitor.settings import load_settings

    settings = load_settings(config)
    configure_logs("console")
    results = asyncio.run(examine(settings, roles or settings.worker.roles))
    if as_json:
        plain = [result._asdict() for result in results]
        click.echo(orjson.dumps({"checks": plain}, option=orjson.OPT_INDENT_2).decode())
    else:
        for result in results:
            click.echo(_line(result))
    if any(result.verdict == "failed" for result in results):
        raise click.exceptions.Exit(1)


def _line(result: Result) -> str:
    return f"{_MARKS[result.verdict]}  {result.what}: {result.found}"
