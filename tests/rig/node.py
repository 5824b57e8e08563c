"""A real Kafka that can be killed, frozen and started again on the same disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.rig import broker, guard

if TYPE_CHECKING:
    from typing import Self


class KafkaNode:
    """One KRaft node with a disk of its own, alive while its context is entered; `server` is host:port."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="access-monitor-node-"))
        port, controller = broker.free_ports(2)
        self.server = f"127.0.0.1:{port}"
        self._properties = self._folder / "server.properties"
        self._properties.write_text(
            broker.PROPERTIES.format(port=port, controller=controller, folder=self._folder), encoding="utf-8"
        )
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        subprocess.run(
            [
                *broker.JAVA,
                "kafka.tools.StorageTool",
                "format",
                "-t",
                broker.CLUSTER_ID,
                "-c",
                self._properties,
            ],
            check=True,
            capture_output=True,
            timeout=broker.START_SECONDS,
        )
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, *, wait: bool = True) -> None:
        """Start it on the disk that it has."""
        out = self._folder / "kafka.out"
        # The guard removes its folder at the end; the disk must outlive it.
        nothing = tempfile.mkdtemp(dir=self._folder)
        with out.open("ab") as log:
            self._guard = subprocess.Popen(
                [
                    *(sys.executable, guard.__file__, str(os.getpid()), nothing),
                    *(*broker.JAVA, "kafka.Kafka", str(self._properties)),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if wait:
            broker._wait(self.server, self._guard, out)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._guard is not None:
            self._signal(signal.SIGKILL)
            self._guard.wait(broker.START_SECONDS)
            self._guard = None

    def freeze(self) -> None:
        """Have it answer nobody."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._guard is None:
            return
        pid = self._guard.pid
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
                os.kill(int(child), number)
