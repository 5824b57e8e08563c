"""The port of a process for those who watch it: /metrics, /healthz, /readyz."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import structlog
from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0

from monitor.errors import ConfigurationError, Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from monitor.settings.values import Listen

    Probe = Callable[[], tuple[bool, str]]

log = structlog.get_logger(__name__)


class ObserveServer:
    """Serves metrics and probes; a probe returns whether it holds, and a reason for a person."""

    def __init__(
        self, listen: Listen, registry: CollectorRegistry, *, setting: str = "observe.listen"
    ) -> None:
        self._listen = listen
        self._registry = registry
        self._setting = setting
        self._liveness: dict[str, Probe] = {}
        self._readiness: dict[str, Probe] = {}
        self._refresh: list[Callable[[], None]] = []
        self._runner: web.AppRunner | None = None
        #: The port that was taken; 0 before the start.
        self.port = 0

    def add_liveness(self, name: str, probe: Probe) -> None:
        """Add a probe that fails only where the process must be started again."""
        self._liveness[name] = probe

    def add_readiness(self, name: str, probe: Probe) -> None:
        """Add a probe that fails while the process cannot do its work yet."""
        self._readiness[name] = probe

    def before_scrape(self, refresh: Callable[[], None]) -> None:
        """Call `refresh` before each scrape, for gauges that are cheaper to read than to keep."""
        self._refresh.append(refresh)

    async def start(self) -> None:
        """Listen; raises ConfigurationError where the address is taken or not ours."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._listen.host, self._listen.port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            fault = Fault(self._setting, f"cannot listen on {self._listen}: {error.strerror}", "is it taken?")
            raise ConfigurationError("the port for metrics and probes is not to be had", [fault]) from None
        self.port = self._runner.addresses[0][1]
        log.info("metrics and probes", listen=f"{self._listen.host}:{self.port}")

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, _request: web.Request) -> web.Response:
        for refresh in self._refresh:
            refresh()
        body = generate_latest(self._registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_PLAIN_1_0_0})

    async def _healthz(self, _request: web.Request) -> web.Response:
        return _answer(self._liveness)

    async def _readyz(self, _request: web.Request) -> web.Response:
        return _answer(self._readiness)


def _answer(probes: dict[str, Probe]) -> web.Response:
    found = {name: probe() for name, probe in probes.items()}
    holds = all(ok for ok, _ in found.values())
    body = {
        "status": "ok" if holds else "failing",
        "checks": {name: {"ok": ok, "reason": reason} for name, (ok, reason) in found.items()},
    }
    return web.Response(
        body=orjson.dumps(body), status=200 if holds else 503, content_type="application/json"
    )
