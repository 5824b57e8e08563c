"""`monitor keys`: the key file of intake."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def command() -> None:
    """Make the key file that pseudonyms and partitions hang on."""


@command.command()
@click.argument("path", type=click.Path(path_type=Path))
def new(path: Path) -> None:
    """Create a key file at PATH, readable by you alone.

    An existing file is never overwritten. Keep a copy in a safe place: without the file no
    pseudonym can be matched to a patient again, and all windows begin anew.
    """
    from monitor.intake.keys import write_new_keys

    write_new_keys(path)
    click.echo(f"{path}: created, mode 0600. Name it in monitor.yaml as privacy.key_file.")
