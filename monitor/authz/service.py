"""Answers Envoy's HTTP `ext_authz`, nginx's `auth_request`, Traefik's and Caddy's `forward_auth`.

Any path and method asks about the credential that a header names; without that header, paths below
``/-/`` are ours. The gateway must set the header itself, and strip it from what clients send.
"""

from __future__ import annotations

import asyncio
import math
import signal
import time
from typing import TYPE_CHECKING, Final

import orjson
import structlog
from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0

from monitor.authz.register import Register
from monitor.core.events import CredentialStatus, credential_subject
from monitor.errors import ConfigurationError, Fault
from monitor.intake.keys import load_credential_key
from monitor.intake.pseudonym import credential_pseudonyms
from monitor.observe.metrics import Metrics
from monitor.stream.reach import wait_for_broker
from monitor.stream.topics import partition_counts

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitor.authz.register import Refusal
    from monitor.settings import Settings
    from monitor.settings.values import Listen

log = structlog.get_logger(__name__)

REALM_HEADER: Final = "x-realm"
_SHUTDOWN_SECONDS: Final = 1.0


class AuthzService:
    """One listening decision service."""

    def __init__(self, settings: Settings, listen: Listen) -> None:
        self._settings = settings
        self._listen = listen
        self._realm = settings.authz.realm
        self._header = settings.authz.principal_header
        self._person = people_of(settings)
        self.metrics = Metrics(roles=["authz"])
        self.register = Register(settings, self.metrics)
        self._runner: web.ServerRunner | None = None
        self._allowed = self.metrics.authz_decisions_total.labels("allowed")
        self._seconds = self.metrics.authz_seconds
        #: The port that was taken; 0 before the start.
        self.port = 0

    async def start(self) -> None:
        """Listen and begin to read; raises ConfigurationError where the address is not to be had."""
        server = web.Server(self.answer, access_log=None)
        self._runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=_SHUTDOWN_SECONDS)
        await self._runner.setup()
        host, port = self._listen
        site = web.TCPSite(self._runner, host, port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            problem = f"cannot listen on {self._listen}: {error.strerror}"
            fault = Fault("authz.listen", problem, "is it taken?")
            raise ConfigurationError("the decision service cannot listen", [fault]) from None
        self.port = self._runner.addresses[0][1]
        self.register.start()
        log.info("decision service", listen=f"{host}:{self.port}")

    async def stop(self) -> None:
        """Answer what is under way, then stop."""
        if self._runner is not None:
            await self._runner.cleanup()
        await self.register.stop()

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer one question of a gateway, or of those who watch us."""
        path = request.rel_url.raw_path
        # A gateway asks with the client's path: one that looks like ours must not be a way past us.
        if path.startswith("/-/") and self._header not in request.headers:
            return self._own(path)
        began = time.perf_counter()
        response = self._decide(request)
        self._seconds.observe(time.perf_counter() - began)
        return response

    def _decide(self, request: web.BaseRequest) -> web.Response:
        if not self.register.ready:
            return self._refuse(503, "not_ready", self.register.waiting_for)
        principals = set(request.headers.getall(self._header, ()))
        realms = {self._realm} if self._realm else set(request.headers.getall(REALM_HEADER, ()))
        if len(principals) > 1 or len(realms) > 1:
            # One of them is the client's own, and nobody can tell which.
            return self._refuse(403, "ambiguous", "a header came twice: the gateway must strip the client's")
        principal = next(iter(principals), None)
        if not principal:
            return self._refuse(403, "no_principal", f"the gateway did not send {self._header}")
        realm = next(iter(realms), None)
        if not realm:
            return self._refuse(403, "no_realm", f"set authz.realm, or send {REALM_HEADER}")
        subject = credential_subject(realm, principal)
        refusal = self.register.refusal(subject)
        if refusal is None and self._person is not None:
            refusal = self.register.refusal(credential_subject(realm, self._person(subject)))
        if refusal is None:
            self._allowed.inc()
            return web.Response()
        return self._refuse_credential(refusal)

    def _refuse_credential(self, refusal: Refusal) -> web.Response:
        response = self._refuse(
            403,
            f"credential_{refusal.status.value}",
            "this credential read more than it may; contact the operator and name the incident",
            incident=refusal.incident,
        )
        if refusal.status is CredentialStatus.SUSPENDED and refusal.until_ms is not None:
            seconds = max(1, math.ceil(refusal.until_ms / 1000 - time.time()))
            response.headers["Retry-After"] = str(seconds)
        return response

    def _refuse(self, status: int, error: str, detail: str, **more: str) -> web.Response:
        self.metrics.authz_decisions_total.labels(error).inc()
        body = orjson.dumps({"error": error, **more, "detail": detail})
        return web.Response(status=status, body=body, content_type="application/json")

    def _own(self, path: str) -> web.Response:
        if path == "/-/healthz":
            return web.Response(text="ok")
        if path == "/-/readyz":
            ready = self.register.ready
            text = "ready" if ready else self.register.waiting_for
            return web.Response(status=200 if ready else 503, text=text)
        if path == "/-/metrics":
            body = generate_latest(self.metrics.registry)
            return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_PLAIN_1_0_0})
        return web.Response(status=404, text="there is /-/healthz, /-/readyz and /-/metrics")


def people_of(settings: Settings) -> Callable[[str], str] | None:
    """Return what gives a person's credential (``realm/id``) its pseudonym, as intake does.

    Without a key file here a session or an account cannot be refused, which is said loudly. Raises
    ConfigurationError where the file is there and cannot be used.
    """
    path = settings.privacy.key_file
    if not path.exists():
        log.warning(
            "no key file here: credentials of people (sessions, accounts) are let through even where they"
            " are refused; make one with `monitor keys authz`",
            setting="privacy.key_file",
        )
        return None
    return credential_pseudonyms(load_credential_key(path))


async def run_authz(settings: Settings, listen: Listen) -> None:
    """Run the decision service until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    service = AuthzService(settings, listen)
    starting = asyncio.create_task(_start(settings, service))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        starting.result()
        await stopping
    else:
        starting.cancel()
        await asyncio.wait([starting])
    await service.stop()
    log.info("stopped")


async def _start(settings: Settings, service: AuthzService) -> None:
    await wait_for_broker(settings.kafka)
    topic = settings.topic("credentials")
    if topic not in await asyncio.to_thread(partition_counts, settings.kafka):
        fault = Fault(f"topic {topic}", "does not exist", "run `monitor init`")
        raise ConfigurationError("Kafka's topics are not as they must be", [fault])
    await service.start()
