"""Pushes alerts to every Alertmanager (API v2), and keeps them there until they end.

What is wanted is a set; each Alertmanager has a task of its own that tells it the set at once where it
changes and again and again while it does not: an alert that nobody repeats lapses. One that is down
delays no other, and hears all of it when it is back.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import structlog

from monitor.observe.ending import end_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from monitor.observe.metrics import Metrics

log = structlog.get_logger(__name__)

REPEAT_SECONDS: Final = 30.0
#: An alert ends in Alertmanager so long after the last push: a takeover must not end it, a monitor that
#: is gone for good must.
LAPSE_SECONDS: Final = 600.0
_RETRY_SECONDS: Final = (0.5, 1.0, 2.0, 5.0, 10.0)
_TIMEOUT: Final = aiohttp.ClientTimeout(total=5)


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert: `labels` are its identity. `since` and `until` in seconds since the epoch.

    With `until` None it goes on until it is no longer wanted.
    """

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    since: float
    until: float | None = None
    #: What tells it from others.
    key: frozenset[tuple[str, str]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make the key once: thousands are compared at every change."""
        object.__setattr__(self, "key", frozenset(self.labels.items()))

    def plain(self, now: float) -> dict[str, Any]:
        """Return Alertmanager's form."""
        return {
            "labels": dict(self.labels),
            "annotations": dict(self.annotations),
            "startsAt": _text(self.since),
            "endsAt": _text(self.until if self.until is not None else now + LAPSE_SECONDS),
        }


class AlertDesk:
    """Tells every Alertmanager which alerts fire; alive between `start` and `stop`."""

    def __init__(self, urls: Sequence[str], metrics: Metrics) -> None:
        self._lines = [_Line(str(place), url, self, metrics) for place, url in enumerate(urls)]
        self._alerts: dict[frozenset[tuple[str, str]], Alert] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to push."""
        self._tasks = [asyncio.create_task(line.run()) for line in self._lines]

    async def stop(self) -> None:
        """Push no more; what fires goes on until it lapses, or the next enforcer ends it."""
        await end_tasks(self._tasks)
        self._tasks = []

    def want(self, alerts: Sequence[Alert]) -> None:
        """Let exactly these go on, beside those that have an end of their own; the others end now."""
        now = time.time()
        wanted = {alert.key: alert for alert in alerts}
        changed = False
        for key, alert in list(self._alerts.items()):
            if key not in wanted and alert.until is None:
                self._alerts[key] = replace(alert, until=now)
                changed = True
            elif alert.until is not None and alert.until + LAPSE_SECONDS < now:
                del self._alerts[key]  # every Alertmanager has had time to hear of its end
        for key, alert in wanted.items():
            if self._alerts.get(key) != alert:
                self._alerts[key] = alert
                changed = True
        if changed:
            self._wake()

    def add(self, alert: Alert, on_accepted: Callable[[], None] | None = None) -> None:
        """Let one fire that has an end of its own (or ended just now)."""
        self._alerts[alert.key] = alert
        self._wake(on_accepted)

    def on_next(self, accepted: Callable[[], None]) -> None:
        """Call once when the first Alertmanager has accepted what is wanted now."""
        self._wake(accepted)

    def wanted(self) -> list[Alert]:
        """Return all that is to be told, also what ended lately."""
        return list(self._alerts.values())

    def _wake(self, accepted: Callable[[], None] | None = None) -> None:
        once = accepted and _Once(accepted)
        for line in self._lines:
            line.wake(once or None)


class _Once:
    def __init__(self, call: Callable[[], None]) -> None:
        self._call: Callable[[], None] | None = call

    def __call__(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()


class _Line:
    """The way to one Alertmanager."""

    def __init__(self, name: str, url: str, desk: AlertDesk, metrics: Metrics) -> None:
        self._url = url.rstrip("/") + "/api/v2/alerts"
        self._name = name
        self._desk = desk
        self._woken = asyncio.Event()
        self._waiting: list[_Once] = []
        self._counts = {result: metrics.pages_total.labels(name, result) for result in ("accepted", "failed")}

    def wake(self, accepted: _Once | None) -> None:
        if accepted is not None:
            self._waiting.append(accepted)
        self._woken.set()

    async def run(self) -> None:
        failures = 0
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            while True:
                self._woken.clear()
                waiting, self._waiting = self._waiting, []
                alerts = self._desk.wanted()
                reason = await self._push(session, alerts) if alerts else ""
                if reason:
                    self._waiting = waiting + self._waiting
                    if not failures:
                        log.warning("an Alertmanager was not told", alertmanager=self._name, reason=reason)
                    pause = _RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)]
                    failures += 1
                    await asyncio.sleep(pause)
                    continue
                if failures:
                    log.info("an Alertmanager is told again", alertmanager=self._name)
                failures = 0
                for accepted in waiting:
                    accepted()
                waker = asyncio.create_task(self._woken.wait())
                try:
                    await asyncio.wait([waker], timeout=REPEAT_SECONDS)
                finally:
                    waker.cancel()

    async def _push(self, session: aiohttp.ClientSession, alerts: Sequence[Alert]) -> str:
        """Push all of them; return why it did not succeed, or nothing."""
        now = time.time()
        try:
            async with session.post(self._url, json=[alert.plain(now) for alert in alerts]) as answer:
                reason = "" if answer.ok else f"it answered {answer.status}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = type(error).__name__
        self._counts["failed" if reason else "accepted"].inc()
        return reason


def _text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
