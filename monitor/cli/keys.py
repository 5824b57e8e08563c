"""`monitor keys`: the key files of intake, of the enforcer and of the decision service."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

_FILE = click.Path(path_type=Path, dir_okay=False)


class _Delay(click.ParamType):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        from monitor.settings.values import parse_duration

        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group()
def command() -> None:
    """Make, rotate and show the keys that pseudonyms and partitions hang on (docs/privacy.md)."""


@command.command()
@click.argument("path", type=_FILE)
@click.option(
    "--handles",
    type=_FILE,
    help="Where the enforcer's key goes; beside PATH, with the ending .handles, unless given.",
)
def new(path: Path, handles: Path | None) -> None:
    """Create intake's key file at PATH, and the enforcer's beside it, readable by you alone.

    An existing file is never overwritten. Keep a copy in a safe place: without the file no
    pseudonym can be matched to a patient again, and all windows begin anew.
    """
    from monitor.intake.key_files import write_new_keys

    handles = handles or path.with_suffix(".handles")
    write_new_keys(path, handles)
    click.echo(f"{path}: created, mode 0600. Name it in monitor.yaml as privacy.key_file.")
    click.echo(
        f"{handles}: created, mode 0600. Name it as privacy.handle_key_file where the role enforce runs:"
        " it alone opens the ids of sessions and accounts."
    )


@command.command()
@click.argument("path", type=_FILE)
@click.option(
    "--in",
    "delay",
    type=_Delay(),
    default="1h",
    show_default=True,
    help="When intake begins to count by it: time to bring the file to every worker, at least 15m.",
)
def rotate(path: Path, delay: timedelta) -> None:
    """Add a pseudonym key to the file at PATH; intake counts by it from then on.

    Workers read the file when they start. Bring it to every worker with the role intake before the key
    begins, one restart after the other: nothing is counted twice, and nothing is missed.
    """
    from monitor.errors import ConfigurationError, Fault
    from monitor.intake.key_files import add_epoch
    from monitor.intake.pseudonym import AHEAD_MS

    begins_ms = int((time.time() + delay.total_seconds()) * 1000)
    if delay.total_seconds() * 1000 < 1.5 * AHEAD_MS:
        fault = Fault("--in", "too soon for the key to reach every worker", "at least 15m")
        raise ConfigurationError("the key cannot begin then", [fault])
    key_id = add_epoch(path, begins_ms)
    click.echo(f"{path}: added key {key_id}, which intake counts by from {_text(begins_ms)} on.")
    click.echo(
        "Restart every worker with the role intake with this file before that. Rows then bear both"
        " pseudonyms, until no window can reach back to the old key any more; no patient counts twice."
    )


@command.command()
@click.argument("path", type=_FILE)
def show(path: Path) -> None:
    """Show the keys of the file at PATH: ids and times, never a key."""
    from monitor.intake.keys import load_keys
    from monitor.intake.pseudonym import AHEAD_MS

    keys = load_keys(path)
    now_ms = int(time.time() * 1000)
    begun = [epoch for epoch in keys.epochs if epoch.begins_ms <= now_ms] or [keys.epochs[0]]
    for epoch in keys.epochs:
        since = f"since {_text(epoch.begins_ms)}" if epoch.begins_ms else "since the start"
        if epoch.begins_ms > now_ms:
            ahead = _text(epoch.begins_ms - AHEAD_MS)
            state = f"begins {_text(epoch.begins_ms)}; rows bear it too from {ahead} on"
        elif epoch is begun[-1]:
            state = f"counted by, {since}"
        else:
            following = begun[begun.index(epoch) + 1]
            state = f"kept to look up: {following.id} took its place {_text(following.begins_ms)}"
        click.echo(f"{epoch.id}\t{state}")
    if len(begun) > 1:
        click.echo(
            f"ROTATION: rows go on to bear {begun[-2].id} beside {begun[-1].id} for two of the longest timespan"
            " of the rules in force and detect.allowed_lateness; the metric"
            " access_monitor_key_overlap_end_timestamp_seconds says until when."
        )
    sealer = keys.sealer
    click.echo(f"{sealer.key_id}\thandles are sealed for it" if sealer else "no key for handles")


@command.command()
@click.argument("path", type=_FILE)
@click.argument("key_id")
@click.confirmation_option(prompt="What this key made can be matched to nobody any more. Go on?")
def remove(path: Path, key_id: str) -> None:
    """Remove the old pseudonym key KEY_ID from the file at PATH.

    Do it when nothing that it made is kept any longer: evidence, findings, routed events.
    """
    from monitor.intake.key_files import remove_epoch

    remove_epoch(path, key_id, int(time.time() * 1000))
    click.echo(f"{path}: key {key_id} is gone.")


@command.command("handles")
@click.argument("path", type=_FILE)
@click.argument("handles", type=_FILE)
def new_handle_key(path: Path, handles: Path) -> None:
    """Make a fresh key for handles: its public part goes to PATH, the private one to HANDLES.

    Bring HANDLES to the enforcer first. The keys that it held stay: they open what was sealed for them.
    """
    from monitor.intake.key_files import add_handle_key

    key_id = add_handle_key(path, handles)
    click.echo(f"{path}: handles are sealed for {key_id}. {handles} opens them.")


@command.command()
@click.argument("path", type=_FILE)
@click.argument("part", type=_FILE)
def authz(path: Path, part: Path) -> None:
    """Write to PART what the decision service needs of PATH: it matches sessions and accounts, no patients."""
    from monitor.intake.key_files import write_credential_key

    write_credential_key(path, part)
    click.echo(f"{part}: created, mode 0600. Name it as privacy.key_file where `monitor authz` runs.")


def _text(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
