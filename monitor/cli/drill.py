"""`monitor drill`: whether every gateway could be told, before it must be."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from monitor.cli.operator_words import echo_json, table

if TYPE_CHECKING:
    from monitor.response.drill import Drilled


@click.command()
@click.option("--probe", is_flag=True, help="Ask only what we may do there; nobody is suspended.")
@click.option("--adapter", "names", multiple=True, metavar="NAME", help="Only this one; default: all.")
@click.option("--json", "as_json", is_flag=True, help="JSON for machines.")
@click.option("-c", "--config", type=click.Path(path_type=Path), help="Default: ./monitor.yaml")
def command(names: tuple[str, ...], config: Path | None, *, probe: bool, as_json: bool) -> None:
    """Suspend a test credential at each gateway, look, reinstate it, and look again.

    Uses what an incident uses: response.adapters, their secrets, the way to each gateway. The test
    credential is drill_credential of the adapter; it must be one that nobody needs. Run it where the role
    enforce runs; with response.drill_interval the active enforcer drills by itself, and an alert says
    when it fails. Exit code 1 where a gateway could not be told.
    """
    from monitor.errors import ConfigurationError, ExitCode, Fault
    from monitor.response.adapters import build_endpoints
    from monitor.response.drill import drill
    from monitor.settings import load_settings

    endpoints = build_endpoints(load_settings(config).response.adapters)
    unknown = sorted(set(names) - {endpoint.name for endpoint in endpoints})
    if unknown or not endpoints:
        fault = Fault("response.adapters", f"has no {', '.join(unknown) or 'adapter'}")
        raise ConfigurationError("nothing to drill", [fault])
    chosen = [endpoint for endpoint in endpoints if not names or endpoint.name in names]

    async def run() -> list[Drilled]:
        try:
            return await drill(chosen, act=not probe)
        finally:
            for endpoint in chosen:
                await endpoint.adapter.close()

    found = asyncio.run(run())
    if as_json:
        echo_json([_plain(one) for one in found])
    else:
        table(("ADAPTER", "HOLDS", "PROOF", "FOUND"), [_row(one, probe=probe) for one in found])
    if not all(one.holds for one in found):
        raise SystemExit(ExitCode.FAILED)


def _plain(one: Drilled) -> dict[str, Any]:
    return {
        "adapter": one.adapter,
        "holds": one.holds,
        "proven": one.proven,
        "seconds": one.seconds,
        "problems": list(one.problems),
    }


def _row(one: Drilled, *, probe: bool) -> tuple[str, str, str, str]:
    proof = (
        "probed"
        if probe
        else f"read back after {one.seconds:.2f} s"
        if one.seconds is not None
        else "answers"
    )
    return (
        one.adapter,
        "yes" if one.holds else "NO",
        proof if one.holds else "-",
        "; ".join(one.problems) or "-",
    )
