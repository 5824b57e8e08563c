"""HTTP to gateways: to checked addresses only, TLS verified, redirects refused, nothing secret in an error.

A name is resolved once for a connection, and that very address is checked and connected to: a name that
answers differently the second time gains nothing.
"""

from __future__ import annotations

import ipaddress
import json as json_library
import socket
import ssl
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from monitor.errors import ConfigurationError, Fault
from monitor.response.in_time import check_in_time

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta
    from pathlib import Path

_LONGEST_WAIT_SECONDS: Final = 60.0
_MOST_BYTES: Final = 4 << 20
_MORE_THAN_A_NAME: Final = frozenset("/\\;%?#")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_SUCCESSES: Final = range(200, 300)

AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]


class NoAnswerError(Exception):
    """The gateway did not answer; the text names the kind of fault, and no address."""


class UnfitError(Exception):
    """The gateway will never take it, however often it is told; the text is for a person."""


class UnexpectedAnswerError(Exception):
    """The gateway answered something else than was expected; the text holds the status alone."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(f"the gateway answered {answer.status}")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: `retry_after` is in seconds, None where it named no time."""

    status: int
    retry_after: float | None
    body: bytes

    def __repr__(self) -> str:
        return f"Answer({self.status})"

    @property
    def ok(self) -> bool:
        """Whether it is a 2xx."""
        return self.status in _SUCCESSES

    def json(self) -> Any:
        """Return the body's JSON; raises UnexpectedAnswerError where it is none."""
        try:
            return json_library.loads(self.body)
        except ValueError:
            raise UnexpectedAnswerError(self) from None


class _ForbiddenAddressError(OSError):
    """A connection to an address that the configuration does not allow."""


class _TimedSocket(socket.socket):
    """Sends nothing once the time of the call is over, also where the process stood still meanwhile."""

    def send(self, *args: Any) -> int:
        check_in_time()
        return super().send(*args)

    def sendmsg(self, *args: Any) -> int:
        check_in_time()
        return super().sendmsg(*args)


class Outbound:
    """Calls to one gateway below one base address."""

    def __init__(
        self,
        url: str,
        *,
        timeout: timedelta,
        limit: int,
        private_addresses: bool,
        ca_file: Path | None = None,
    ) -> None:
        """Raise ConfigurationError where `ca_file` holds no certificates."""
        self._url = url
        self._encrypted = url.startswith("https:")
        self._private = private_addresses
        self._timeout = aiohttp.ClientTimeout(total=timeout.total_seconds())
        self._limit = limit
        self._tls = tls_context(ca_file) if self._encrypted else True
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return "Outbound()"

    async def call(
        self,
        method: str,
        path: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        data: str | None = None,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        read: bool = True,
    ) -> Answer:
        """Call once; `path` is appended as it is, so its parts must be quoted (see `part`).

        Without `read` the answer is its status line and headers: nobody waits for a body.
        Raises NoAnswerError where there is none.
        """
        if self._session is None:
            self._session = self._open()
        sent = {"user-agent": "access-monitor", **(headers or {})}
        if json is not None:
            data = json_library.dumps(json, separators=(",", ":"))
            sent["content-type"] = "application/json"
        if form is not None:
            data = urlencode(form)
            sent["content-type"] = "application/x-www-form-urlencoded"
        text = (self._url.rstrip("/") + path if path else self._url) + (
            f"?{urlencode(query)}" if query else ""
        )
        try:
            address = URL(text, encoded=True)
            async with self._session.request(
                method, address, data=data, headers=sent, allow_redirects=False
            ) as response:
                body = await _body(response) if read else b""
                return Answer(response.status, _seconds(response.headers.get("retry-after")), body)
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, _ForbiddenAddressError):
                raise NoAnswerError(str(error.os_error)) from None
            raise NoAnswerError(type(error).__name__) from None
        # ValueError: a host name or an address that cannot be one.
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise NoAnswerError(type(error).__name__) from None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._limit,
            ssl=self._tls,
            socket_factory=self._socket,
            use_dns_cache=False,
        )
        return aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    def _socket(self, address: AddressInfo) -> socket.socket:
        """Return the socket for the address that is about to be connected to, if it may be."""
        family, kind, protocol, _, where = address
        if is_private(where[0]):
            if not self._private:
                raise _ForbiddenAddressError(
                    "its address is a private one: set private_addresses to allow it"
                )
        elif not self._encrypted:
            raise _ForbiddenAddressError("its address is a public one: that needs https")
        made = _TimedSocket(family, kind, protocol)
        made.setblocking(False)
        return made


def part(text: str) -> str:
    """Return an id as one part of a path; raises UnfitError where servers might read more into it.

    Quoting is not enough: many servers resolve ``%2e%2e%2f`` before they look at a path.
    """
    if not text.isprintable() or _MORE_THAN_A_NAME & set(text) or text in {".", ".."}:
        raise UnfitError("the credential's id cannot be a part of an address")
    return quote(text, safe="")


def is_private(address: str) -> bool:
    """Return whether an address is anything but one of the public internet."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_private(str(inner))
    return not ip.is_global or ip.is_multicast


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return how gateways' certificates are verified; raises ConfigurationError where `ca_file` is none."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        fault = Fault("ca_file", f"cannot be used ({type(error).__name__})", "expected certificates in PEM")
        raise ConfigurationError("a gateway's certificate cannot be verified", [fault]) from None


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(65536):
        body += chunk
        if len(body) > _MOST_BYTES:
            raise aiohttp.ClientPayloadError("the answer is too large")
    return bytes(body)


def _seconds(after: str | None) -> float | None:
    """Return the seconds that Retry-After asks for (RFC 9110: seconds or a date), at most a minute."""
    if after is None:
        return None
    try:
        seconds = float(after) if after.isdigit() else parsedate_to_datetime(after).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), _LONGEST_WAIT_SECONDS)
