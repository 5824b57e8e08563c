"""Reaches the operator API: finds the active enforcer, signs in, asks again where an answer was lost."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import ssl
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec

from monitor.cli.operator_words import plain
from monitor.cli.signing import Signer
from monitor.errors import ConfigurationError, Fault, MonitorError, NotPermittedError, ServerUnavailableError
from monitor.wire.statements import Answered, Challenge, Order, Refusal, SignIn, Token
from monitor.wire.views import AutomationView, CredentialView, EndpointView, FuseView, IncidentView

if TYPE_CHECKING:
    from pathlib import Path

    from monitor.settings import OperatorSettings
    from monitor.wire.acts import Act
    from monitor.wire.statements import Signed

_Shape = TypeVar("_Shape")

_CALL: Final = aiohttp.ClientTimeout(total=30, connect=5)
#: How long an act is asked again, with the same id, where the answer was lost or another enforcer takes over.
_AGAIN_SECONDS: Final = 30.0
_PAUSE_SECONDS: Final = 0.5
_OK: Final = 200
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_UNAVAILABLE: Final = 503


class OperatorClient:
    """A signed-in connection to the active enforcer."""

    def __init__(self, settings: OperatorSettings, servers: tuple[str, ...], identity: Path | None) -> None:
        self._servers = [
            _checked(server) for server in (servers or tuple(settings.servers) or (settings.own_url,))
        ]
        self._audience = settings.audience
        self._signer = Signer(identity or settings.identity_file)
        secure = any(server.startswith("https:") for server in self._servers)
        self._tls = _context(settings) if secure else True
        self._http: aiohttp.ClientSession | None = None
        self._server = self._servers[0]
        self._token: Token | None = None

    async def __aenter__(self) -> Self:
        """Find the active enforcer and sign in; raises MonitorError where that fails."""
        self._http = aiohttp.ClientSession(timeout=_CALL)
        try:
            await self._sign_in()
        except BaseException:
            await self._http.close()
            raise
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Close the connection."""
        if self._http is not None:
            await self._http.close()

    @property
    def person(self) -> str:
        """Whose key it is."""
        return self._token.by if self._token is not None else ""

    async def credentials(self, match: str = "") -> list[CredentialView]:
        """Return the credentials whose name begins with a text."""
        return await self._read("/v1/credentials", list[CredentialView], {"match": match})

    async def incidents(self, match: str = "") -> list[IncidentView]:
        """Return the incidents whose name or finding begins with a text."""
        return await self._read("/v1/incidents", list[IncidentView], {"match": match})

    async def timeline(self, **of: str) -> list[dict[str, Any]]:
        """Return the ledger's entries of an `incident`, or of a credential's `realm` and `id`."""
        return await self._read("/v1/timeline", list[dict[str, Any]], of)

    async def fuses(self) -> list[FuseView]:
        """Return all fuses."""
        return await self._read("/v1/fuses", list[FuseView], {})

    async def endpoints(self) -> list[EndpointView]:
        """Return all gateways that are told."""
        return await self._read("/v1/deliveries", list[EndpointView], {})

    async def automation(self) -> AutomationView:
        """Return mode and exceptions."""
        return await self._read("/v1/automation", AutomationView, {})

    def asked(self, reason: str) -> dict[str, Any]:
        """Return what every act has: a new id, who asks, why, and when."""
        return {
            "act": f"act_{secrets.token_hex(13)}",
            "by": self.person,
            "reason": reason,
            "at_ms": int(time.time() * 1000),
        }

    async def act(self, act: Act) -> Answered:
        """Ask for an act; returns once the ledger has the answer."""
        signed = await self._signer.sign(Order(audience=self._audience, act=act))
        until = time.monotonic() + _AGAIN_SECONDS
        while True:
            try:
                return await self._post("/v1/acts", signed, Answered)
            except ServerUnavailableError as error:
                # The same id again is harmless: the enforcer, or the one after it, knows it.
                if time.monotonic() >= until:
                    msg = f"{error}\nIt may be in the ledger all the same: look before you ask again."
                    raise ServerUnavailableError(msg) from None
            await asyncio.sleep(_PAUSE_SECONDS)
            with suppress(ServerUnavailableError):
                await self._find()

    async def _sign_in(self) -> None:
        challenge = await self._find()
        if challenge.audience != self._audience:
            msg = (
                f"{self._server} is installation {plain(challenge.audience)!r}, your settings say"
                f" {self._audience!r}: set operator.audience, or reach another --server"
            )
            raise NotPermittedError(msg)
        statement = SignIn(
            audience=self._audience, challenge=challenge.challenge, at_ms=int(time.time() * 1000)
        )
        self._token = await self._post("/v1/session", await self._signer.sign(statement), Token)

    async def _find(self) -> Challenge:
        """Return a challenge of the active enforcer, and keep to it from now on."""
        faults = []
        for server in self._servers:
            self._server = server
            try:
                return await self._get("/v1/challenge", Challenge, {})
            except ServerUnavailableError as error:
                faults.append(f"\n  {error}")
        msg = f"no active enforcer answers:{''.join(faults)}"
        raise ServerUnavailableError(msg)

    async def _read(self, path: str, shape: type[_Shape], query: dict[str, str]) -> _Shape:
        try:
            return await self._get(path, shape, query)
        except (ServerUnavailableError, _ExpiredError):
            await self._sign_in()
            return await self._get(path, shape, query)

    async def _get(self, path: str, shape: type[_Shape], query: dict[str, str]) -> _Shape:
        return await self._call("GET", path, shape, None, query)

    async def _post(self, path: str, signed: Signed, shape: type[_Shape]) -> _Shape:
        return await self._call("POST", path, shape, msgspec.json.encode(signed), {})

    async def _call(
        self, method: str, path: str, shape: type[_Shape], body: bytes | None, query: dict[str, str]
    ) -> _Shape:
        assert self._http is not None  # noqa: S101 - set on entering
        headers = {"Authorization": f"Bearer {self._token.token}"} if self._token and body is None else {}
        try:
            async with self._http.request(
                method,
                self._server + path,
                params=query,
                data=body,
                headers=headers,
                ssl=self._tls,
                allow_redirects=False,
            ) as response:
                status, answer = response.status, await response.read()
        except aiohttp.ClientConnectorCertificateError:
            msg = f"{self._server}: its certificate is not one that you trust: set operator.ca_file"
            raise NotPermittedError(msg) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            msg = (
                f"{self._server}: does not answer ({type(error).__name__}): is the worker up, and the tunnel?"
            )
            raise ServerUnavailableError(msg) from None
        if status != _OK:
            raise self._refused(status, answer)
        try:
            return msgspec.json.decode(answer, type=shape)
        except msgspec.DecodeError:
            msg = f"{self._server}: answered something else than an operator API of this version"
            raise MonitorError(msg) from None

    def _refused(self, status: int, answer: bytes) -> MonitorError:
        try:
            refusal = msgspec.json.decode(answer, type=Refusal)
        except msgspec.DecodeError:
            msg = f"{self._server}: answered {status}, and is no operator API: is operator.servers right?"
            return ServerUnavailableError(msg) if status >= _UNAVAILABLE else MonitorError(msg)
        text = f"{self._server}: {plain(refusal.detail)}"
        if refusal.error == "sign_in":
            return _ExpiredError(text)
        if status == _UNAVAILABLE:
            if refusal.active:
                text += f"; it is {plain(refusal.active)}: add it to operator.servers, or say --server"
            return ServerUnavailableError(text)
        return NotPermittedError(text) if status in {_UNAUTHORIZED, _FORBIDDEN} else MonitorError(text)


class _ExpiredError(NotPermittedError):
    """The token is too old, or of another enforcer."""


def _checked(server: str) -> str:
    """Return the address of a server; raises ConfigurationError where others could read along."""
    parts = urlsplit(server)
    title = "that server is not to be reached"
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/") or "@" in server:
        fault = Fault("--server", "expected a URL", "such as https://monitor.internal:9192")
        raise ConfigurationError(title, [fault])
    here = parts.hostname == "localhost"
    with suppress(ValueError):
        here = here or ipaddress.ip_address(parts.hostname).is_loopback
    if parts.scheme == "http" and not here:
        fault = Fault(plain(server), "others could read along", "use https, or a tunnel to 127.0.0.1")
        raise ConfigurationError(title, [fault])
    return f"{parts.scheme}://{parts.netloc}"


def _context(settings: OperatorSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        fault = Fault("operator.ca_file", f"cannot be used ({type(error).__name__})", "expected PEM")
        raise ConfigurationError("servers cannot be verified", [fault]) from None
