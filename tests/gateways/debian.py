"""Servers of Debian's packages, on free ports of loopback, gone when the context is left."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import aiohttp
import pytest

from monitor.demo.processes import Child, Processes, free_ports, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

START_SECONDS: Final = 30.0


def program(name: str) -> str:
    """Return the path of a server's program; skips (in CI: fails) where it is not installed."""
    # Servers are in sbin, which is not on every user's PATH.
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")
    if found is None:
        message = f"{name} is not installed: make debian"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


class Haproxy:
    """HAProxy with a configuration file of its own, and a way to start it again."""

    def __init__(self, processes: Processes, config: Path, port: int) -> None:
        self._processes = processes
        self._config = config
        self.port = port
        self.child: Child | None = None

    async def up(self) -> None:
        """Start it, and return when it answers."""
        command = [program("haproxy"), "-db", "-f", str(self._config)]
        self.child = self._processes.start("haproxy", command)
        await answers(self._processes, self.child, self.port)

    async def down(self) -> None:
        """End it, as a power cut would."""
        child, self.child = self.child, None
        if child is not None:
            child.signal(signal.SIGKILL)
            assert await until(lambda: child.code is not None, within_seconds=START_SECONDS)
            self._processes._children.remove(child)


async def answers(processes: Processes, child: Child, port: int, path: str = "/") -> None:
    """Return when a server answers anything at all."""

    async def ready() -> bool:
        try:
            async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}{path}"):
                return True
        except aiohttp.ClientError:
            return False

    await processes.wait_until(ready, child, f"port {port}", within_seconds=START_SECONDS)


@asynccontextmanager
async def haproxy(folder: Path, config: str) -> AsyncIterator[Haproxy]:
    """Run HAProxy; `config` may name {port}, {socket} and {map}."""
    program("haproxy")
    [port] = free_ports(1)
    (folder / "refused.map").touch()
    # A socket's path may have 107 characters, which pytest's folders have soon.
    path = folder / "haproxy.cfg"
    path.write_text(config.format(port=port, socket=folder / "admin.sock", map=folder / "refused.map"))
    async with Processes(folder) as processes:
        made = Haproxy(processes, path, port)
        await made.up()
        yield made
