"""`monitor demo`: the whole loop on this machine."""

from __future__ import annotations

import re

import click

_SERVER = re.compile(r"[^\s:,/]+:\d{1,5}\Z")


def _kafka(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    if text is not None and not _SERVER.match(text):
        raise click.BadParameter("expected host:port")
    return text


@click.command()
@click.option(
    "--rate",
    type=click.FloatRange(1, 1000),
    help="Requests a second of the attacker. Default: 50, or 300 without the monitor.",
)
@click.option("--without-monitor", is_flag=True, help="Let nobody count: all appointments go.")
@click.option("--keep", is_flag=True, help="Stay up after the report, and say what to try next.")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON on stdout, all else on stderr.")
@click.option(
    "--kafka", callback=_kafka, metavar="HOST:PORT", help="Use this Kafka instead of the embedded broker."
)
@click.option("--seed", default=1, show_default=True, help="Makes other patients and other partners.")
def command(
    *, rate: float | None, without_monitor: bool, keep: bool, as_json: bool, kafka: str | None, seed: int
) -> None:
    """Run the whole loop on this machine: API, Envoy, Kafka, the monitor, partners and an attacker.

    Five partner integrations read appointments of their own practices. One credential is abused: it
    walks through all 6,128 appointments with valid requests, until the gateway refuses it. At the end
    stands a report; the exit code is 0 where every link of the loop held, and 1 otherwise.

    Needs Linux and the packages of `make demo`; no root, no Java. Everything listens on 127.0.0.1
    and is stopped at the end.
    """
    from monitor.demo.run import run_demo
    from monitor.demo.scenario import DemoOptions

    options = DemoOptions(rate, with_monitor=not without_monitor, keep=keep, kafka=kafka, seed=seed)
    code = run_demo(options, as_json=as_json)
    if code:
        raise click.exceptions.Exit(code)
