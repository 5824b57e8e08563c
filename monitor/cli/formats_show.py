"""`monitor formats show`: one format in full."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monitor.intake.formats.specification import FormatSpec, ValueSpec


@click.command()
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path, exists=True),
    help="A monitor.yaml, for your own formats.",
)
@click.argument("name")
def command(name: str, config: Path | None) -> None:
    """Show where the format NAME finds each field, whose its ids are, and who counts as authenticated."""
    from monitor.intake.inputs import Input
    from monitor.settings import load_settings

    files = tuple(load_settings(config, check_files=False).formats) if config is not None else ()
    form: Any = Input(name, "default", "NAME", formats=files).find()
    while hasattr(form, "inner"):
        click.echo(f"{form.spec.name}: {form.spec.title}, around")
        form = form.inner
    if not hasattr(form, "spec"):
        click.echo("canonical: our own event; docs/events.md has every field.")
        return
    for line in _lines(form.spec):
        click.echo(line)


def _lines(spec: FormatSpec) -> Iterator[str]:
    yield f"{spec.name}: {spec.title}"
    yield ""
    yield f"Event ids       {spec.ids}: {spec.ids_note}"
    yield f"Authenticated   {spec.authenticated_note}"
    yield f"Forged headers  {spec.inbound_identity}"
    for place, names in spec.secrets.items():
        yield f"Secrets dropped {'' if place == '.' else place + ': '}{', '.join(names)}"
    if spec.secrets_remedy:
        yield f"   … so          {spec.secrets_remedy}"
    yield f"Largest record  {spec.max_record_bytes} bytes"
    yield ""
    for name in type(spec.fields).model_fields:
        ways = getattr(spec.fields, name)
        for number, one in enumerate(ways or ()):
            yield f"{name if not number else '':15} {'or ' if number else ''}{_way(one)}"


def _way(one: ValueSpec) -> str:
    if one.path is not None:
        text = one.path.text
    else:
        text = f"Kafka header {one.kafka_header}" if one.kafka_header else f"always {one.constant}"
    parts = [f"as {' or '.join(one.as_)}"] if one.as_ else []
    parts += [f"{key} → {value}" for key, value in one.map.items()]
    parts += [f"split at {one.split!r}"] if one.split else []
    parts += [f"a reference to a {one.reference}"] if one.reference else []
    parts += ["hashed"] if one.hash or one.hash_unless else []
    parts += [f"where {place} fits" for place in one.when]
    return f"{text} ({', '.join(parts)})" if parts else text
