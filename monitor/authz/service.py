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
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0

from monitor.authz.http import Header, QuestionServer, Reply, reply
from monitor.authz.register import Register
from monitor.core.events import CredentialStatus, credential_subject
from monitor.errors import ConfigurationError, Fault
from monitor.intake.keys import load_credential_key
from monitor.intake.pseudonym import credential_pseudonyms
from monitor.observe.memory import forbid_dumps
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
_OURS: Final = b"/-/"
_ALLOWED: Final = reply(200)
#: Told for every refusal, for gateways that pass on headers of an answer but no body (nginx).
_ERROR_HEADER: Final = "x-access-monitor-error"
_INCIDENT_HEADER: Final = "x-access-monitor-incident"


class AuthzService:
    """One listening decision service; `clock` gives the time, in seconds since the epoch."""

    def __init__(self, settings: Settings, listen: Listen, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._settings = settings
        self._listen = listen
        self._realm = settings.authz.realm
        self._header = settings.authz.principal_header
        self._person = people_of(settings)
        self.metrics = Metrics(roles=["authz"])
        self.register = Register(settings, self.metrics, clock)
        self._server = QuestionServer(self.answer)
        self._principals = Header(settings.authz.principal_header)
        self._realms = Header(REALM_HEADER)
        decisions = self.metrics.authz_decisions_total
        self._allowed = decisions.labels("allowed")
        self._everybody = decisions.labels("allow_all")
        self._seconds = self.metrics.authz_seconds

    @property
    def port(self) -> int:
        """The port that was taken; 0 before the start."""
        return self._server.port

    async def start(self) -> None:
        """Listen and begin to read; raises ConfigurationError where the address is not to be had."""
        host, port = self._listen
        try:
            await self._server.start(host, port)
        except OSError as error:
            problem = f"cannot listen on {self._listen}: {error.strerror}"
            fault = Fault("authz.listen", problem, "is it taken?")
            raise ConfigurationError("the decision service cannot listen", [fault]) from None
        self.register.start()
        log.info("decision service", listen=f"{host}:{self.port}")

    async def stop(self) -> None:
        """Stop listening and following."""
        await self._server.stop()
        await self.register.stop()

    def answer(self, target: bytes, fields: bytes) -> Reply:
        """Answer one question of a gateway, or of those who watch us."""
        # A gateway asks with the client's path: one that looks like ours must not be a way past us.
        if target.startswith(_OURS) and not self._principals.raw(fields):
            return self._own(target.partition(b"?")[0])
        began = time.perf_counter()
        decided = self._decide(fields)
        self._seconds.observe(time.perf_counter() - began)
        return decided

    def _decide(self, fields: bytes) -> Reply:
        if self.register.lets_everybody_in:
            self._everybody.inc()
            return _ALLOWED
        if not self.register.ready:
            return self._refuse(503, "not_ready", self.register.waiting_for)
        if self.register.too_old:
            return self._refuse(503, "stale", "the enforcer was silent for longer than authz.deny_when_stale")
        principals = set(self._principals.texts(fields))
        realms = {self._realm} if self._realm else set(self._realms.texts(fields))
        if len(principals) > 1 or len(realms) > 1:
            # One of them is the client's own, and nobody can tell which.
            return self._refuse(403, "ambiguous", "a header came twice: the gateway must strip the client's")
        principal = next(iter(principals), None)
        if not principal:
            return self._refuse(401, "no_principal", f"the gateway did not send {self._header}")
        realm = next(iter(realms), None)
        if not realm:
            return self._refuse(403, "no_realm", f"set authz.realm, or send {REALM_HEADER}")
        subject = credential_subject(realm, principal)
        refusal = self.register.refusal(subject)
        if refusal is None and self._person is not None:
            refusal = self.register.refusal(credential_subject(realm, self._person(subject)))
        if refusal is None:
            self._allowed.inc()
            return _ALLOWED
        return self._refuse_credential(refusal)

    def _refuse_credential(self, refusal: Refusal) -> Reply:
        headers = {}
        if refusal.status is CredentialStatus.SUSPENDED and refusal.until_ms is not None:
            headers["retry-after"] = str(max(1, math.ceil(refusal.until_ms / 1000 - self._clock())))
        return self._refuse(
            403,
            f"credential_{refusal.status.value}",
            "this credential read more than it may; contact the operator and name the incident",
            headers=headers,
            incident=refusal.incident,
        )

    def _refuse(
        self,
        status: int,
        error: str,
        detail: str,
        *,
        headers: dict[str, str] | None = None,
        incident: str = "",
    ) -> Reply:
        self.metrics.authz_decisions_total.labels(error).inc()
        told = {"error": error, "incident": incident, "detail": detail}
        sent = {_ERROR_HEADER: error, "cache-control": "no-store", **(headers or {})}
        if incident:
            sent[_INCIDENT_HEADER] = incident
        else:
            del told["incident"]
        if status == 401:  # noqa: PLR2004 - HTTP wants to know how one would prove who one is
            sent["www-authenticate"] = "Credential"
        return reply(status, orjson.dumps(told), headers=sent)

    def _own(self, path: bytes) -> Reply:
        if path == b"/-/healthz":
            return reply(200, b"ok", "text/plain")
        if path == b"/-/readyz":
            ready = self.register.ready
            text = "ready" if ready else self.register.waiting_for
            return reply(200 if ready else 503, text.encode(), "text/plain")
        if path == b"/-/metrics":
            return reply(200, generate_latest(self.metrics.registry), CONTENT_TYPE_PLAIN_1_0_0)
        return reply(404, b"there is /-/healthz, /-/readyz and /-/metrics", "text/plain")


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
    forbid_dumps()
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
