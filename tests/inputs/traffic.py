"""An API that names its patients, and clients that ask it for them through a gateway."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import aiohttp
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: client → its key
CLIENTS: Final[Mapping[str, str]] = {f"partner-{number}": f"key-of-{number}-4711" for number in range(5)}
CONNECTIONS: Final = 16
_number = re.compile(r"[?&]n=([0-9]+)")


@dataclass(frozen=True, slots=True)
class Request:
    """One request, and what must be known of it afterwards."""

    number: int
    path: str
    principal: str | None
    patients: tuple[str, ...]
    tenant: str | None
    status: int


@dataclass(frozen=True, slots=True)
class Sent:
    """When a request was begun and answered, in epoch milliseconds."""

    begun_ms: int
    answered_ms: int


def requests(count: int) -> list[Request]:
    """Requests of every kind: patients in headers of the answer, in the path, in the query, in none."""
    made = []
    for number in range(count):
        client = f"partner-{number % len(CLIENTS)}"
        patient = f"p-{number}"
        who: tuple[str, ...]
        tenant: str | None
        kind = number % 8
        if kind in {0, 1, 2}:
            path, who, tenant, status = f"/appointments/{number}?n={number}", (patient,), "practice-3", 200
        elif kind == 3:
            path, who, tenant, status = f"/fhir/Patient/p%2D{number}?n={number}", (patient,), None, 200
        elif kind == 4:
            path = f"/fhir/Observation?subject=Patient/{patient},Patient/q-{number}&n={number}"
            who, tenant, status = (patient, f"q-{number}"), None, 200
        elif kind == 5:
            # What a client may write: it ends no text, and no line.
            path = f"/missing/%22%7D%0d%0a%1b%5B2J/{number}?n={number}&x=%5C%22,%22principal%22:%22other"
            who, tenant, status = (), None, 404
        elif kind == 6:
            path, who, tenant, status = f"/appointments/{number}?n={number}", (), None, 401
        else:
            path, who, tenant, status = (
                f"/fhir/Patient/{patient}/$everything?n={number}",
                (patient,),
                None,
                200,
            )
        principal = None if status == 401 else client
        made.append(Request(number, path, principal, who, tenant, status))
    return made


def number_of(record: bytes) -> int:
    """Which request a gateway's record is of."""
    found = _number.search(record.decode("utf-8", "replace"))
    assert found is not None
    return int(found[1])


class Api:
    """Answers as fast as it can; `seen` are the client ids and keys that reached it."""

    def __init__(self) -> None:
        self.port = 0
        self.seen: set[str] = set()
        self.keys: set[str] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                line, *fields = head.split("\r\n")
                for field in fields:
                    name, _, value = field.partition(": ")
                    if name.lower() == "x-client-id":
                        self.seen.add(value)
                    if name.lower() == "x-api-key" and value:
                        self.keys.add(value)
                writer.write(_answer(line.split(" ")[1]))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


def _answer(target: str) -> bytes:
    found = re.match(r"/appointments/([0-9]+)", target)
    status, more = "200 OK", ""
    if found:
        more = f"X-Patient-Id: p-{found[1]}\r\nX-Tenant-Id: practice-3\r\nX-Record-Count: 1\r\n"
    elif target.startswith("/missing"):
        status = "404 Not Found"
    return f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n{more}\r\n{{}}".encode()


async def send(port: int, wanted: Sequence[Request], halfway: asyncio.Event | None = None) -> dict[int, Sent]:
    """Send requests through the gateway; each answer is the one that is expected."""
    sent: dict[int, Sent] = {}
    queue = list(reversed(wanted))
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def client() -> None:
            while queue:
                request = queue.pop()
                # Who has no key says who it would like to be; who has one says so too.
                headers = {"X-Client-Id": "partner-0", "X-Request-Id": "always-the-same"}
                if request.principal is not None:
                    headers["X-Api-Key"] = CLIENTS[request.principal]
                begun = int(time.time() * 1000)
                url = URL(f"http://127.0.0.1:{port}{request.path}", encoded=True)
                async with session.get(url, headers=headers) as answer:
                    await answer.read()
                    assert answer.status == request.status, (request.path, answer.status)
                if halfway is not None and len(queue) < len(wanted) // 2:
                    halfway.set()
                sent[request.number] = Sent(begun, int(time.time() * 1000))

        await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return sent
