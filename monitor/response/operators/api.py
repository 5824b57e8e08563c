"""The operator API of the enforcer, over HTTP: what people ask, and what they are shown.

Every worker with the role enforce listens; the one whose enforcer is active answers, the others say
who is. Bodies are JSON, of the shapes in `monitor.wire.statements` and `monitor.wire.views`.
"""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from aiohttp import web

from monitor.errors import ConfigurationError, Fault, MonitorError
from monitor.response.operators.admission import Admission, NotAdmittedError
from monitor.response.operators.matching import match_credentials, match_incidents
from monitor.response.operators.people import PeopleFiles
from monitor.response.operators.timeline import read_timeline
from monitor.wire.acts import kind_of
from monitor.wire.statements import LARGEST_BYTES, Answered, Refusal, Signed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from monitor.observe.metrics import Metrics
    from monitor.response.responder import Responder
    from monitor.settings import Settings

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = structlog.get_logger(__name__)

_TITLE: Final = "the operator API cannot start"
_SHUTDOWN_SECONDS: Final = 2.0


class OperatorApi:
    """Listens from `start` to `stop`; whether it can answer depends on `responder`.

    `active_url` tells a standby where the active one is, if it is known.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        responder: Callable[[], Responder | None],
        active_url: Callable[[], Awaitable[str | None]],
    ) -> None:
        """Read who may do what.

        Raises ConfigurationError where that, the certificate or ssh-keygen is missing or faulty: a
        standby says so at its start, not when it is needed.
        """
        operator = settings.operator
        files = PeopleFiles.of(operator)
        if files is None:
            fault = Fault("operator.allowed_signers_file", "is not set", "name it, and operator.rights_file")
            raise ConfigurationError(_TITLE, [fault])
        files.read()
        self._settings = settings
        self._metrics = metrics
        self._responder = responder
        self._active_url = active_url
        self._admission = Admission(operator.audience, files, _now_ms)
        self._tls = _tls(settings)
        self._runner: web.AppRunner | None = None
        #: The port that was taken; 0 before the start.
        self.port = 0

    async def start(self) -> None:
        """Listen; raises ConfigurationError where the address is not to be had."""
        app = web.Application(client_max_size=LARGEST_BYTES * 2, middlewares=[self._guard])
        app.router.add_get("/v1/challenge", self._challenge)
        app.router.add_post("/v1/session", self._session)
        app.router.add_post("/v1/acts", self._act)
        app.router.add_get("/v1/credentials", self._credentials)
        app.router.add_get("/v1/incidents", self._incidents)
        app.router.add_get("/v1/timeline", self._timeline)
        app.router.add_get("/v1/fuses", self._fuses)
        app.router.add_get("/v1/deliveries", self._deliveries)
        app.router.add_get("/v1/automation", self._automation)
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_SECONDS
        )
        await self._runner.setup()
        listen = self._settings.operator.listen
        site = web.TCPSite(self._runner, listen.host, listen.port, ssl_context=self._tls)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            fault = Fault("operator.listen", f"cannot listen on {listen}: {error.strerror}", "is it taken?")
            raise ConfigurationError(_TITLE, [fault]) from None
        self.port = self._runner.addresses[0][1]
        log.info("operator API", listen=f"{listen.host}:{self.port}", tls=self._tls is not None)

    async def stop(self) -> None:
        """Answer what is under way, then stop."""
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn what goes wrong into an answer that says what to do."""
        try:
            return await handler(request)
        except NotAdmittedError as error:
            self._metrics.operator_refused_total.labels(error.error).inc()
            active = await self._active_url() if error.error == _STANDBY else None
            return _json(Refusal(error=error.error, detail=str(error), active=active), error.status)
        except MonitorError as error:
            return _json(Refusal(error="failed", detail=str(error)), 503)
        except web.HTTPException as error:
            return _json(
                Refusal(error="http", detail=f"{error.reason}: monitor of another version?"), error.status
            )

    # Signing in and acting

    async def _challenge(self, _request: web.Request) -> web.Response:
        self._active()
        return _json(self._admission.challenge())

    async def _session(self, request: web.Request) -> web.Response:
        self._active()
        return _json(await self._admission.sign_in(await _signed(request)))

    async def _act(self, request: web.Request) -> web.Response:
        self._active()
        admitted = await self._admission.order(await _signed(request))
        act = admitted.act
        receipt = await self._active().act(act)
        if not admitted.repeated:
            self._metrics.operator_acts_total.labels(kind_of(act), receipt.outcome).inc()
        return _json(Answered(receipt=receipt, repeated=admitted.repeated))

    # Reading

    async def _credentials(self, request: web.Request) -> web.Response:
        views = self._reading(request).credentials()
        return _json(match_credentials(views, request.query.get("match", "")))

    async def _incidents(self, request: web.Request) -> web.Response:
        views = self._reading(request).incidents()
        return _json(match_incidents(views, request.query.get("match", "")))

    async def _timeline(self, request: web.Request) -> web.Response:
        responder = self._reading(request)
        incident, realm, name = (request.query.get(part) for part in ("incident", "realm", "id"))
        if incident is not None:
            detected = [view.detected_ms for view in responder.incidents() if view.incident == incident]
            since_ms = min(detected, default=0) - _BEFORE_MS
            return _json(await read_timeline(self._settings, since_ms=since_ms, incident=incident))
        if realm is None or name is None:
            raise NotAdmittedError(422, "query", "expected ?incident=…, or ?realm=…&id=…")
        return _json(await read_timeline(self._settings, since_ms=0, credential=(realm, name)))

    async def _fuses(self, request: web.Request) -> web.Response:
        return _json(list(self._reading(request).fuses()))

    async def _deliveries(self, request: web.Request) -> web.Response:
        return _json(list(self._reading(request).endpoints()))

    async def _automation(self, request: web.Request) -> web.Response:
        return _json(self._reading(request).automation())

    def _reading(self, request: web.Request) -> Responder:
        responder = self._active()
        self._admission.reader(request.headers.get("Authorization"))
        return responder

    def _active(self) -> Responder:
        responder = self._responder()
        if responder is None:
            raise NotAdmittedError(503, _STANDBY, "this worker stands by: another one is the active enforcer")
        return responder


_STANDBY: Final = "standby"
#: The gateway's clock, by which a finding is dated, may be ahead of Kafka's.
_BEFORE_MS: Final = 86_400_000


async def _signed(request: web.Request) -> Signed:
    try:
        signed = msgspec.json.decode(await request.read(), type=Signed)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise NotAdmittedError(422, "body", "expected JSON with statement and signature") from None
    if len(signed.statement) > LARGEST_BYTES or len(signed.signature) > LARGEST_BYTES:
        raise NotAdmittedError(413, "too_large", f"a statement has {LARGEST_BYTES:,} bytes at most")
    return signed


def _tls(settings: Settings) -> ssl.SSLContext | None:
    operator = settings.operator
    if operator.tls_certificate_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(operator.tls_certificate_file, operator.tls_key_file)
    except (OSError, ssl.SSLError) as error:
        problem = f"certificate and key cannot be used ({type(error).__name__})"
        fault = Fault("operator.tls_certificate_file", problem, "PEM, the key without a passphrase")
        raise ConfigurationError(_TITLE, [fault]) from None
    return context


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def _now_ms() -> int:
    return int(time.time() * 1000)
