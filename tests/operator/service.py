"""An operator API in a thread of its own, so that commands can be run as a person runs them."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from click.testing import CliRunner

from monitor.cli import cli
from monitor.errors import MonitorError
from monitor.observe.metrics import Metrics
from monitor.response.operators.api import OperatorApi
from tests.operator.stage import ANNA, StandIn

if TYPE_CHECKING:
    from pathlib import Path

    from monitor.settings import Settings
    from tests.operator.stage import Staff


@dataclass(frozen=True)
class Said:
    """What a command wrote, and its exit code."""

    code: int
    out: str
    err: str


@dataclass
class Service:
    """A running API and people who use it; `responder` None is a standby."""

    settings: Settings
    staff: Staff
    config: Path
    responder: StandIn | None = field(default_factory=StandIn)
    elsewhere: str | None = None

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.url = self._run_api()

    @property
    def book(self) -> StandIn:
        """The enforcer behind it."""
        assert self.responder is not None
        return self.responder

    def _run_api(self) -> str:
        async def elsewhere() -> str | None:
            return self.elsewhere

        async def start() -> str:
            self._api = OperatorApi(self.settings, Metrics(), lambda: self.responder, elsewhere)
            await self._api.start()
            scheme = "https" if self.settings.operator.tls_certificate_file else "http"
            return f"{scheme}://127.0.0.1:{self._api.port}"

        return asyncio.run_coroutine_threadsafe(start(), self._loop).result(30)

    def stop(self) -> None:
        """Stop listening."""
        asyncio.run_coroutine_threadsafe(self._api.stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def monitor(self, *arguments: str, by: str = ANNA, server: str | None = None) -> Said:
        """Run a command of `monitor` that reaches this API, as somebody."""
        reach = [
            "-c",
            str(self.config),
            "--server",
            server or self.url,
            "--identity",
            str(self.staff.keys[by]),
        ]
        return run(*arguments, *reach)


def run(*arguments: str) -> Said:
    """Run a command of `monitor` in this process, with nobody at the keyboard."""
    result = CliRunner().invoke(cli, arguments, prog_name="monitor")
    error = result.exception
    if isinstance(error, MonitorError):
        return Said(error.exit_code, result.stdout, f"{result.stderr}monitor: {error}\n")
    if error is not None and not isinstance(error, SystemExit):
        raise error
    return Said(result.exit_code, result.stdout, result.stderr)
