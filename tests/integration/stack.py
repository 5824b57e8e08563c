"""The product as it is deployed: real processes, started by the commands that people type."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.error import HTTPError, URLError

from monitor.core.detector import Detector
from monitor.core.events import RulesRecord
from monitor.rulebook import compile_pattern
from monitor.stream.read import read_to_end
from monitor.wire import routed
from tests.rig.configuration import settings_for, write_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from aiokafka.structs import ConsumerRecord

    from monitor.settings import Settings

DEADLINE_SECONDS: Final = 60.0


class Stack:
    """One installation on one broker, with a source ``gate`` and four rules of its own."""

    def __init__(self, folder: Path, *, broker: str, bootstrap: str, prefix: str, **sections: Any) -> None:
        # A worker that is killed must be missed within the test: the shortest session each broker allows.
        session = 6 if broker == "cluster" else 2
        kafka = {"session_timeout_seconds": session, **sections.pop("kafka", {})}
        sections.setdefault("response", {"mode": "enforce"})
        sections.setdefault("rules", {"paths": [str(Path(__file__).with_name("rules.yml"))]})
        sections.setdefault("observe", {"listen": "127.0.0.1:0", "log_format": "json"})
        shared: dict[str, Any] = {"broker": broker, "bootstrap": bootstrap, "prefix": prefix}
        self.folder = folder
        self.config = write_settings(folder, **shared, kafka=kafka, **sections)
        self.settings: Settings = settings_for(folder, **shared, kafka=kafka, **sections)
        self._processes: list[subprocess.Popen[bytes]] = []

    def run(
        self, *arguments: str, lines: Iterable[str] = (), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the product to its end; `environment` overrides settings."""
        return subprocess.run(
            [sys.executable, "-m", "monitor", *arguments, "-c", str(self.config)],
            input="".join(f"{line}\n" for line in lines),
            capture_output=True,
            env={**os.environ, **environment},
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    def spawn(self, *arguments: str, module: str = "monitor", under: Sequence[str] = ()) -> Process:
        """Start a command of the product (or of what stands for it) in the background.

        `under` is a command that becomes it, such as ``taskset -c 1``.
        """
        log = self.folder / f"{arguments[0]}-{len(self._processes)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*under, sys.executable, "-m", module, *arguments, "-c", str(self.config)],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes.append(process)
        return Process(process, log)

    def worker(self, *arguments: str) -> Process:
        """Start a worker and wait until all its roles have their partitions."""
        worker = self.spawn("worker", *arguments)
        worker.wait_ready()
        return worker

    def ship(self, events: Iterable[dict[str, Any] | str]) -> None:
        """Send events (or lines as they are) into the source."""
        lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
        done = self.run("ship", "--source", "gate", "-", lines=lines)
        assert done.returncode == 0, done.stderr

    def records(self, topic: str, partition: int = 0) -> list[ConsumerRecord]:
        """Return all committed records of one partition of our topics."""

        async def read() -> list[ConsumerRecord]:
            found: list[ConsumerRecord] = []
            async for records, _, _ in read_to_end(
                self.settings.kafka, self.settings.topic(topic), partition
            ):
                found += records
            return found

        return asyncio.run(read())

    def entries(self, topic: str) -> list[dict[str, Any]]:
        """Return the JSON values of one of our single-partition topics."""
        return [json.loads(record.value) for record in self.records(topic)]

    def findings(self) -> list[dict[str, Any]]:
        """Return the findings, a repeated one (same id) once."""
        found = [entry for entry in self.entries("findings") if entry["kind"] == "finding"]
        return list({finding["id"]: finding for finding in found}.values())

    def decisions(self, kind: str) -> list[dict[str, Any]]:
        """Return the entries of the ledger of one kind."""
        return [entry for entry in self.entries("decisions") if entry["kind"] == kind]

    def credential(self, subject: str) -> dict[str, Any] | None:
        """Return the newest record of a credential."""
        newest = None
        for record in self.records("credentials"):
            if record.key == subject.encode() and record.value is not None:
                newest = json.loads(record.value)
        return newest

    def fold(self) -> list[dict[str, Any]]:
        """Return the findings that the `routed` log implies, by the pure core alone."""
        lateness = int(self.settings.detect.allowed_lateness.total_seconds() * 1000)
        found = []
        for partition in range(self.settings.kafka.partitions):
            detector = Detector(partition, allowed_lateness_ms=lateness, compile_pattern=compile_pattern)
            for record in self.records("routed", partition):
                entry = routed.decode(record.value, f"routed-{partition} offset {record.offset}")
                if isinstance(entry, RulesRecord):
                    detector.activate(entry, record.timestamp)
                else:
                    detector.apply(entry, record.offset, record.timestamp)
            found += detector.take_outcomes().findings
        return found

    def close(self) -> None:
        """End everything that was started."""
        for process in self._processes:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Process:
    """A command of the product that runs in the background."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def said(self) -> str:
        """What it wrote so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """Ask it to end; return its exit code."""
        self.process.terminate()
        return self.process.wait(timeout=DEADLINE_SECONDS)

    def address(self) -> str:
        """Return where its metrics and probes are, once it says so."""

        def said_where() -> str | None:
            for line in self.said.splitlines():
                if line.startswith("{") and (listen := json.loads(line).get("listen")):
                    return f"http://{listen}"
            return None

        return wait_for(said_where, self)

    def wait_ready(self) -> None:
        """Return once /readyz says so."""
        address = self.address()
        wait_for(lambda: _answers(f"{address}/readyz"), self)

    def metrics(self) -> str:
        """Return what Prometheus would scrape."""
        with urllib.request.urlopen(f"{self.address()}/metrics", timeout=5) as answer:
            return str(answer.read().decode())


T = TypeVar("T")


def wait_for(condition: Callable[[], T | None], process: Process | None = None) -> T:
    """Return what `condition` returns once it is true; fails after a minute, or if a process ended."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        if found := condition():
            return found
        if process is not None and process.process.poll() is not None:
            message = f"the process ended with {process.process.returncode}:\n{process.said[-3000:]}"
            raise AssertionError(message)
        if time.monotonic() > deadline:
            said = process.said[-3000:] if process else ""
            message = f"not within {DEADLINE_SECONDS:.0f} s\n{said}"
            raise AssertionError(message)
        time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except HTTPError as error:
        error.close()
        return False
    except (URLError, OSError):
        return False
