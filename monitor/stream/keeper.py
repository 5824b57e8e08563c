"""Keeps a role in its group through passing faults of brokers, without an end of the process.

After such a fault the role's stay in the group is over: it may send and commit nothing more, all that
it holds is forgotten, it leaves, and a new stay begins from what is committed, as after a crash. A
broken invariant ends the process, and so does a role that does not get back for too long.
"""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from monitor.errors import BrokerUnavailableError, MonitorError
from monitor.stream.fatal import guarded_task
from monitor.stream.faults import passing_reason
from monitor.stream.reach import wait_for_broker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from monitor.observe.metrics import Metrics
    from monitor.settings import KafkaSettings
    from monitor.stream.role import Role

log = structlog.get_logger(__name__)

#: Pauses between attempts, in seconds; the last one repeats.
_PAUSES: Final = (0.0, 1.0, 2.0, 5.0, 10.0)
#: A role that kept all its partitions for this long is over its last fault, in seconds.
STEADY_SECONDS: Final = 60.0
#: Longest time to end a stay where the brokers answer, in seconds; then the process ends instead.
_LEAVE_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.1


class Stay(Protocol):
    """One stay of a role in its groups."""

    @property
    def roles(self) -> Sequence[Role]:
        """Its memberships: one for each cluster."""

    async def start(self) -> None:
        """Join."""

    async def stop(self) -> None:
        """Make everything durable and leave."""

    def fence(self) -> None:
        """Send and commit nothing from now on."""

    async def drop(self) -> None:
        """Forget everything, as a crash would, without waiting for a broker."""

    async def leave(self) -> None:
        """Leave the groups, after `drop`."""


class OneRole:
    """A stay that is one membership."""

    def __init__(self, role: Role) -> None:
        self._role = role
        self.roles = (role,)
        self.start = role.start
        self.stop = role.stop
        self.fence = role.fence
        self.drop = role.drop
        self.leave = role.leave


class RoleKeeper:
    """Runs one role as stays in its group, one after the other."""

    def __init__(
        self,
        name: str,
        make: Callable[[Callable[[BaseException], None]], Stay],
        clusters: Sequence[KafkaSettings],
        metrics: Metrics,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self.name = name
        self._make = make
        self._clusters = tuple(clusters)
        self._metrics = metrics
        self._on_fatal = on_fatal
        self._limit_seconds = max(kafka.rejoin_timeout_seconds for kafka in clusters)
        self._stay: Stay | None = None
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._rejoining: asyncio.Task[None] | None = None
        self._stopping = False
        #: When the trouble began that the role is not over yet, and since when it is back from it.
        self._troubled_at: float | None = None
        self._back_at: float | None = None
        self._attempts = 0
        #: Up to when the time without the role is counted; None while it works.
        self._blind_since: float | None = None

    @property
    def roles(self) -> list[Role]:
        """The memberships that work now."""
        return [] if self._stay is None else list(self._stay.roles)

    @property
    def ready(self) -> bool:
        """Whether the role has all its partitions."""
        return bool(self.roles) and all(role.ready for role in self.roles)

    async def start(self) -> None:
        """Join for the first time; raises whatever prevents it, but for a passing fault."""
        stay = self._new()
        try:
            await stay.start()
        except Exception as error:
            if passing_reason(error) is None:
                raise
            self._failed(stay, error)

    async def stop(self) -> None:
        """Make everything durable and leave."""
        self._stopping = True
        if self._rejoining is not None:
            self._rejoining.cancel()
            await asyncio.wait([self._rejoining])
        if self._stay is not None:
            await self._stay.stop()

    def failed(self, error: BaseException) -> None:
        """Report a failure of the role that was seen from outside."""
        if self._stay is not None:
            self._failed(self._stay, error)

    def count_blind(self) -> None:
        """Count the time without the role up to now."""
        if self._blind_since is not None:
            now = time.monotonic()
            self._metrics.blind_seconds_total.labels(self.name).inc(now - self._blind_since)
            self._blind_since = now

    def _new(self) -> Stay:
        # Each stay reports to us in its own name: what an earlier one still says counts no more.
        stays: list[Stay] = []
        stay = self._make(lambda error: self._failed(stays[0], error))
        stays.append(stay)
        self._stay = stay
        return stay

    def _failed(self, stay: Stay, error: BaseException) -> None:
        reason = passing_reason(error)
        if threading.get_ident() != self._thread:
            # The consumer's thread: everything that is decided, is decided in the loop's.
            self._loop.call_soon_threadsafe(self._failed, stay, error)
        elif stay is not self._stay:
            log.debug("an earlier stay in the group failed", role=self.name, error=type(error).__name__)
        elif reason is None or self._stopping:
            self._on_fatal(error)
        else:
            stay.fence()
            self._stay = None
            self._begin_trouble()
            self._metrics.rejoins_total.labels(self.name, reason).inc()
            log.warning(
                "a fault that may pass: the role forgets what it holds and joins its group again",
                role=self.name,
                reason=reason,
                error=str(error) if isinstance(error, MonitorError) else type(error).__name__,
            )
            work = partial(self._rejoin, stay, self._rejoining)
            self._rejoining = guarded_task(work, self._on_fatal)

    def _begin_trouble(self) -> None:
        now = time.monotonic()
        over = self._back_at is not None and now - self._back_at > STEADY_SECONDS
        if self._troubled_at is None or over:
            self._troubled_at, self._attempts = now, 0
        self._back_at = None
        if self._blind_since is None:
            self._blind_since = now

    async def _rejoin(self, stay: Stay, before: asyncio.Task[None] | None) -> None:
        if before is not None and not before.done():
            before.cancel()
            await asyncio.wait([before])
        await self._within("did not end its stay", stay.drop)
        await asyncio.sleep(_PAUSES[min(self._attempts, len(_PAUSES) - 1)])
        self._attempts += 1
        await self._reach_brokers()
        # Only now: leaving a group needs its broker.
        await self._within("did not leave its group", stay.leave)
        new = self._new()
        try:
            await new.start()
        except Exception as error:  # noqa: BLE001 - sorted there
            self._failed(new, error)
            return
        while not self.ready:
            self._check_patience()
            await asyncio.sleep(_LOOK_SECONDS)
        self.count_blind()
        self._blind_since = None
        self._back_at = time.monotonic()
        log.info("the role is back", role=self.name)

    async def _within(self, problem: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do a part of the end of a stay; a process whose role hangs in one would be blind without a word."""
        try:
            async with asyncio.timeout(_LEAVE_SECONDS):
                await work()
        except TimeoutError:
            msg = f"role {self.name}: {problem} within {_LEAVE_SECONDS:g} s"
            raise BrokerUnavailableError(msg) from None

    async def _reach_brokers(self) -> None:
        while True:
            self._check_patience()
            try:
                for kafka in self._clusters:
                    await wait_for_broker(kafka)
            except BrokerUnavailableError:
                await asyncio.sleep(_PAUSES[1])
            else:
                return

    def _check_patience(self) -> None:
        since = self._troubled_at
        if since is not None and time.monotonic() - since > self._limit_seconds:
            msg = (
                f"role {self.name}: not back in its group for good within {self._limit_seconds:g} s"
                " (kafka.rejoin_timeout_seconds); is Kafka well?"
            )
            raise BrokerUnavailableError(msg)
