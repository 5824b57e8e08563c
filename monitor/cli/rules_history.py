"""`monitor rules history`: all rule sets that were in force."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import click

from monitor.cli.rule_words import CONFIG, moment, wide_console

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, with the rules' text.")
@CONFIG
def command(config: Path | None, *, as_json: bool) -> None:
    """List all rule sets that were in force: version, revision, when, by whom and why. Newest first."""
    from rich.table import Table

    from monitor.observe.logs import configure_logs
    from monitor.response.history import read_activations
    from monitor.settings import load_settings
    from monitor.stream.rules import read_rules_in_force

    settings = load_settings(config)
    configure_logs("console")
    asyncio.run(read_rules_in_force(settings))  # says so where nothing was initialised
    activations = asyncio.run(read_activations(settings))
    if as_json:
        for entry in reversed(activations):
            plain = {
                "version": entry.version,
                "revision": entry.revision,
                "at_ms": entry.at_ms,
                "by": entry.by,
                "reason": entry.reason,
                "back_to": entry.back_to,
                "text": entry.text,
            }
            click.echo(json.dumps(plain, ensure_ascii=False))
        return
    table = Table("Version", "Revision", "In force since", "By", "Reason", box=None, pad_edge=False)
    for entry in reversed(activations):
        table.add_row(str(entry.version), entry.revision, moment(entry.at_ms), entry.by, entry.reason)
    wide_console().print(table)
