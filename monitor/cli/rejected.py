"""`monitor rejected`: records that could not be read, and sending them again."""

from __future__ import annotations

from typing import Final

import click

from monitor.cli.lazy import LazyGroup

#: name → (module of monitor.cli, what it does). Each module has a `command`.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "list": ("rejected_list", "List what was rejected, by reason or one by one."),
    "show": ("rejected_show", "Show one dead letter, and its record where asked for."),
    "replay": ("rejected_replay", "Send records again, once the format or the routes are mended."),
}


@click.group(cls=LazyGroup, modules=COMMANDS)
def command() -> None:
    """See records that could not be read, and send them again (docs/formats/rejected.md)."""
