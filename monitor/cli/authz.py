"""`monitor authz`: the decision service."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from monitor.cli.acting import act, confirm, reach
from monitor.cli.operator_words import ACT, YES, age, duration
from monitor.cli.rule_words import moment

if TYPE_CHECKING:
    from monitor.cli.operator_client import OperatorClient
    from monitor.settings.values import Listen
    from monitor.wire.acts import Act


def _listen(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Listen | None:
    from monitor.settings.values import parse_listen

    if text is None:
        return None
    try:
        return parse_listen(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.group(invoke_without_command=True)
@click.option(
    "--listen", callback=_listen, metavar="HOST:PORT", help="Default: authz.listen (127.0.0.1:9191)."
)
@click.option("-c", "--config", type=click.Path(path_type=Path), help="Default: ./monitor.yaml")
@click.pass_context
def command(context: click.Context, listen: Listen | None, config: Path | None) -> None:
    """Answer gateways that ask whether a credential may be used, until SIGTERM.

    For Envoy's ext_authz (HTTP), nginx's auth_request, Traefik's and Caddy's forward_auth. The
    credential is named by the header authz.principal_header, which the gateway sets and strips from
    what clients send. 200 lets the request through, 403 refuses it with a JSON body (and Retry-After
    for a suspension), 503 means that the set of refused credentials is not known yet. Once it is
    known, the last known set stays in force through any outage of Kafka.

    Its own pages: /-/healthz, /-/readyz, /-/metrics. Without a command it runs; the commands are
    break-glass for all that run.
    """
    if context.invoked_subcommand is not None:
        if listen is not None or config is not None:
            raise click.UsageError(f"options of {context.invoked_subcommand} stand after its name")
        return
    from monitor.authz.service import run_authz
    from monitor.observe.logs import configure_logs
    from monitor.settings import load_settings

    settings = load_settings(config)
    configure_logs(settings.observe.log_format)
    asyncio.run(run_authz(settings, listen or settings.authz.listen))


@command.command("allow-all")
@click.option("--for", "span", callback=duration, required=True, metavar="DURATION", help="Such as 1h.")
@click.option("--local", is_flag=True, help="At this machine's decision service alone, without Kafka.")
@YES
@ACT
def allow_all(span: int, reason: str, *, local: bool, yes: bool, **options: Any) -> None:
    """Break-glass: let everybody through for a time, at every decision service of this installation.

    It goes through the ledger, so it needs Kafka and an enforcer. With --local it is the file
    authz.allow_all_file instead, which a `monitor authz` here sees within a second; no signature
    is asked for, and only its log has it. Either way it lasts 4 hours at most. Exit codes are those
    of `monitor credentials`.
    """
    from monitor.wire.acts import AllowAll

    if local:
        _allow_locally(options["config"], span, reason, yes=yes)
        return

    async def body(client: OperatorClient) -> Act:
        confirm(f"Let EVERYBODY through for {age(span)}, also those who are refused?", yes=yes)
        return AllowAll(**client.asked(reason), for_ms=span)

    act(reach(options), body)


@command.command("end-allow-all")
@click.option("--local", is_flag=True, help="Remove the file authz.allow_all_file of this machine.")
@ACT
def end_allow_all(reason: str, *, local: bool, **options: Any) -> None:
    """Refuse again who is to be refused, before the time is over."""
    from monitor.wire.acts import EndAllowAll

    if local:
        from monitor.authz.glass import mend_locally
        from monitor.settings import load_settings

        there = mend_locally(load_settings(options["config"], check_files=False).authz.allow_all_file)
        click.echo("Removed: who is refused is refused again." if there else "There was no such file.")
        return

    async def body(client: OperatorClient) -> Act:
        return EndAllowAll(**client.asked(reason))

    act(reach(options), body)


def _allow_locally(config: Path | None, span: int, reason: str, *, yes: bool) -> None:
    import getpass

    from monitor.authz.glass import break_locally
    from monitor.settings import load_settings

    path = load_settings(config, check_files=False).authz.allow_all_file
    question = f"Let EVERYBODY through here for {age(span)}, also those who are refused?"
    confirm(question, yes=yes)
    glass = break_locally(path, span, getpass.getuser(), reason)
    click.echo(
        f"Everybody is let through here until {moment(glass.until_ms)}; end it with end-allow-all --local."
    )
