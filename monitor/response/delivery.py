"""Gateways are told the *desired state* of a credential, newest version only, until they accept it.

Each adapter goes at its own pace: one that is down delays no other, and within it each credential's
versions stay in order. A retry of "suspend" can never undo a reinstatement, since what is retried is
always the newest version.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from monitor.errors import MonitorError
from monitor.stream.fatal import guarded
from monitor.stream.steps import reached

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from monitor.observe.metrics import Metrics
    from monitor.wire.credentials import CredentialRecord

log = structlog.get_logger(__name__)

#: Calls of one adapter that are under way at a time.
CONCURRENT_CALLS: Final = 8
FIRST_RETRY_SECONDS: Final = 0.2
#: Doublings after which every ceiling is reached; `2.0**n` overflows at 1,024.
_MOST_DOUBLINGS: Final = 30


@dataclass(frozen=True, slots=True)
class Accepted:
    """The gateway has taken it."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The gateway has not taken it; try again, after `seconds` where it named a time."""

    reason: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Disabled:
    """The gateway wants no more calls: none is made until the next start."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unopened:
    """The gateway cannot be told whom it is about; no call is made, and trying again opens nothing."""

    reason: str


Outcome = Accepted | Retry | Disabled | Unopened


class Adapter(Protocol):
    """One way to tell one gateway. A repeated call about the same version must be harmless."""

    @property
    def name(self) -> str:
        """A bounded name for metrics and the ledger."""

    async def tell(self, record: CredentialRecord) -> Outcome:
        """Tell the gateway once; an exception of the network is a `Retry`, not raised."""

    async def close(self) -> None:
        """Give up connections."""


class Book(Protocol):
    """What deliveries need of the enforcer; each call returns once it is durable."""

    def newest(self, subject: str) -> CredentialRecord | None:
        """Return the newest record of a credential."""

    async def attempting(self, subject: str, version: int, adapter: str) -> bool:
        """Note that a call is about to be made; False where a newer version has come meanwhile."""

    async def accepted(self, subject: str, version: int, adapter: str) -> None:
        """Note that every adapter has delivered a version."""

    async def given_up(self, subject: str, version: int, adapter: str, reason: str) -> None:
        """Note that an adapter will not deliver a version."""


class DeliveryDesk:
    """Delivers the newest version of each credential through all adapters.

    `opened` gives a record as its gateway knows it: with the id of a person's credential in the place of
    the pseudonym. Only the call sees it. It raises MonitorError where it cannot.
    """

    def __init__(
        self,
        adapters: Sequence[Adapter],
        book: Book,
        metrics: Metrics,
        *,
        retry_ceiling_seconds: float,
        give_up_seconds: float,
        on_fatal: Callable[[BaseException], None],
        opened: Callable[[CredentialRecord], CredentialRecord] = lambda record: record,
    ) -> None:
        self._adapters = tuple(adapters)
        self._book = book
        self._metrics = metrics
        self._retry_ceiling = retry_ceiling_seconds
        self._give_up = give_up_seconds
        self._on_fatal = on_fatal
        self._opened = opened
        self._slots = {adapter.name: asyncio.Semaphore(CONCURRENT_CALLS) for adapter in self._adapters}
        self._disabled: set[str] = set()
        #: (adapter, subject) → the task that delivers it.
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        #: subject → adapter → the version that it has accepted, or that was given up there.
        self._settled: dict[str, dict[str, tuple[int, bool]]] = {}

    def deliver(self, subject: str) -> None:
        """Begin to deliver the newest version of a credential, or let what runs go on with it."""
        for adapter in self._adapters:
            key = adapter.name, subject
            task = self._tasks.get(key)
            if task is None or task.done():
                self._tasks[key] = asyncio.create_task(
                    guarded(partial(self._deliver, adapter, subject), self._on_fatal)
                )

    @property
    def under_way(self) -> int:
        """How many deliveries are not at their end."""
        return sum(not task.done() for task in self._tasks.values())

    async def stop(self) -> None:
        """Stop delivering; what is not accepted goes on at the next start."""
        tasks = [task for task in self._tasks.values() if not task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for adapter in self._adapters:
            await adapter.close()

    async def _deliver(self, adapter: Adapter, subject: str) -> None:
        retry = 0
        version = 0
        began = 0.0
        settled = self._settled.setdefault(subject, {})
        while True:
            record = self._book.newest(subject)
            if record is None or settled.get(adapter.name, (0, False))[0] == record.version:
                self._tasks.pop((adapter.name, subject), None)
                return
            if record.version != version:
                # From here, not from the decision: an outage of ours is no fault of the receiver.
                retry, version, began = 0, record.version, time.monotonic()
            outcome = await self._call(adapter, record)
            if outcome is None:
                continue
            self._count(adapter, outcome)
            if isinstance(outcome, Accepted):
                settled[adapter.name] = version, True
                if all(settled.get(other.name) == (version, True) for other in self._adapters):
                    await self._book.accepted(subject, version, adapter.name)
                    reached("enforce.accepted")
                continue
            if isinstance(outcome, Disabled | Unopened) or time.monotonic() - began > self._give_up:
                if isinstance(outcome, Disabled):
                    self._disabled.add(adapter.name)
                log.error("a gateway was not told", adapter=adapter.name, reason=outcome.reason)
                await self._book.given_up(subject, version, adapter.name, outcome.reason)
                settled[adapter.name] = version, False
                continue
            log.warning("a gateway is told again", adapter=adapter.name, reason=outcome.reason)
            await asyncio.sleep(self._pause(retry, outcome.seconds))
            retry += 1

    async def _call(self, adapter: Adapter, record: CredentialRecord) -> Outcome | None:
        """Tell a gateway once; None where a newer version has come meanwhile."""
        if adapter.name in self._disabled:
            return Disabled("the receiver wants no more calls")
        try:
            told = self._opened(record)
        except MonitorError as error:
            return Unopened(str(error))
        async with self._slots[adapter.name]:
            if not await self._book.attempting(record.subject, record.version, adapter.name):
                return None
            return await adapter.tell(told)

    def _pause(self, retry: int, asked: float | None) -> float:
        """Return the seconds to wait: doubling to a ceiling of seconds, with jitter.

        Longer where the receiver asked for it; a `Retry-After` of 0 must not make us run hot.
        """
        pause = min(FIRST_RETRY_SECONDS * 2.0 ** min(retry, _MOST_DOUBLINGS), self._retry_ceiling)
        return max(pause * random.uniform(0.75, 1.25), asked or 0.0)

    def _count(self, adapter: Adapter, outcome: Outcome) -> None:
        result = {Accepted: "accepted", Retry: "retried", Disabled: "disabled", Unopened: "unopened"}[
            type(outcome)
        ]
        self._metrics.deliveries_total.labels(adapter.name, result).inc()
