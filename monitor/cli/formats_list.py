"""`monitor formats list`: what gateways and envelopes there are."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path, exists=True),
    help="A monitor.yaml, for your own formats.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(config: Path | None, *, as_json: bool) -> None:
    """List the formats, and the envelopes that may stand before them: fluent-bit+nginx."""
    from rich.table import Table

    from monitor.cli.trials import print_table
    from monitor.intake.formats import Catalogue
    from monitor.settings import load_settings

    files = load_settings(config, check_files=False).formats if config is not None else []
    catalogue = Catalogue(files)
    formats = [
        {
            "name": name,
            "title": getattr(getattr(form, "spec", None), "title", "our own event"),
            "ids": "gateway" if form.ids_are_gateways else "not vouched for",
            "ours": catalogue.is_ours(name),
        }
        for name, form in ((name, catalogue[name]) for name in catalogue)
    ]
    envelopes = [{"name": spec.name, "title": spec.title} for spec in catalogue.envelopes]
    if as_json:
        import json

        click.echo(json.dumps({"formats": formats, "envelopes": envelopes}))
        return
    table = Table("Format", "What writes it", "Event ids are", box=None)
    for entry in formats:
        mark = "" if entry["ours"] else " (yours)"
        table.add_row(f"{entry['name']}{mark}", str(entry["title"]), str(entry["ids"]))
    table.add_section()
    for envelope in envelopes:
        table.add_row(f"{envelope['name']}+…", envelope["title"], "as those of what it holds")
    print_table(table, to_stderr=False)
