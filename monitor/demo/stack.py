"""Everything that the demo runs, put together in one folder and taken down again."""

from __future__ import annotations

import os
import secrets
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp
import yaml
from confluent_kafka import KafkaException
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

from monitor.demo.api import AppointmentsApi
from monitor.demo.appointments import make_register
from monitor.demo.counted import events_counted
from monitor.demo.follow import Follower
from monitor.demo.gateway import KEY_HEADER, REALM, GatewayPlan, find_envoy, gateway_command, write_gateway
from monitor.demo.operators import DIRECTORY, make_operators, write_directory
from monitor.demo.processes import Child, DemoError, Processes, free_ports, monitor_command
from monitor.demo.receiver import WebhookReceiver, new_secret
from monitor.demo.traffic import NO_ANSWER, Client, Tally, new_session
from monitor.settings import load_settings
from monitor.stream.embedded import EmbeddedBroker
from monitor.stream.reach import admin_client, wait_for_broker
from monitor.stream.topics import OWN_TOPICS, create_embedded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from monitor.settings import Settings

PARTNERS: Final = ("agenda-sync", "call-centre", "e-prescribe", "lab-results", "reminder-sms")
#: The credential that is abused: a partner's own, which its owner hardly uses.
ATTACKER: Final = "booking-widget"
SOURCE: Final = "gateway"
_PARTITIONS: Final = 4
_START_SECONDS: Final = 45.0
_KEY_BYTES: Final = 24
_DELETE_SECONDS: Final = 5.0
_HTTP_SECONDS: Final = aiohttp.ClientTimeout(total=2)


