"""A small HTTP/1.1 server for the one question that gateways ask before each request.

It answers a request from its head, synchronously, and drops the body. What it cannot read with certainty
it refuses with 400 and ends the connection: two servers that read a request differently are a way past one
of them. `bench/authz.py` has what it gains over a general server.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = structlog.get_logger(__name__)

#: Envoy sends up to 60 KiB of headers unless told otherwise.
_LARGEST_HEAD: Final = 64 * 1024
_LARGEST_BODY: Final = 1 << 20
_MOST_CONNECTIONS: Final = 4096
#: A connection without a request ends after this, one in the middle of a request sooner.
_IDLE_SECONDS: Final = 90.0
_REQUEST_SECONDS: Final = 10.0

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
# Possessive: nothing is tried twice, so no head takes longer than its length.
_HEAD: Final = re.compile(
    rb"(" + _TOKEN + rb"{1,32}+) ([\x21-\x7e\x80-\xff]++) HTTP/1\.([01])\r\n"
    rb"((?:" + _TOKEN + rb"++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+)\r\n"
)
_DIGITS: Final = re.compile(rb"[0-9]{1,10}+")
_REASONS: Final = {
    200: b"OK",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    411: b"Length Required",
    413: b"Content Too Large",
    417: b"Expectation Failed",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    503: b"Service Unavailable",
}


class HeaderError(Exception):
    """A header that is there cannot be read with certainty."""


class Header:
    """Finds a header's values in the fields of a head."""

    __slots__ = ("_pattern",)

    def __init__(self, name: str) -> None:
        self._pattern = re.compile(rb"(?i:\n" + re.escape(name.encode("ascii")) + rb"):([^\r]*+)\r")

    def raw(self, fields: bytes) -> list[bytes]:
        """Return the values without the spaces around them, in order."""
        return [value.strip(b" \t") for value in self._pattern.findall(fields)]

    def texts(self, fields: bytes) -> list[str]:
        """Return the values as text; raises HeaderError where one is no UTF-8."""
        try:
            return [value.decode() for value in self.raw(fields)]
        except UnicodeDecodeError:
            raise HeaderError from None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, ready to be sent; `head` ends before the lines that depend on the connection."""

    status: int
    head: bytes
    body: bytes


def reply(
    status: int, body: bytes = b"", kind: str = "application/json", headers: Mapping[str, str] | None = None
) -> Reply:
    """Return an answer with its headers."""
    lines = [b"HTTP/1.1 %d %s" % (status, _REASONS[status])]
    if body:
        lines.append(b"content-type: " + kind.encode("ascii"))
    lines += [f"{name}: {value}".encode("latin-1") for name, value in (headers or {}).items()]
    lines.append(b"content-length: %d" % len(body))
    return Reply(status, b"\r\n".join(lines) + b"\r\n", body)


_CONNECTION: Final = Header("connection")
_LENGTH: Final = Header("content-length")
_CODING: Final = Header("transfer-encoding")
_HOST: Final = Header("host")
_EXPECT: Final = Header("expect")


class QuestionServer:
    """Listens, and answers each request with what `answer` returns for its path and fields."""

    def __init__(self, answer: Callable[[bytes, bytes], Reply]) -> None:
        self.answer = answer
        self.connections: set[_Connection] = set()
        self.stopping = False
        #: The Date line, as of this second.
        self.date = b""
        self._server: asyncio.Server | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen; raises OSError where the address is not to be had."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), host, port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        self._tick()

    async def stop(self) -> None:
        """Stop listening, and end the connections: each answer was complete when it was written."""
        self.stopping = True
        if self._sweep is not None:
            self._sweep.cancel()
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.close()
        if self._server is not None:
            await self._server.wait_closed()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self.date = b"date: " + formatdate(usegmt=True).encode("ascii") + b"\r\n"
        now = loop.time()
        for connection in list(self.connections):
            connection.end_if_late(now)
        self._sweep = loop.call_later(1.0, self._tick)


class _Connection(asyncio.Protocol):
    """One connection of a gateway."""

    __slots__ = ("_buffer", "_loop", "_paused", "_server", "_since", "_skip", "_transport")

    def __init__(self, server: QuestionServer) -> None:
        self._server = server
        self._buffer = b""
        #: Bytes of a body that are still to come.
        self._skip = 0
        self._paused = False
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or not where there are too many."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what create_server makes
        self._transport = transport
        if self._server.stopping or len(self._server.connections) >= _MOST_CONNECTIONS:
            transport.abort()
            return
        self._server.connections.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        """Forget the connection."""
        self._transport = None
        self._server.connections.discard(self)

    def pause_writing(self) -> None:
        """Read no more from whoever does not read our answers."""
        self._paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on, first with what is here already."""
        self._paused = False
        self._work()
        if self._transport is not None and not self._paused:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self._buffer = self._buffer + data if self._buffer else data
        self._work()

    def close(self) -> None:
        """End the connection after what is written."""
        if self._transport is not None:
            self._transport.close()

    def end_if_late(self, now: float) -> None:
        """End the connection where its next request is not complete in time."""
        patience = _REQUEST_SECONDS if self._buffer or self._skip else _IDLE_SECONDS
        if now - self._since > patience:
            if self._paused and self._transport is not None:
                self._transport.abort()
            self.close()

    def _work(self) -> None:
        began = False
        while self._transport is not None and not self._paused and not self._transport.is_closing():
            if self._skip:
                dropped = min(self._skip, len(self._buffer))
                self._buffer, self._skip = self._buffer[dropped:], self._skip - dropped
                began = True
            if self._skip or not self._buffer:
                break
            end = self._buffer.find(b"\r\n\r\n", 0, _LARGEST_HEAD)
            if end < 0:
                if len(self._buffer) >= _LARGEST_HEAD:
                    self._fail(431)
                break
            head, self._buffer = self._buffer[: end + 4], self._buffer[end + 4 :]
            self._take(head)
            began = True
        if began:
            self._since = self._loop.time()

    def _take(self, head: bytes) -> None:
        found = _HEAD.fullmatch(head)
        if found is None:
            self._fail(400)
            return
        method, target, minor, block = found.groups()
        fields = b"\n" + block
        if minor == b"1" and len(_HOST.raw(fields)) != 1:
            self._fail(400)
            return
        problem = self._body(fields)
        if problem:
            self._fail(problem)
            return
        try:
            answer = self._server.answer(target, fields)
        except HeaderError:
            self._fail(400)
            return
        except Exception:
            log.exception("a question was not answered")
            self._fail(500)
            return
        keeps = [word.strip() for value in _CONNECTION.raw(fields) for word in value.lower().split(b",")]
        last = b"close" in keeps or (minor == b"0" and b"keep-alive" not in keeps)
        self._send(answer, last=last, stated=minor == b"0" and not last, body=method != b"HEAD")

    def _body(self, fields: bytes) -> int:
        """Note how long the body is; return a status where that cannot be known or is too much."""
        if _CODING.raw(fields):
            # A body in chunks: with a length beside it nobody can tell which counts.
            return 400 if _LENGTH.raw(fields) else 411
        if _EXPECT.raw(fields):
            return 417
        lengths = set(_LENGTH.raw(fields))
        if not lengths:
            return 0
        length = lengths.pop()
        if lengths or not _DIGITS.fullmatch(length):
            return 400
        self._skip = int(length)
        return 413 if self._skip > _LARGEST_BODY else 0

    def _send(self, answer: Reply, *, last: bool, stated: bool, body: bool) -> None:
        transport = self._transport
        if transport is None:
            return
        line = b"connection: close\r\n" if last else b"connection: keep-alive\r\n" if stated else b""
        sent = answer.body if body else b""
        transport.write(b"".join((answer.head, self._server.date, line, b"\r\n", sent)))
        if last:
            transport.close()

    def _fail(self, status: int) -> None:
        """Refuse what cannot be read, and read no further."""
        self._buffer, self._skip = b"", 0
        self._send(reply(status), last=True, stated=False, body=True)
