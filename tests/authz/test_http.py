"""The server of questions: what it reads, what it refuses to read, and that no bytes bring it down."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from monitor.authz.http import Header, QuestionServer, _Connection, reply
from tests.response.stage import until

if TYPE_CHECKING:
    from collections.abc import Iterable

WHO = Header("x-client-id")


class Wire:
    """A connection without a network: what is fed, and what comes back."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, list[str]]] = []
        server = QuestionServer(self._answer)
        server.date = b"date: now\r\n"
        self.connection = _Connection(server)
        self.sent = b""
        self.closed = False
        self.read = True
        self.connection.connection_made(Transport(self))

    def feed(self, *chunks: bytes) -> bytes:
        for chunk in chunks:
            if not self.closed:
                self.connection.data_received(chunk)
        return self.sent

    def _answer(self, target: bytes, fields: bytes) -> Any:
        who = WHO.texts(fields)
        self.asked.append((target, who))
        return reply(403 if who == ["bad"] else 200, b'{"a":1}' if who == ["bad"] else b"")

    @property
    def statuses(self) -> list[int]:
        return [int(line[9:12]) for line in self.sent.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


class Transport(asyncio.Transport):
    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self._wire = wire

    def write(self, data: Any) -> None:
        assert not self._wire.closed
        self._wire.sent += data

    def close(self) -> None:
        self._wire.closed = True

    def abort(self) -> None:
        self._wire.closed = True

    def is_closing(self) -> bool:
        return self._wire.closed

    def pause_reading(self) -> None:
        self._wire.read = False

    def resume_reading(self) -> None:
        self._wire.read = True


@pytest.fixture(autouse=True)
def loop() -> Iterable[None]:
    """Let a connection ask for the time."""
    made = asyncio.new_event_loop()
    asyncio.set_event_loop(made)
    yield
    asyncio.set_event_loop(None)
    made.close()


def wire() -> Wire:
    async def make() -> Wire:
        return Wire()

    return asyncio.get_event_loop_policy().get_event_loop().run_until_complete(make())


def request(*lines: str, target: str = "/a", method: str = "GET", version: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/{version}", *lines, "", ""]).encode("latin-1")


HOST = "Host: gate"


def test_a_question_is_answered_and_the_connection_stays():
    made = wire()
    made.feed(request(HOST, "X-Client-Id:  partner-1 "), request(HOST, "x-client-id: bad", target="/b?c"))
    assert made.asked == [(b"/a", ["partner-1"]), (b"/b?c", ["bad"])]
    assert made.sent == (
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\ndate: now\r\n\r\n"
        b"HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\ncontent-length: 7\r\ndate: now\r\n\r\n"
        b'{"a":1}'
    )
    assert not made.closed


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        (request(HOST, "Connection: close"), False),
        (request(HOST, "Connection: Keep-Alive, Close"), False),
        (request(), False),  # no Host: 400
        (request(version="1.0"), False),
        (request("Connection: keep-alive", version="1.0"), True),
    ],
)
def test_how_long_a_connection_lasts(raw: bytes, *, kept: bool):
    made = wire()
    made.feed(raw)
    assert made.closed is not kept
    if kept:
        assert b"connection: keep-alive\r\n" in made.sent


def test_an_answer_to_head_has_no_body():
    made = wire()
    made.feed(request(HOST, "x-client-id: bad", method="HEAD"), request(HOST, "x-client-id: partner-1"))
    assert made.statuses == [403, 200]
    assert b'{"a":1}' not in made.sent


def test_a_body_is_dropped_however_it_arrives():
    made = wire()
    body = b"GET /evil HTTP/1.1\r\n\r\n"
    raw = request(HOST, f"Content-Length: {len(body)}", method="POST") + body + request(HOST, target="/next")
    made.feed(*(raw[i : i + 1] for i in range(len(raw))))
    assert [target for target, _ in made.asked] == [b"/a", b"/next"]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (request(HOST, "Content-Length: 5", "Transfer-Encoding: chunked"), 400),
        (request(HOST, "Transfer-Encoding: chunked"), 411),
        (request(HOST, "Content-Length: 5", "Content-Length: 6"), 400),
        (request(HOST, "Content-Length: +5"), 400),
        (request(HOST, "Content-Length: 5, 5"), 400),
        (request(HOST, "Content-Length: 0x5"), 400),
        (request(HOST, "Content-Length: 99999999"), 413),
        (request(HOST, "Expect: 100-continue", "Content-Length: 5"), 417),
        (request(HOST, HOST), 400),
        (request(HOST, "x-client-id : bad"), 400),
        (request(HOST, " x-client-id: bad"), 400),
        (request(HOST, "x-other: a", " folded"), 400),
        (request(HOST, "x-client-id"), 400),
        (request(HOST, "x-client-id: a\x00b"), 400),
        (request(HOST, "x-client-id: a\nx-client-id: b"), 400),
        (request(HOST, "x-client-id: a\rb"), 400),
        (request(HOST, "x-client-id: \xff"), 400),
        (request(HOST, target="/a b"), 400),
        (request(HOST, version="2.0"), 400),
        (request(HOST, version="0.9"), 400),
        (b"GET /a\r\n\r\n", 400),
        (b"\r\n\r\nGET /a HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"GET /" + b"a" * 70_000, 431),
        (request(HOST, f"x: {'a' * 70_000}"), 431),
    ],
)
def test_what_cannot_be_read_with_certainty_is_refused(raw: bytes, status: int):
    """And nothing behind it on the connection is read."""
    made = wire()
    made.feed(raw + request(HOST, "x-client-id: partner-1", target="/smuggled"))
    assert made.statuses == [status]
    assert made.closed
    assert [target for target, _ in made.asked] in ([], [b"/a"])
    assert all(who != ["partner-1"] for _, who in made.asked)


