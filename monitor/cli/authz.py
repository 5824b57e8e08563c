"""`monitor authz`: the decision service."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from monitor.settings.values import Listen


def _listen(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Listen | None:
    from monitor.settings.values import parse_listen

    if text is None:
        return None
    try:
        return parse_listen(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.option(
    "--listen", callback=_listen, metavar="HOST:PORT", help="Default: authz.listen (127.0.0.1:9191)."
)
@click.option("-c", "--config", type=click.Path(path_type=Path), help="Default: ./monitor.yaml")
def command(listen: Listen | None, config: Path | None) -> None:
    """Answer gateways that ask whether a credential may be used, until SIGTERM.

    For Envoy's ext_authz (HTTP), nginx's auth_request, Traefik's and Caddy's forward_auth. The
    credential is named by the header authz.principal_header, which the gateway sets and strips from
    what clients send. 200 lets the request through, 403 refuses it with a JSON body (and Retry-After
    for a suspension), 503 means that the set of refused credentials is not known yet. Once it is
    known, the last known set stays in force through any outage of Kafka.

    Its own pages: /-/healthz, /-/readyz, /-/metrics.
    """
    from monitor.authz.service import run_authz
    from monitor.observe.logs import configure_logs
    from monitor.settings import load_settings

    settings = load_settings(config)
    configure_logs(settings.observe.log_format)
    asyncio.run(run_authz(settings, listen or settings.authz.listen))
