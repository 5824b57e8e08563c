"""`monitor canary`: a synthetic credential that must be found, again and again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from monitor.settings import Settings, SourceSettings

#: The credential that nobody has; deploy/canary.yml names it too.
PRINCIPAL: Final = "access-monitor-canary"
#: Events of one round: as many as the rule of deploy/canary.yml finds.
EVENTS: Final = 3


@click.command()
@click.option("--source", "name", required=True, help="The source to send to; of format canonical.")
@click.option("--every", default=60.0, show_default=True, help="Seconds between two rounds.")
@click.option("--once", is_flag=True, help="Send one round and end.")
@click.option("-c", "--config", type=click.Path(path_type=Path), help="Default: ./monitor.yaml")
def command(name: str, every: float, config: Path | None, *, once: bool) -> None:
    """Send a synthetic credential over the limit of a shadow rule, once a minute.

    It needs the rule of deploy/canary.yml among rules.paths. The rule is in shadow mode, so nobody is
    refused; where its findings stop, detection does not work, and the alert AccessMonitorCanaryMissing
    fires. The events name no patient and no record. Where the gateway can be asked for real, give a key
    of its own the id access-monitor-canary and let cron use it three times a minute instead.
    """
    from monitor.errors import ConfigurationError, Fault
    from monitor.observe.logs import configure_logs
    from monitor.settings import load_settings

    settings = load_settings(config)
    configure_logs(settings.observe.log_format)
    found = [source for source in settings.sources if source.name == name]
    if not found or found[0].format != "canonical":
        known = ", ".join(source.name for source in settings.sources if source.format == "canonical")
        problem = "is not a source of format canonical"
        fault = Fault(f"--source {name}", problem, f"there is: {known or 'none'}; use the gateway itself")
        raise ConfigurationError("the canary cannot be sent", [fault])
    asyncio.run(_send(settings, found[0], every, once=once))


def events(realm: str, now_ms: int) -> list[dict[str, Any]]:
    """Return the events of one round, a millisecond apart."""
    return [
        {
            "time": now_ms - EVENTS + 1 + number,
            "status": 200,
            "principal": PRINCIPAL,
            "principal_kind": "api_key",
            "authenticated": True,
            "realm": realm,
            "method": "GET",
            "route": "/canary",
            "gateway": "canary",
        }
        for number in range(EVENTS)
    ]


async def _send(settings: Settings, source: SourceSettings, every: float, *, once: bool) -> None:
    import time

    import orjson
    import structlog
    from aiokafka.errors import KafkaError

    from monitor.errors import SendError
    from monitor.intake.ship import connect
    from monitor.stream.kafka import aiokafka_options

    log = structlog.get_logger("monitor.cli.canary")
    kafka = source.kafka or settings.kafka
    producer = await connect(
        aiokafka_options(kafka),
        source.topic,
        float(kafka.connect_timeout_seconds),
        lambda text: click.echo(f"monitor canary: {text}", err=True),
    )
    try:
        while True:
            try:
                for event in events(source.realm, int(time.time() * 1000)):
                    await producer.send_and_wait(source.topic, orjson.dumps(event), key=PRINCIPAL.encode())
            except KafkaError as error:
                msg = f"{source.topic}: the canary was not written ({type(error).__name__})"
                raise SendError(msg) from None
            log.info("canary sent", source=source.name, events=EVENTS)
            if once:
                return
            await asyncio.sleep(every)
    finally:
        await producer.stop()
