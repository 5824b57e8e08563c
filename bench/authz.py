"""Time and CPU per question of the decision service, beside a general server in the same breath.

Each server has one core; whoever asks has another, and asks at a fixed rate whatever the answers take:
``python bench/authz.py [--rate 5000] [--seconds 5]``. `ours` decides among 10,000 refused credentials; `aiohttp`
decides nothing, and is what a service on a general server costs at least; `floor` does not even read the
question. Where other work shares the cores, `--realtime` shows what the server itself takes.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import resource
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from monitor.authz.register import Refusal
from monitor.authz.service import AuthzService
from monitor.core.events import CredentialStatus
from monitor.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

REFUSED = 10_000
CONNECTIONS = 32
ROUNDS = 3
#: As Envoy asks: the client's request with the header that the gateway sets.
QUESTION = (
    b"GET /appointments/%d?from=2026-11-26 HTTP/1.1\r\nhost: clinic.example\r\nuser-agent: partner/1.0\r\n"
    b"accept: application/json\r\nx-forwarded-proto: https\r\nx-request-id: 5f0c2a7e-6a3d-4f2b-9f1d-3e8d9b1c2a4f\r\n"
    b"x-envoy-internal: true\r\nx-envoy-expected-rq-timeout-ms: 500\r\nx-client-id: partner-%d\r\n"
    b"content-length: 0\r\n\r\n"
)


def ours() -> Any:
    """Return our service, as it is once it knows who is refused."""
    folder = Path(tempfile.mkdtemp())
    run = [sys.executable, "-m", "monitor", "keys", "new", str(folder / "keys")]
    subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
    (folder / "monitor.yaml").write_text(
        "kafka: {bootstrap_servers: '127.0.0.1:1'}\nsources: [{name: a, topic: a, realm: clinic}]\n"
        "privacy: {key_file: keys}\nauthz: {realm: clinic, listen: '127.0.0.1:0'}\n"
    )
    settings = load_settings(folder / "monitor.yaml")
    service = AuthzService(settings, settings.authz.listen)
    service.register._caught_up, service.register._heartbeat_ms = True, 1  # noqa: SLF001 - no Kafka here
    for number in range(REFUSED):
        service.register.refused[f"clinic/partner-{number}"] = Refusal(
            CredentialStatus.REVOKED, "INC-1", None
        )
    return service._server  # noqa: SLF001


class General:
    """A trivial server of aiohttp."""

    async def start(self, host: str, port: int) -> None:
        """Listen."""

        async def answer(_request: web.BaseRequest) -> web.Response:
            return web.Response()

        self._runner = web.ServerRunner(web.Server(answer, access_log=None))
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        self.port = self._runner.addresses[0][1]


class Floor:
    """A server that answers every piece of bytes with the same 200."""

    async def start(self, host: str, port: int) -> None:
        """Listen."""

        class Connection(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                self.transport = transport

            def data_received(self, _data: bytes) -> None:
                self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

        self._server = await asyncio.get_running_loop().create_server(Connection, host, port)
        self.port = self._server.sockets[0].getsockname()[1]


def serve(make: Callable[[], Any], pipe: Connection, core: int) -> None:
    """Run a server on one core; tell its port, and its CPU time when asked."""
    os.sched_setaffinity(0, {core})

    async def main() -> None:
        server = make()
        await server.start("127.0.0.1", 0)
        pipe.send(server.port)
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def asked() -> None:
            if pipe.recv() == "end":
                done.set()
                return
            used = resource.getrusage(resource.RUSAGE_SELF)
            pipe.send(used.ru_utime + used.ru_stime)

        loop.add_reader(pipe.fileno(), asked)
        await done.wait()

    asyncio.run(main())


class Asker:
    """Connections that are asked over, without a loop's own delays."""

    def __init__(self, port: int) -> None:
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        for _ in range(CONNECTIONS):
            made = socket.create_connection(("127.0.0.1", port))
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setblocking(False)
            self._sockets[made.fileno()] = made
            self._poll.register(made.fileno(), select.EPOLLIN)
        self._free = deque(self._sockets)
        self._asked: dict[int, float] = {}
        self._number = 0

    def run(self, rate: float | None, seconds: float) -> list[float]:
        """Ask at a rate (or as fast as answers come); return the seconds that each answer took."""
        took: list[float] = []
        began = time.perf_counter()
        planned = 0
        while (now := time.perf_counter()) - began < seconds or self._asked:
            running = now - began < seconds
            while running and self._free and (rate is None or planned < (now - began) * rate):
                # Late by our own doing counts too: the clock runs from when it was to be asked.
                due = now if rate is None else began + planned / rate
                planned += 1
                self._ask(self._free.popleft(), due)
            for number, _ in self._poll.poll(0 if self._free and rate is None else 0.0005):
                self._sockets[number].recv(65536)
                took.append(time.perf_counter() - self._asked.pop(number))
                self._free.append(number)
        return took

    def _ask(self, number: int, due: float) -> None:
        self._number += 1
        # One in a hundred is refused.
        who = self._number % REFUSED if self._number % 100 == 0 else REFUSED + self._number % 500
        self._sockets[number].send(QUESTION % (self._number, who))
        self._asked[number] = due

    def close(self) -> None:
        """End the connections."""
        for made in self._sockets.values():
            made.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=5000.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--realtime", action="store_true", help="Ahead of all else on this machine (root).")
    options, _ = parser.parse_known_args()
    cores = sorted(os.sched_getaffinity(0))
    if options.realtime:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    makers: dict[str, Callable[[], Any]] = {"ours": ours, "aiohttp": General, "floor": Floor}
    servers = {}
    context = multiprocessing.get_context("fork")
    for name, make in makers.items():
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(make, there, cores[0]), daemon=True)
        process.start()
        there.close()  # so that a server that ends is heard
        servers[name] = process, here, here.recv()
    os.sched_setaffinity(0, {cores[-1]})
    took: dict[str, list[float]] = {name: [] for name in servers}
    cpu = dict.fromkeys(servers, 0.0)
    most = dict.fromkeys(servers, 0.0)
    for _ in range(ROUNDS):
        for name, (_, pipe, port) in servers.items():
            asker = Asker(port)
            pipe.send("cpu")
            before = pipe.recv()
            took[name] += asker.run(options.rate, options.seconds)
            pipe.send("cpu")
            cpu[name] += pipe.recv() - before
            most[name] = max(most[name], len(asker.run(None, 2.0)) / 2.0)
            asker.close()
    print(f"{options.rate:.0f} questions/s on one core, {CONNECTIONS} connections, {ROUNDS} rounds in turn")
    print(f"{'':8} {'p50 ms':>8} {'p99 ms':>8} {'p99.9 ms':>9} {'CPU µs each':>12} {'most /s':>8}")
    for name, values in took.items():
        values.sort()
        p50, p99, p999 = (1000 * values[int(len(values) * q)] for q in (0.5, 0.99, 0.999))
        each = 1e6 * cpu[name] / len(values)
        print(f"{name:8} {p50:8.3f} {p99:8.3f} {p999:9.3f} {each:12.1f} {most[name]:8.0f}")
    for process, pipe, _ in servers.values():
        pipe.send("end")
        process.join(5)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