def test_whoever_does_not_read_answers_is_not_read_either():
    made = wire()
    made.connection.pause_writing()
    assert not made.read
    made.feed(request(HOST), request(HOST))
    assert made.sent == b""
    made.connection.resume_writing()
    assert made.read
    assert made.statuses == [200, 200]


TOKENS = st.text("abcXYZ09-_.!~", min_size=1, max_size=12)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
LINES = st.lists(st.tuples(TOKENS, VALUES), max_size=5)


@st.composite
def well_formed(draw: st.DrawFn) -> tuple[bytes, tuple[bytes, list[str]]]:
    """Return a request, and what must be understood of it."""
    reserved = {"host", "content-length", "transfer-encoding", "connection", "expect", "x-client-id"}
    lines = [f"{name}: {value}" for name, value in draw(LINES) if name.lower() not in reserved]
    who = draw(st.lists(VALUES, max_size=2))
    spelt = draw(st.sampled_from(["x-client-id", "X-Client-ID", "X-CLIENT-ID"]))
    lines += [f"{spelt}:{value}" for value in who]
    body = draw(st.binary(max_size=40))
    if body or draw(st.booleans()):
        lines.append(f"content-length: {len(body)}")
    target = "/" + draw(st.text("abc/?&=%.", max_size=15))
    raw = request(HOST, *lines, target=target, method=draw(st.sampled_from(["GET", "POST", "PATCH"]))) + body
    return raw, (target.encode(), [value.strip(" \t") for value in who])


@given(
    requests=st.lists(well_formed(), min_size=1, max_size=4), cuts=st.lists(st.integers(0, 600), max_size=8)
)
def test_the_pieces_in_which_it_arrives_change_nothing(
    requests: list[tuple[bytes, tuple[bytes, list[str]]]], cuts: list[int]
):
    """Every well-formed request is understood, one after the other, wherever the network cuts."""
    raw = b"".join(one for one, _ in requests)
    places = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    made = wire()
    made.feed(*(raw[start:end] for start, end in pairwise(places)))
    assert made.asked == [understood for _, understood in requests]
    assert not made.closed


PIECES = st.sampled_from(
    [
        *(b"GET", b" ", b"/a", b" HTTP/1.1", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"Host: g", b":", b"\x00"),
        *(b"\xff", b"x-client-id: p", b"Content-Length: 3", b"Transfer-Encoding: chunked", b"abc"),
        b"GET /a HTTP/1.1\r\n",
    ]
)


@given(
    raw=st.lists(PIECES | st.binary(max_size=6), max_size=30).map(b"".join), cuts=st.lists(st.integers(1, 80))
)
@example(raw=b"GET /a HTTP/1.1\r\nHost: g\r\nContent-Length: 3\r\n\r\nabcGET", cuts=[3])
def test_no_bytes_bring_it_down(raw: bytes, cuts: list[int]):
    """Whatever comes is answered in whole answers, refused, or waited for; cut or not, the same."""
    whole, pieces = wire(), wire()
    whole.feed(raw)
    places = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    pieces.feed(*(raw[start:end] for start, end in pairwise(places)))
    assert whole.asked == pieces.asked
    assert whole.sent == pieces.sent
    assert whole.closed == pieces.closed
    assert len(whole.asked) <= raw.count(b"\r\n\r\n")
    assert len(whole.statuses) - len(whole.asked) in {0, 1}


async def test_idle_and_slow_connections_end():
    server = QuestionServer(lambda _target, _fields: reply(200))
    await server.start("127.0.0.1", 0)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HT")
        await writer.drain()
        await until(lambda: server.connections and next(iter(server.connections))._buffer)
        [connection] = server.connections
        now = asyncio.get_running_loop().time()
        connection.end_if_late(now + 5)
        assert connection._transport is not None
        assert not connection._transport.is_closing()
        connection.end_if_late(now + 11)
        assert await reader.read() == b""
        writer.close()
    finally:
        await server.stop()
