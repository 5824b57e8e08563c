"""What brings a gateway's log to Kafka, each as our documents say; it can be killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Final, Protocol

from tests.inputs.gateways import DEPLOY, SBIN, changed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.stack import Stack

_STOP_SECONDS: Final = 30.0


class Collector(Protocol):
    """Runs from `start` on."""

    def start(self) -> None:
        """Start it, for the first time or again."""

    def kill(self) -> None:
        """End it as a power cut would."""

    def stop(self) -> None:
        """End it in order."""


class Ship:
    """`monitor ship --follow`."""

    def __init__(self, stack: Stack, log: Path, _folder: Path) -> None:
        self._stack = stack
        self._log = log

    def start(self) -> None:
        self._process = self._stack.spawn("ship", "--source", "gate", "--follow", str(self._log))

    def kill(self) -> None:
        self._process.kill()

    def stop(self) -> None:
        assert self._process.terminate() == 0, self._process.said


class Rsyslog:
    """rsyslog with imfile and omkafka."""

    def __init__(self, stack: Stack, log: Path, folder: Path) -> None:
        source = stack.settings.sources[0]
        recipe = changed(
            (DEPLOY / "rsyslog" / "access-monitor.conf").read_text(encoding="utf-8"),
            ("127.0.0.1:9092", stack.settings.kafka.bootstrap_servers[0]),
            ('topic="gateway.access"', f'topic="{source.topic}"'),
            ("/var/log/gateway/access.log", str(log)),
            ("/var/spool/rsyslog/access-monitor.failed", str(folder / "failed")),
        )
        spool = folder / "spool"
        spool.mkdir()
        self._config = folder / "rsyslog.conf"
        self._config.write_text(f'global(workDirectory="{spool}")\n{recipe}', encoding="utf-8")
        self._folder = folder

    def start(self) -> None:
        pid = self._folder / "rsyslog.pid"
        pid.unlink(missing_ok=True)
        with (self._folder / "rsyslog.err").open("ab") as errors:
            self._process = subprocess.Popen(
                ["rsyslogd", "-n", "-f", str(self._config), "-i", str(pid)],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                env={**os.environ, "PATH": SBIN},
                start_new_session=True,
            )

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        self._process.terminate()
        deadline = time.monotonic() + _STOP_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if self._process.poll() is None:
            self.kill()
