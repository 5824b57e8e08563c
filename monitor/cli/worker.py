"""`monitor worker`: the stream worker."""

from __future__ import annotations

from pathlib import Path

import click

_ROLES = ("intake", "detect", "enforce")


def _roles(_context: click.Context, _parameter: click.Parameter, text: str | None) -> list[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in _ROLES]
    if unknown or not names:
        raise click.BadParameter(f"expected some of {', '.join(_ROLES)}, with commas between them")
    return names


@click.command()
@click.option(
    "--roles",
    callback=_roles,
    metavar="ROLE,…",
    help="Which of intake, detect, enforce to run. Default: worker.roles of the configuration (all).",
)
@click.option(
    "--on-gap",
    type=click.Choice(["stop", "continue"]),
    help="What to do where retention deleted records before they were read. Default: worker.on_gap (stop).",
)
@click.option("-c", "--config", type=click.Path(path_type=Path), help="Default: ./monitor.yaml")
def command(roles: list[str] | None, on_gap: str | None, config: Path | None) -> None:
    """Run the stream worker until SIGTERM, which drains and ends it within seconds.

    Several workers share the work: Kafka spreads the partitions over them. One of them is the
    active enforcer, the others stand by. Topics and rules are made by `monitor init`, not here. SIGHUP
    publishes the rule files of the configuration, as `monitor rules publish --yes` does.

    \b
    Exit codes: 0 stopped as asked; 69 no broker, or a role did not get back to one; 70 an invariant
    broke or 74 a write was refused (start again: replay is exact); 78 a person must change something.
    """
    from monitor.observe.logs import configure_logs
    from monitor.settings import load_settings

    settings = load_settings(config)
    if on_gap is not None:
        worker = settings.worker.model_copy(update={"on_gap": on_gap})
        settings = settings.model_copy(update={"worker": worker})
    configure_logs(settings.observe.log_format)
    from monitor.worker import run_worker

    run_worker(settings, roles or settings.worker.roles)
