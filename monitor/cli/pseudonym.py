"""`monitor pseudonym of`: what ids are called behind intake; for who holds the keys, and recorded first."""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.operator_words import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitor.intake.keys import Keys
    from monitor.settings import Settings

config_option = click.option(
    "-c", "--config", type=click.Path(path_type=Path), help="Default: ./monitor.yaml"
)
reason_option = click.option("--reason", required=True, help="Why you look: it goes into the ledger.")


@click.group()
def command() -> None:
    """Say what ids are called behind intake (docs/privacy.md)."""


@command.command("of")
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
@click.option(
    "--kind",
    type=click.Choice(["patient", "object", "client_ip", "credential"]),
    default="patient",
    show_default=True,
    help="What the ids are; a person's credential is written realm/id.",
)
@reason_option
@config_option
def pseudonym_of(ids: tuple[str, ...], kind: str, reason: str, config: Path | None) -> None:
    """Print each ID with its pseudonyms by all keys of the key file, the newest first.

    Who asked, why and how many ids stands in `decisions`; the ids do not.
    """
    from monitor.intake.keys import load_keys
    from monitor.settings import load_settings

    settings = load_settings(config)
    names = pseudonymisers(load_keys(settings.privacy.key_file), kind)
    asyncio.run(record(settings, "pseudonym", len(ids), None, reason))
    for one in ids:
        click.echo("\t".join((plain(one), *(name(one) for name in names))))


def pseudonymisers(keys: Keys, kind: str) -> list[Callable[[str], str]]:
    """Return what gives an id its pseudonyms, by all keys, the newest first."""
    from monitor.intake.pseudonym import Pseudonyms, credential_pseudonyms
    from monitor.intake.rows import network_of

    if kind == "credential":
        return [credential_pseudonyms(keys.credential_key)]
    named: list[Callable[[str], str]] = [getattr(Pseudonyms(epoch), kind) for epoch in reversed(keys.epochs)]
    if kind == "client_ip":
        # An IPv6 address is known by its network alone.
        return [lambda raw, name=name: name(network_of(raw) or raw) for name in named]  # type: ignore[misc]
    return named


async def record(settings: Settings, what: str, ids: int, incident: str | None, reason: str) -> None:
    """Have the ledger say that somebody looks up ids, before anything is shown."""
    from monitor.response.lookup import record_look_up
    from monitor.stream.control import this_person
    from monitor.wire.credentials import LookUp

    look_up = LookUp(
        what="match" if what == "match" else "pseudonym",
        ids=ids,
        incident=incident,
        by=this_person(),
        reason=reason,
        at_ms=int(time.time() * 1000),
        act=uuid.uuid4().hex,
    )
    await record_look_up(settings, look_up)
