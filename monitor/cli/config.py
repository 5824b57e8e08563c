"""`monitor config`: check and show the settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monitor.settings.loading import Place

_MASK: Final = "********"
_config = click.option("-c", "--config", type=click.Path(path_type=Path), help="Default: ./monitor.yaml")


@click.group()
def command() -> None:
    """Check and show the configuration."""


@command.command()
@_config
def check(config: Path | None) -> None:
    """Read everything as a worker would, and report all faults at once.

    Contacts nothing. Exit code 0 where all is well, 78 where it is not.
    """
    from monitor.intake.inputs import check_inputs
    from monitor.intake.keys import load_keys
    from monitor.response.opening import opener_of
    from monitor.response.operators.people import PeopleFiles
    from monitor.settings import load_settings
    from monitor.stream.rules import read_configured_rules

    settings = load_settings(config)
    load_keys(settings.privacy.key_file)
    check_inputs(settings)
    opener_of(settings)
    rules = read_configured_rules(settings)
    people = PeopleFiles.of(settings.operator)
    if people is not None:
        people.read()
    click.echo(
        f"The configuration is right: {len(settings.sources)} source(s),"
        f" {len(rules.rule_set.rules)} rules, response.mode {settings.response.mode}."
    )
    if settings.response.mode == "shadow":
        click.echo("In shadow mode findings are recorded and no credential is refused.")


@command.command()
@_config
def show(config: Path | None) -> None:
    """Print every setting in effect, secrets masked, and where each was set."""
    from monitor.settings import load_settings, origin_of
    from monitor.settings.loading import DEFAULT_PATH

    settings = load_settings(config, check_files=False)
    path = config or Path(os.environ.get("MONITOR_CONFIG", DEFAULT_PATH))
    for place, indent, text in _lines(settings.model_dump(mode="json")):
        origin = origin_of(place, path) if text is not None else None
        mark = f"  # {origin}" if origin else ""
        click.echo(f"{indent}{_label(place)}{'' if text is None else ' ' + text}{mark}")


def _lines(plain: Any, place: Place = ()) -> Iterator[tuple[Place, str, str | None]]:
    """Yield (place, indent, value or None for a section) in YAML's order."""
    items = plain.items() if isinstance(plain, dict) else enumerate(plain)
    for name, value in items:
        here = (*place, name)
        indent = "  " * len(place)
        if isinstance(value, dict | list) and value:
            yield here, indent, None
            yield from _lines(value, here)
        else:
            yield here, indent, _text(value)


def _label(place: Place) -> str:
    return "-" if isinstance(place[-1], int) else f"{place[-1]}:"


def _text(value: Any) -> str:
    import json

    if isinstance(value, str) and set(value) == {"*"}:
        return f'"{_MASK}"'  # pydantic's own mask for a secret
    return json.dumps(value)
