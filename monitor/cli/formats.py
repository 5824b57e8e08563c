"""`monitor formats`: how gateways write events, and what of a file can be read."""

from __future__ import annotations

from typing import Final

import click

from monitor.cli.lazy import LazyGroup

#: name → (module of monitor.cli, what it does). Each module has a `command`.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "list": ("formats_list", "List the formats, and the envelopes that may stand before them."),
    "show": ("formats_show", "Show where a format finds each field, and whose its ids are."),
    "try": ("formats_try", "Show what each line of a file becomes, or where and why not."),
    "coverage": ("formats_coverage", "Show what share of events names a patient, a tenant, a route."),
}


@click.group(cls=LazyGroup, modules=COMMANDS)
def command() -> None:
    """List, show and try the formats of gateways (docs/formats/README.md)."""
