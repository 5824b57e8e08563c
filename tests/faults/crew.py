"""Worker processes and what looks after them: each seat's worker is started again when it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.error import URLError

from monitor.stream import steps

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).parents[2]
#: How long whoever supervises waits before it starts a worker again: that doubles while it ends by itself.
FIRST_BACKOFF_SECONDS: Final = 0.2
LONGEST_BACKOFF_SECONDS: Final = 3.0
END_SECONDS: Final = 40.0
_KILLED: Final = -signal.SIGKILL


@dataclass(frozen=True, slots=True)
class End:
    """How a worker ended: `cause` is the fault that ended it, or ``itself``."""

    seat: int
    cause: str
    code: int
    said: str


class Seat:
    """The place of one worker."""

    def __init__(self, index: int, folder: Path, config: Path, instance: str | None) -> None:
        self.index = index
        self._folder, self._config, self._instance = folder, config, instance
        self.process: subprocess.Popen[bytes] | None = None
        self.log: Path | None = None
        self.wanted = False
        #: Faults that the next workers of this seat are started with, see monitor.stream.steps.
        self.armed: deque[str] = deque()
        self.step = ""
        self.cause = ""
        self.began = 0.0
        self.started = 0
        self._backoff = FIRST_BACKOFF_SECONDS
        self._next = 0.0
        self._address = ""
        self._ready_at: float | None = None
        self._asked_at = 0.0

    def start(self) -> None:
        """Start a worker."""
        self.log = self._folder / f"worker-{self.index}-{self.started}.log"
        environment = {**os.environ}
        self.step = self.armed.popleft() if self.armed else ""
        if self.step:
            environment[steps.VARIABLE] = self.step
        if self._instance:
            environment["MONITOR_WORKER__INSTANCE"] = f"{self._instance}-{self.index}"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "monitor", "worker", "-c", str(self._config)],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wanted, self.cause, self._address, self._ready_at = True, "", "", None
        self.began = time.monotonic()
        self.started += 1

    def send(self, number: int, cause: str = "") -> bool:
        """Send a signal; return False where there is no worker at present."""
        if self.process is None or self.process.poll() is not None:
            return False
        self.cause = cause or self.cause
        self.process.send_signal(number)
        return True

    def look(self) -> End | None:
        """Start what is wanted; return how the worker ended, once."""
        now = time.monotonic()
        if self.process is None:
            if self.wanted and now >= self._next:
                self.start()
            return None
        code = self.process.poll()
        if code is None:
            return None
        self.process = None
        cause = self.cause or (self.step if code == _KILLED and self.step else "itself")
        if cause != "itself" or now - self.began > 10 * LONGEST_BACKOFF_SECONDS:
            self._backoff = FIRST_BACKOFF_SECONDS
        else:
            self._backoff = min(2 * self._backoff, LONGEST_BACKOFF_SECONDS)
        self._next = now + (self._backoff if cause == "itself" else 0.0)
        return End(self.index, cause, code, last_words(self.log) if cause == "itself" else "")

    @property
    def ready(self) -> bool:
        """Whether the worker says that all its roles have their partitions."""
        return self._asked("readyz") is not None

    def ready_seconds(self) -> float:
        """Return for how long it is ready; asks about every second."""
        now = time.monotonic()
        if self._ready_at is None and now - self._asked_at > 1:
            self._asked_at = now
            if self.ready:
                self._ready_at = now
        return 0.0 if self._ready_at is None else now - self._ready_at

    def metrics(self) -> str:
        """Return what Prometheus would scrape, or nothing where the worker does not answer."""
        return self._asked("metrics") or ""

    @property
    def resident_bytes(self) -> int:
        """The memory that the worker holds, or 0 without one."""
        if self.process is None:
            return 0
        try:
            pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def _asked(self, path: str) -> str | None:
        if not self._address and self.log is not None:
            for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
                if '"listen"' in line and (listen := _entry(line).get("listen")):
                    self._address = f"http://{listen}"
                    break
        if not self._address:
            return None
        try:
            with urllib.request.urlopen(f"{self._address}/{path}", timeout=2) as answer:
                return str(answer.read().decode())
        except (URLError, OSError):
            return None


class Crew:
    """The seats of a run; call `look` often."""

    def __init__(self, folder: Path, config: Path, seats: int, *, instance: str | None) -> None:
        self.seats = [Seat(index, folder, config, instance) for index in range(seats)]
        self.ends: list[End] = []

    def look(self) -> None:
        """Start again what ended."""
        for seat in self.seats:
            end = seat.look()
            if end is not None:
                self.ends.append(end)

    def end(self) -> list[int]:
        """Ask all workers to end, and return their exit codes."""
        running = [seat for seat in self.seats if seat.send(signal.SIGTERM, "end")]
        for seat in self.seats:
            seat.wanted = False
        codes = []
        for seat in running:
            process = seat.process
            assert process is not None
            try:
                codes.append(process.wait(END_SECONDS))
            except subprocess.TimeoutExpired:
                seat.send(signal.SIGKILL)
                codes.append(process.wait())
        return codes

    def close(self) -> None:
        """End whatever still runs."""
        for seat in self.seats:
            seat.wanted = False
            if seat.send(signal.SIGKILL) and seat.process is not None:
                seat.process.wait()


def last_words(log: Path | None) -> str:
    """Return why a worker ended, from its log."""
    if log is None:
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    words = [_entry(line) for line in lines]
    critical = [entry for entry in words if entry.get("level") == "critical"]
    if critical:
        return str(critical[-1].get("error", critical[-1]))[:500]
    return "\n".join(lines[-3:])[:500]


def metric(scraped: str, name: str) -> float:
    """Return the sum of a metric over its labels."""
    total = 0.0
    for line in scraped.splitlines():
        if line.startswith((f"{name}{{", f"{name} ")):
            total += float(line.rsplit(" ", 1)[1])
    return total


def signals(seats: Sequence[Seat], number: int) -> None:
    """Send a signal to all workers."""
    for seat in seats:
        seat.send(number)


def _entry(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
