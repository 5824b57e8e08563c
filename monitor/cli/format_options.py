"""What the commands of `monitor formats` share: how they are told of a format, and how they show texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from monitor.intake.inputs import Input

_FILE: Final = click.Path(path_type=Path, dir_okay=False, exists=True)
_READ_BYTES: Final = 256 * 1024
#: Longest line that is read whole; formats refuse what is longer.
_LONGEST_LINE: Final = 64 * 1024 * 1024


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how records are read."""
    for add in (
        click.option("--realm", default=None, help="Where the credentials live. Default: the source's."),
        click.option(
            "--formats",
            "files",
            type=_FILE,
            multiple=True,
            help="A file with a format of your own; repeatable.",
        ),
        click.option(
            "--routes", multiple=True, help="A file of route templates, or pack:fhir-r4; repeatable."
        ),
        click.option("--source", default=None, help="A source of monitor.yaml: its format, routes, realm."),
        click.option("-c", "--config", type=_FILE, help="A monitor.yaml with your formats, or for --source."),
    ):
        command = add(command)
    return command


def described(
    name: str | None,
    config: Path | None,
    source: str | None,
    *,
    routes: Sequence[str],
    files: Sequence[Path],
    realm: str | None,
) -> Input:
    """Return the input that the options describe; raises ConfigurationError or click.UsageError."""
    from dataclasses import replace

    from monitor.cli.trials import find_source
    from monitor.intake.inputs import Input
    from monitor.settings import load_settings

    described = Input("canonical", "default")
    if config is not None:
        settings = load_settings(config, check_files=False)
        of_source = find_source(settings, source)
        described = (
            Input.of(of_source, settings.formats)
            if of_source is not None
            else replace(described, formats=tuple(settings.formats))
        )
    elif source is not None:
        raise click.UsageError("--source is a name in monitor.yaml: say -c too")
    elif name is None:
        raise click.UsageError("--format is needed, or -c with --source")
    return replace(
        described,
        format=name or described.format,
        where=described.where if name is None else "format",
        realm=realm or described.realm,
        routes=tuple(one if one.startswith("pack:") else Path(one) for one in routes) or described.routes,
        formats=(*described.formats, *files),
    )


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (number from 1, line) of a file or of stdin (-), without empty ones."""
    import sys

    from monitor.intake.lines import LineSplitter

    splitter = LineSplitter(_LONGEST_LINE)
    number = 0
    with sys.stdin.buffer if str(path) == "-" else path.open("rb") as file:
        while True:
            chunk = file.read(_READ_BYTES)
            for line, _ in splitter.feed(chunk) if chunk else splitter.end():
                number += 1
                if line.strip():
                    yield number, line
            if not chunk:
                return


def masked(text: str | None) -> str | None:
    """Return how a text begins and how long it is: enough to see whether the right one was found."""
    if text is None:
        return None
    shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in text[:2])
    return f"{shown}…({len(text)})"
