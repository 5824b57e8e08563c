"""What tests of the response need: findings as detect writes them, topics, enforcers, a receiver."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from aiokafka import AIOKafkaProducer

from monitor.core.fuse import Limits
from monitor.observe.metrics import Metrics, samples
from monitor.response.casebook import Policy
from monitor.response.enforcer import Enforcer
from monitor.stream.kafka import aiokafka_options
from monitor.stream.producers import plain_producer
from monitor.stream.read import read_to_end

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from aiokafka.structs import ConsumerRecord

    from monitor.settings import Settings

DEADLINE_SECONDS: Final = 20.0
SECRET: Final = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes, no!").decode()


LIMITS: Final = Limits(
    interval_ms=3_600_000, ceiling=100_000, ceilings={}, rule_ceiling=100_000, many=100_000, many_ms=60_000
)
POLICY: Final = Policy(
    mode="enforce", max_age_ms=900_000, default_ttl_ms=86_400_000, delivers=True, limits=LIMITS
)


def now_ms() -> int:
    """Return the time as the enforcer tells it."""
    return int(time.time() * 1000)


def finding(number: int = 1, principal: str | None = "partner-1", **changes: Any) -> dict[str, Any]:
    """Return a finding as detect writes it; `number` makes its id, `changes` replace fields."""
    at_ms = changes.pop("at_ms", now_ms())
    realm = None if principal is None else "gate"
    return {
        "v": 1,
        "kind": "finding",
        "id": hashlib.sha256(str(number).encode()).hexdigest()[:32],
        "rule": {"id": "r-1", "title": "Many patients", "revision": "1", "level": "high", "runbook": ""},
        "action": "suspend",
        "mode": "enforce",
        "ttl_ms": None,
        "axis": "patient" if principal is None else "principal",
        "subject": "a-patient" if principal is None else f"gate/{principal}",
        "realm": realm,
        "principal": principal,
        "principal_kind": None if principal is None else "api_key",
        "principal_class": None if principal is None else "partner",
        "group": {},
        "value": 200,
        "threshold": 200,
        "window": {"from_ms": at_ms - 600_000, "to_ms": at_ms, "timespan_ms": 600_000, "first_ms": at_ms},
        "event": {
            "topic": "gate",
            "topic_id": "t",
            "partition": 0,
            "offset": number,
            "time_ms": at_ms,
            "route": "/appointments/{id}",
        },
        "patients": 200,
        "patients_capped": False,
        "tenants": 3,
        "straggler": False,
        "warming": False,
        "observed_ms": at_ms,
        "routed": {"partition": 0, "offset": number},
        "summary": "A credential read 200 patients in 10 minutes.",
        **changes,
    }


def observation(
    what: str,
    version: int,
    principal: str = "partner-1",
    *,
    leaked: int = 0,
    exposed: int = 0,
    at_ms: int | None = None,
) -> dict[str, Any]:
    """Return an observation as detect writes it."""
    at = now_ms() if at_ms is None else at_ms
    return {
        "v": 1,
        "kind": "observation",
        "what": what,
        "finding": "0" * 32,
        "subject": f"gate/{principal}",
        "realm": "gate",
        "principal": principal,
        "status_version": version,
        "time_ms": at,
        "observed_ms": at,
        "leaked": leaked,
        "exposed": exposed,
        "patients": 200 + leaked + exposed,
        "patients_capped": False,
        "routed": {"partition": 0, "offset": 0},
    }


async def until(condition: Callable[[], Any]) -> Any:
    """Return what `condition` returns, or what that comes to, once it is true; fails after the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.01)


async def send(
    settings: Settings, topic: str, *values: bytes | Mapping[str, Any], key: bytes | None = None
) -> None:
    """Write records to partition 0 of one of our topics; a mapping as JSON."""
    producer = AIOKafkaProducer(**aiokafka_options(settings.kafka), acks="all", max_request_size=2 << 20)
    await producer.start()
    try:
        for value in values:
            raw = value if isinstance(value, bytes) else json.dumps(value).encode()
            await producer.send_and_wait(settings.topic(topic), raw, key=key, partition=0)
    finally:
        await producer.stop()


async def records(settings: Settings, topic: str) -> list[ConsumerRecord]:
    """Return the committed records of partition 0 of one of our topics."""
    found: list[ConsumerRecord] = []
    async for batch, _, _ in read_to_end(settings.kafka, settings.topic(topic), 0):
        found += batch
    return found


async def entries(settings: Settings, topic: str) -> list[dict[str, Any]]:
    """Return their JSON."""
    return [json.loads(record.value) for record in await records(settings, topic)]


async def decisions(settings: Settings, *kinds: str) -> list[dict[str, Any]]:
    """Return the entries of the ledger, of these kinds if any are named."""
    return [e for e in await entries(settings, "decisions") if not kinds or e["kind"] in kinds]


async def found(settings: Settings, *new: Mapping[str, Any]) -> list[ConsumerRecord]:
    """Write to `findings` as detect does; return all that stands there."""
    await send(settings, "findings", *new)
    return await records(settings, "findings")


class Cast:
    """Enforcers of one installation, one after the other or side by side."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.fatal: list[BaseException] = []

    @asynccontextmanager
    async def enforcer(self) -> AsyncIterator[Enforcer]:
        """Take over; stand down at the end."""
        producer = plain_producer(self.settings.kafka)
        await producer.start()
        enforcer = Enforcer(self.settings, self.metrics, producer, self.fatal.append)
        try:
            await enforcer.start()
            yield enforcer
        finally:
            await enforcer.stop()
            await producer.stop()

    def metric(self, name: str, **labels: str) -> float:
        """Return a metric's value, 0 where it was never set."""
        return metric(self.metrics, name, **labels)


def metric(metrics: Metrics, name: str, **labels: str) -> float:
    """Return a metric's value, 0 where it was never set."""
    return next((v for n, has, v in samples(metrics) if n == f"access_monitor_{name}" and has == labels), 0.0)


class Receiver:
    """A webhook receiver on loopback that answers as it is told and keeps what it was sent."""

    def __init__(self) -> None:
        #: Answers to come, the last one for ever; each a status, or a function that makes the response.
        self.answers: list[int | Callable[[web.Request], Awaitable[web.Response]]] = [204]
        self.calls: list[tuple[dict[str, str], bytes]] = []
        self.port = 0
        #: With what it encrypts, if it does.
        self.tls: ssl.SSLContext | None = None
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it listens, also while it is down."""
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def ids(self) -> list[str]:
        """The webhook-id of each call."""
        return [headers["webhook-id"] for headers, _ in self.calls]

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The body of each call."""
        return [json.loads(body) for _, body in self.calls]

    async def up(self) -> None:
        """Listen, on the same port as before."""
        app = web.Application()
        app.router.add_post("/{path:.*}", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True, ssl_context=self.tls)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def down(self) -> None:
        """Refuse connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _take(self, request: web.Request) -> web.Response:
        self.calls.append(({k.lower(): v for k, v in request.headers.items()}, await request.read()))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, int):
            return web.Response(status=answer)
        return await answer(request)


def webhook(folder: Path, url: str, **changes: Any) -> dict[str, Any]:
    """Return the settings of one receiver, with its secret in a file."""
    path = folder / "webhook.secret"
    path.write_text(SECRET, encoding="utf-8")
    path.chmod(0o600)
    plain = {"type": "webhook", "name": "webhook-0", "url": url, "private_addresses": True}
    return {**plain, "secret_file": str(path), **changes}
