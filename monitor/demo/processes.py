"""The processes of the demo: started on a leash, waited for, and ended together."""

from __future__ import annotations

import asyncio
import math
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from monitor.demo import leash
from monitor.errors import ExitCode, MonitorError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

_POLL_SECONDS: Final = 0.02
_WATCH_SECONDS: Final = 0.2
_END_SECONDS: Final = 8.0
_TAIL_LINES: Final = 15
#: Below what Linux gives to outgoing connections, so that none of those takes a port we chose.
_PORTS: Final = range(20_000, 32_000)
_reservations: Final[list[socket.socket]] = []


class DemoError(MonitorError):
    """A part of the demo did not start, or ended before it should."""

    exit_code = ExitCode.SOFTWARE


class Child:
    """One process, and the file that holds what it says.

    `begin` starts it. Where `supervised`, one that is killed is begun again, as a supervisor would.
    """

    def __init__(
        self, name: str, log: Path, begin: Callable[[], subprocess.Popen[bytes]], *, supervised: bool
    ) -> None:
        self.name = name
        self.log = log
        self._begin = begin
        self._supervised = supervised
        self._process = begin()

    @property
    def pid(self) -> int:
        """The process id, which is its group's too."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code, or None while it runs; negative for a signal."""
        return self._process.poll()

    @property
    def killed(self) -> bool:
        """Whether a signal ended it, and it is one that a supervisor starts again."""
        return self._supervised and self.code is not None and self.code < 0

    def begin_again(self) -> None:
        """Start it anew, in the place of the process that ended."""
        self._process = self._begin()

    def tail(self) -> str:
        """Return the last lines of what it said."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-_TAIL_LINES:]) or "(it said nothing)"

    def signal(self, number: int) -> None:
        """Send a signal to it and what it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)


class Processes:
    """All children of the demo; leaving the context ends them."""

    def __init__(self, folder: Path, say: Callable[[str], None] = lambda _: None) -> None:
        self._folder = folder
        self._say = say
        self._children: list[Child] = []
        # A setting of the shell must not reach into the demo.
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith("MONITOR_")
        }

    async def __aenter__(self) -> Self:
        """Nothing runs yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End what runs: SIGTERM, and SIGKILL to whoever does not follow."""
        await self.stop()

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        supervised: bool = False,
        stdout: Path | None = None,
    ) -> Child:
        """Start a process in a group of its own; what it says goes to ``<name>.log``, or `stdout` apart.

        Where `supervised`, it is started again when it is killed.
        """
        path = self._folder / f"{name}.log"

        def begin() -> subprocess.Popen[bytes]:
            with path.open("ab") as log, (stdout or path).open("ab") as out:
                return subprocess.Popen(  # noqa: S603 - the demo's own commands
                    [sys.executable, "-I", "-S", str(Path(leash.__file__)), str(os.getpid()), *command],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=log,
                    env=self._environment,
                    start_new_session=True,
                )

        child = Child(name, path, begin, supervised=supervised)
        self._children.append(child)
        return child

    async def run(self, name: str, command: Sequence[str], *, within_seconds: float) -> None:
        """Run a process to its end; raises DemoError where it fails or takes too long."""
        child = self.start(name, command)
        if not await until(lambda: child.code is not None, within_seconds=within_seconds):
            raise DemoError(_told(child, f"did not end within {within_seconds:.0f} s"))
        self._children.remove(child)
        if child.code != 0:
            raise DemoError(_told(child, f"ended with exit code {child.code}"))

    async def wait_until(
        self, condition: Callable[[], Awaitable[bool]], child: Child, what: str, *, within_seconds: float
    ) -> None:
        """Return once the condition holds; raises DemoError where a child ends or time is up.

        `what` completes the sentence "worker: …".
        """
        deadline = time.monotonic() + within_seconds
        while not await condition():
            self.check()
            if time.monotonic() > deadline:
                raise DemoError(_told(child, f"{what}: not within {within_seconds:.0f} s"))
            await asyncio.sleep(_POLL_SECONDS)

    def check(self) -> None:
        """Start again who was killed; raise DemoError where a child ended that should still run."""
        for child in self._children:
            if child.killed:
                self._say(f"{child.name} was killed; it is started again, as a supervisor would")
                child.begin_again()
            elif child.code is not None:
                raise DemoError(_told(child, f"ended unexpectedly, with exit code {child.code}"))

    async def watch(self) -> None:
        """Run until a child ends unexpectedly; raises DemoError then."""
        while True:
            self.check()
            await asyncio.sleep(_WATCH_SECONDS)

    async def stop(self) -> None:
        """End all children and reap them."""
        for child in self._children:
            child.signal(signal.SIGTERM)
        await until(self._all_ended, within_seconds=_END_SECONDS)
        for child in self._children:
            # Also where it ended by itself: what it started is in its group.
            child.signal(signal.SIGKILL)
        await until(self._all_ended)
        self._children.clear()

    def _all_ended(self) -> bool:
        return all(child.code is not None for child in self._children)


async def until(condition: Callable[[], bool], *, within_seconds: float = math.inf) -> bool:
    """Return True once the condition holds, or False when the time is up."""
    deadline = time.monotonic() + within_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL_SECONDS)
    return True


def monitor_command(*arguments: str) -> list[str]:
    """Return a command of the product, as this Python runs it."""
    return [sys.executable, "-m", "monitor", *arguments]


def free_ports(count: int) -> list[int]:
    """Return different TCP ports of loopback that nobody listens on now.

    They stay ours until this process ends: no other process that asks here is given one of them, though
    who listens on it may start only later. Raises DemoError.
    """
    ports: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        if (reservation := _reserve(port)) is not None:
            _reservations.append(reservation)
            ports.append(port)
            if len(ports) == count:
                return ports
    msg = f"fewer than {count} free ports between {_PORTS.start} and {_PORTS.stop} on 127.0.0.1"
    raise DemoError(msg)


def _reserve(port: int) -> socket.socket | None:
    # The UDP port of the same number says that it is given away: nothing of ours speaks UDP, and the kernel
    # gives it back however we end. A listener's TCP port cannot be held for it.
    reservation = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    # No SO_REUSEADDR: it would take a port that another server is just leaving.
    with socket.socket() as probe:
        try:
            reservation.bind(("127.0.0.1", port))
            probe.bind(("127.0.0.1", port))
        except OSError:
            reservation.close()
            return None
    return reservation


def _told(child: Child, problem: str) -> str:
    indented = child.tail().replace("\n", "\n  ")
    return f"{child.name}: {problem}. Its log ({child.log}) ends with:\n  {indented}"