@dataclass(frozen=True, slots=True)
class StackOptions:
    """What to run; `kafka` is ``host:port`` of a real one, None the embedded one.

    `attackers` are the ids of the credentials that will be abused.
    """

    seed: int = 1
    with_monitor: bool = True
    kafka: str | None = None
    attackers: tuple[str, ...] = (ATTACKER,)
    alertmanagers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the processes listen, on 127.0.0.1."""

    gateway: int
    gateway_admin: int
    authz: int
    observe: int
    operator: int


class Stack:
    """The API, its gateway, Kafka and the monitor, up while the context is entered.

    `say` takes a sentence for each thing that is up. Raises a MonitorError where a part does not
    come up; everything is taken down before.
    """

    def __init__(self, folder: Path, options: StackOptions, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.options = options
        self._say = say
        self._exits = AsyncExitStack()
        self._clients: dict[str, Client] = {}
        self._session: aiohttp.ClientSession | None = None
        self._settings: Settings | None = None
        self._keys: dict[str, str] = {}
        self._probes = 0
        self.ports = Ports(*free_ports(5))
        self.register = make_register(options.seed)
        self.secret = new_secret()
        self.receiver = WebhookReceiver(self.secret)
        self.processes = Processes(folder, say)

    async def __aenter__(self) -> Self:
        """Start everything, and return when events would flow."""
        async with AsyncExitStack() as exits:
            find_envoy()
            session = self._session = await exits.enter_async_context(new_session())
            api = await exits.enter_async_context(AppointmentsApi(self.register))
            self._say(f"appointments API: {len(self.register.appointments):,} appointments")
            if self.options.with_monitor:
                await exits.enter_async_context(self.receiver)
                self._settings = await self._prepare(exits)
            await exits.enter_async_context(self.processes)
            if self._settings is None:
                await self._start_gateway(api.port, None)
            else:
                await self._start_monitor(api.port)
            for name in (*PARTNERS, *self.options.attackers):
                self._clients[name] = Client(session, self.gateway, self._keys[name], Tally(name))
            self._exits = exits.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop everything."""
        await self._exits.aclose()

    @property
    def gateway(self) -> str:
        """The gateway's address."""
        return f"http://127.0.0.1:{self.ports.gateway}"

    @property
    def config(self) -> Path:
        """The monitor's settings."""
        return self.folder / "monitor.yaml"

    @property
    def settings(self) -> Settings:
        """The monitor's settings, read; there are none without the monitor."""
        if self._settings is None:
            msg = "the demo runs without the monitor: it has no settings"
            raise DemoError(msg)
        return self._settings

    @property
    def clients(self) -> dict[str, Client]:
        """Client id → client, for partners and attackers."""
        return self._clients

    def header_file(self, client: str) -> Path:
        """Return the file that holds a client's key as a header, for ``curl -H @FILE``."""
        return self.folder / "keys" / f"{client}.header"

    def follower(self, **callbacks: Any) -> Follower:
        """Return a reader of what the monitor says."""
        return Follower(self.settings, **callbacks)

    @property
    def requests_answered(self) -> int:
        """How many requests the gateway has answered so far."""
        answered = (
            answer.status != NO_ANSWER for client in self._clients.values() for answer in client.tally.answers
        )
        return self._probes + sum(answered)

    async def events_counted(self) -> int:
        """Return how many of the gateway's events are durably counted."""
        return await events_counted(self.settings, _PARTITIONS)

    async def _prepare(self, exits: AsyncExitStack) -> Settings:
        if self.options.kafka is None:
            broker = exits.enter_context(EmbeddedBroker())
            settings = self._write_settings("embedded", broker.bootstrap_servers, "access-monitor.")
            create_embedded(settings, broker, _PARTITIONS)
            self._say(f"embedded Kafka broker on {broker.bootstrap_servers}")
            return settings
        settings = self._write_settings("cluster", self.options.kafka, f"demo-{secrets.token_hex(4)}.")
        await wait_for_broker(settings.kafka)
        exits.callback(_delete_topics, settings)
        _create_source(settings)
        self._say(f"Kafka at {self.options.kafka}, topics {settings.kafka.topic_prefix}*")
        return settings

    def _write_settings(self, broker: str, servers: str, prefix: str) -> Settings:
        secret_file = self.folder / "webhook.secret"
        secret_file.touch(mode=0o600)
        secret_file.write_text(self.secret, encoding="utf-8")
        write_directory(self.folder, (*PARTNERS, *self.options.attackers))
        plain = {
            "kafka": {
                "broker": broker,
                "bootstrap_servers": servers.split(","),
                "topic_prefix": prefix,
                "group_prefix": prefix,
                "partitions": _PARTITIONS,
                "replication_factor": 1,
                "min_insync_replicas": 1,
                "connect_timeout_seconds": 20,
            },
            # A shipper that was killed may send its last lines again: Envoy numbers them.
            "sources": [
                {"name": SOURCE, "topic": f"{prefix}{SOURCE}", "realm": REALM, "event_ids": "gateway"}
            ],
            "privacy": {"key_file": "monitor.keys"},
            "credentials": {"directory_file": DIRECTORY},
            "response": {
                "mode": "enforce",
                "adapters": [
                    {
                        "type": "webhook",
                        "name": "receiver",
                        "url": self.receiver.url,
                        "private_addresses": True,
                        "secret_file": secret_file.name,
                        "drill_credential": "drill",
                    }
                ],
            },
            "authz": {
                "listen": f"127.0.0.1:{self.ports.authz}",
                "realm": REALM,
                "allow_all_file": "allow-all",
            },
            "operator": make_operators(self.folder, self.ports.operator),
            "observe": {
                "listen": f"127.0.0.1:{self.ports.observe}",
                "alertmanagers": list(self.options.alertmanagers),
            },
        }
        text = yaml.safe_dump(plain, sort_keys=False)
        self.config.write_text(f"# Written by `monitor demo`.\n{text}", encoding="utf-8")
        with _shell_settings_aside():
            return load_settings(self.config, check_files=False)

    async def _start_monitor(self, api_port: int) -> None:
        run, keys = self.processes.run, str(self.folder / "monitor.keys")
        await run("keys", monitor_command("keys", "new", keys), within_seconds=_START_SECONDS)
        config = ("-c", str(self.config))
        init = monitor_command("init", "--from", "earliest", *config)
        await run("init", init, within_seconds=_START_SECONDS)
        self._say("topics checked and rules published: monitor init")
        # Kill -9 any of these three: what the log implies is found all the same.
        start = partial(self.processes.start, supervised=True)
        worker = start("worker", monitor_command("worker", *config))
        authz = start("authz", monitor_command("authz", *config))
        log = self.folder / "access.log"
        log.touch(mode=0o600)
        ship = start("ship", monitor_command("ship", "--source", SOURCE, "--follow", str(log), *config))
        await self._start_gateway(api_port, log)
        await self._wait_for(worker, self.ports.observe, "/readyz")
        self._say("worker is ready: intake, detect, enforce")
        await self._wait_for(authz, self.ports.authz, "/-/readyz")
        self._say("decision service is ready: monitor authz")
        await self._wait_for_events(ship)

    async def _start_gateway(self, api_port: int, log: Path | None) -> None:
        """Start Envoy; its access log goes to `log`, or to envoy.log."""
        self._keys = {
            name: secrets.token_urlsafe(_KEY_BYTES) for name in (*PARTNERS, *self.options.attackers)
        }
        (self.folder / "keys").mkdir(mode=0o700)
        for name, key in self._keys.items():
            self.header_file(name).write_text(f"{KEY_HEADER}: {key}\n", encoding="utf-8")
        config = self.folder / "envoy.json"
        authz = self.ports.authz if self.options.with_monitor else None
        plan = GatewayPlan(self.ports.gateway, self.ports.gateway_admin, api_port, authz, self._keys)
        write_gateway(config, plan)
        envoy = self.processes.start("envoy", gateway_command(config), stdout=log)
        await self._wait_for(envoy, self.ports.gateway_admin, "/ready")
        asked = "asks monitor authz" if authz else "asks nobody"
        self._say(f"Envoy on {self.gateway}, {asked}")

    async def _wait_for_events(self, ship: Child) -> None:
        """Ask the gateway without a key until the worker has seen that: the whole way is open."""

        async def seen() -> bool:
            self._probes += 1
            await self._get(self.ports.gateway, "/appointments/0")
            return await self.events_counted() > 0

        what = "events from the gateway to the worker"
        await self.processes.wait_until(seen, ship, what, within_seconds=_START_SECONDS)
        self._say("events flow: Envoy, monitor ship, Kafka, worker")

    async def _wait_for(self, child: Child, port: int, path: str) -> None:
        async def ready() -> bool:
            return bool(await self._get(port, path))

        what = f"http://127.0.0.1:{port}{path}"
        await self.processes.wait_until(ready, child, what, within_seconds=_START_SECONDS)

    async def _get(self, port: int, path: str) -> str:
        """Return the body of a 200, or nothing."""
        if self._session is None:
            return ""
        try:
            async with self._session.get(f"http://127.0.0.1:{port}{path}", timeout=_HTTP_SECONDS) as answer:
                return await answer.text() if answer.ok else ""
        except (aiohttp.ClientError, TimeoutError):
            return ""


@contextmanager
def _shell_settings_aside() -> Iterator[None]:
    """Hide settings of the shell's environment: the demo has its own."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("MONITOR_")}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _create_source(settings: Settings) -> None:
    admin = admin_client(settings.kafka)
    topic = settings.sources[0].topic
    try:
        admin.create_topics([NewTopic(topic, _PARTITIONS, 1)])[topic].result()
    except KafkaException as error:
        msg = f"Kafka did not create the topic {topic}: {error.args[0].str()}; may we create topics there?"
        raise DemoError(msg) from None


def _delete_topics(settings: Settings) -> None:
    """Delete what the demo made on a Kafka that stays; what cannot be deleted is left."""
    admin = admin_client(settings.kafka)
    topics = [settings.topic(name) for name in OWN_TOPICS] + [source.topic for source in settings.sources]
    groups = [settings.group(role) for role in settings.worker.roles]
    for future in (*admin.delete_topics(topics).values(), *admin.delete_consumer_groups(groups).values()):
        with suppress(KafkaException):
            future.result(_DELETE_SECONDS)
