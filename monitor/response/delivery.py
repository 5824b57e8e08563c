"""Gateways are told the *desired state* of a credential, newest version only, until they accept it.

Each gateway has a line of its own: one that is down delays no other. A retry of "suspend" can never undo a
reinstatement, since what is retried is always the newest version. What was told is looked at again after a
takeover and on a schedule: a gateway that lost it gets it again.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from monitor.errors import MonitorError
from monitor.response.adapters.protocol import Seen, desired_state
from monitor.response.line import Line, is_due
from monitor.stream.fatal import guarded_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from monitor.observe.metrics import Metrics
    from monitor.response.adapters import Endpoint
    from monitor.response.book import Book
    from monitor.response.breaker import RetryPolicy
    from monitor.wire.credentials import CredentialRecord
    from monitor.wire.views import EndpointView

log = structlog.get_logger(__name__)

#: What is noted where no gateway is told of a credential: the decision service refuses it.
BY_AUTHZ: Final = "authz"
#: How long a reinstated credential is still looked at.
_LOOKED_AT_MS: Final = 7 * 86_400_000


class DeliveryDesk:
    """Delivers the newest version of each credential to all gateways that serve it.

    `opened` gives a record as its gateway knows it: with the id of a person's credential in the place of
    the pseudonym. Only the call sees it. It raises MonitorError where it cannot.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        book: Book,
        metrics: Metrics,
        policy: RetryPolicy,
        *,
        on_fatal: Callable[[BaseException], None],
        opened: Callable[[CredentialRecord], CredentialRecord] = lambda record: record,
    ) -> None:
        self._book = book
        self._metrics = metrics
        self._on_fatal = on_fatal
        self._opened = opened
        self._lines = [
            Line(endpoint, book, metrics, policy, awaited=self.awaited, opened=opened, on_fatal=on_fatal)
            for endpoint in endpoints
        ]
        #: Those that no gateway is told of, on their way into the ledger.
        self._alone: set[asyncio.Task[None]] = set()

    def awaited(self, record: CredentialRecord) -> frozenset[str]:
        """Return the names of all gateways that must be told of a credential."""
        return frozenset(line.name for line in self._serving(record))

    def deliver(self, subject: str) -> None:
        """Begin to deliver the newest version of a credential, or let what runs go on with it."""
        record = self._book.newest(subject)
        if record is None:
            return
        served = False
        for line in self._serving(record):
            served = True
            line.put(subject)
        if not served and record.accepted_ms is None:
            work = partial(
                self._book.accepted, subject, record.version, BY_AUTHZ, awaited=frozenset(), note=None
            )
            task = guarded_task(work, self._on_fatal)
            self._alone.add(task)
            task.add_done_callback(self._alone.discard)

    def resume(self) -> None:
        """Go on: deliver what no gateway, or not every one, has taken."""
        for subject in self._book.subjects():
            record = self._book.newest(subject)
            if record is None:
                continue
            lines = list(self._serving(record))
            for line in lines:
                if is_due(line.endpoint, record):
                    line.put(subject)
            if not lines:
                self.deliver(subject)

    def enable(self, name: str) -> None:
        """Call a gateway again that the book has disabled no more; tell it all that it has not accepted.

        Dead letters too. Does nothing where the book has it disabled, as after another 410.
        """
        for line in self._lines:
            if line.name != name or not line.enable():
                continue
            missed = set(line.dead)
            for subject in self._book.subjects():
                record = self._book.newest(subject)
                if record is not None and is_due(line.endpoint, record):
                    missed.add(subject)
            for subject in missed:
                line.put(subject, forced=True)

    def endpoints(self) -> list[EndpointView]:
        """Return every gateway, and how far it can be told."""
        return [line.view() for line in self._lines]

    async def outlast(self) -> None:
        """After a takeover, have our word be the last one: tell again what was told while it could be undone.

        A call that the enforcer before had begun leaves its process within the call's timeout, or never
        (`in_time`); it may arrive after ours, and undo it. Once none can arrive any more, whatever was on its
        way at the takeover, taken shortly before or told since, is told again. The enforcer before may have
        been about to do that, too: hence twice the time.
        """
        async with asyncio.TaskGroup() as group:
            for line in self._lines:
                group.create_task(self._outlast(line))

    async def reconcile(self) -> None:
        """Ask the gateways that can be asked, tell those again that lost what they were told.

        What was given up is tried once more, too.
        """
        async with asyncio.TaskGroup() as group:
            for line in self._lines:
                group.create_task(self._reconcile(line))

    @property
    def under_way(self) -> int:
        """How many deliveries are not at their end."""
        return sum(line.under_way for line in self._lines) + len(self._alone)

    async def stop(self) -> None:
        """Stop delivering; what is not accepted goes on at the next start."""
        for task in self._alone:
            task.cancel()
        for line in self._lines:
            await line.stop()

    def _serving(self, record: CredentialRecord) -> Iterator[Line]:
        return (line for line in self._lines if line.endpoint.serves(record.realm, record.kind))

    async def _outlast(self, line: Line) -> None:
        since_ms = int((time.time() - 2 * line.doubtful_seconds) * 1000)
        records = (self._book.newest(subject) for subject in self._book.subjects())
        line.doubt(
            record.subject
            for record in records
            if record is not None
            and line.endpoint.serves(record.realm, record.kind)
            and (record.accepted_ms is None or record.accepted_ms >= since_ms)
        )
        await asyncio.sleep(line.doubtful_seconds)
        line.end_doubt()

    async def _reconcile(self, line: Line) -> None:
        for subject in line.dead:
            line.put(subject, forced=True)
        looked_at = int(time.time() * 1000) - _LOOKED_AT_MS
        for subject in list(self._book.subjects()):
            record = self._book.newest(subject)
            if record is None or record.told.get(line.name) != record.version:
                continue  # it is being told, or was never to be
            if not line.endpoint.serves(record.realm, record.kind):
                continue
            if record.refused or record.since_ms > looked_at:
                await self._look(line, subject, record)

    async def _look(self, line: Line, subject: str, record: CredentialRecord) -> None:
        try:
            wanted = desired_state(self._opened(record))
        except MonitorError:
            return  # it could not be told either, and that stands in the ledger
        seen = await line.endpoint.adapter.read_back(wanted)
        now = self._book.newest(subject)
        if seen is None or now is None or now.version != record.version:
            return
        await self._book.seen(subject, record.version, line.name, seen)
        if (seen is Seen.ACTIVE) if record.refused else (seen is Seen.REFUSED):
            log.error("a gateway lost what it was told; it is told again", adapter=line.name)
            self._metrics.drifts_total.labels(line.name).inc()
            line.put(subject, forced=True)
