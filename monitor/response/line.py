"""The calls of one gateway: which credential is next, how many at a time, and when none at all."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Final

import structlog

from monitor.errors import MonitorError
from monitor.observe.ending import end_tasks
from monitor.response.adapters.protocol import Accepted, Disabled, Outcome, Refused, Retry, desired_state
from monitor.response.breaker import Breaker, RetryPolicy, pause_seconds
from monitor.response.in_time import send_no_later_than
from monitor.response.places import Places, Turn
from monitor.stream.fatal import guarded_task
from monitor.stream.steps import reached
from monitor.wire.views import EndpointView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from monitor.observe.metrics import Metrics
    from monitor.response.adapters import Endpoint
    from monitor.response.book import Book
    from monitor.wire.credentials import CredentialRecord

log = structlog.get_logger(__name__)

#: Longest time from asking for the note of an attempt to its call: far above what a commit takes.
STOOD_STILL_SECONDS: Final = 3.0
#: Longest time that a gateway may take for a call that was hung up on.
_HUNG_UP_SECONDS: Final = 1.0
_DISABLED: Final = "the receiver answered 410 and is not called until a person enables it"


@dataclass(slots=True)
class _Pending:
    """A credential whose newest version this gateway has not taken yet. `due` is the loop's time.

    `began` counts from the first call of ours, not from the decision: an outage of ours is no fault of
    the receiver. `forced` tells again what was taken already.
    """

    version: int = 0
    tries: int = 0
    began: float | None = None
    due: float = 0.0
    calling: bool = False
    forced: bool = False


class Line:
    """Tells one gateway the newest version of each credential.

    A credential is in at most one call at a time, from the note before it to the one after it, so its
    versions stay in order. Those that were never tried go before retries, and retries have half of the places
    at most: a credential whose calls hang delays no other. While the breaker is open, one call at a time
    shows whether the gateway is back.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        book: Book,
        metrics: Metrics,
        policy: RetryPolicy,
        *,
        awaited: Callable[[CredentialRecord], frozenset[str]],
        opened: Callable[[CredentialRecord], CredentialRecord],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self.endpoint = endpoint
        self.name = endpoint.name
        self._adapter = endpoint.adapter
        self._book = book
        self._metrics = metrics
        self._policy = policy
        self._awaited = awaited
        self._opened = opened
        self._on_fatal = on_fatal
        self._breaker = Breaker()
        self._pending: dict[str, _Pending] = {}
        self._fresh: OrderedDict[str, None] = OrderedDict()
        self._retries: list[tuple[float, int, str]] = []
        self._numbers = count()
        self._calls: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._places = Places(endpoint.concurrency, self._changed.set)
        self._closed_until = 0.0
        self._trial_due = 0.0
        #: Subject → the version that was given up.
        self._dead: dict[str, int] = {}
        self._disabled = book.is_disabled(endpoint)
        self._task: asyncio.Task[None] | None = None
        #: What was told since the takeover, while a call of the enforcer before may still arrive; or None.
        self._doubtful: set[str] | None = None
        metrics.adapter_disabled.labels(self.name).set(self._disabled)
        metrics.adapter_breaker_open.labels(self.name).set(0)
        metrics.dead_letters.labels(self.name).set(0)
        metrics.drifts_total.labels(self.name)  # one that begins with 1 has no increase

    @property
    def under_way(self) -> int:
        """How many credentials wait or are in a call."""
        return len(self._pending)

    @property
    def doubtful_seconds(self) -> float:
        """How long after a takeover a call of the enforcer before may still arrive at this gateway."""
        return STOOD_STILL_SECONDS + self.endpoint.timeout_seconds + _HUNG_UP_SECONDS

    def doubt(self, subjects: Iterable[str]) -> None:
        """Begin to doubt: these, and whatever is told from now on, is told again at the end of it."""
        self._doubtful = set(subjects)

    def end_doubt(self) -> None:
        """Tell again what a late call of the enforcer before may have undone."""
        doubtful, self._doubtful = self._doubtful or set(), None
        if not self._disabled:
            for subject in doubtful:
                self.put(subject, forced=True)

    def put(self, subject: str, *, forced: bool = False) -> None:
        """Begin to deliver the newest version of a credential, or let what runs go on with it.

        `forced` tells it again although the gateway has taken it, or it was given up.
        """
        if self._doubtful is not None:
            self._doubtful.add(subject)
        if self._task is None:
            self._task = guarded_task(self._run, self._on_fatal)
        if forced:
            self._bury(subject, None)
        pending = self._pending.setdefault(subject, _Pending())
        pending.forced = pending.forced or forced
        record = self._book.newest(subject)
        if not pending.calling and (record is None or record.version != pending.version):
            # A newer version does not wait for the retry of the one before.
            self._fresh[subject] = None
        self._changed.set()

    def enable(self) -> bool:
        """Call the gateway again if the book has it disabled no more; return whether it is called."""
        self._disabled = self._book.is_disabled(self.endpoint)
        self._metrics.adapter_disabled.labels(self.name).set(self._disabled)
        return not self._disabled

    def view(self) -> EndpointView:
        """Return how far the gateway can be told."""
        return EndpointView(
            endpoint=self.name,
            type=self.endpoint.of_type,
            disabled=self._disabled,
            reason=_DISABLED if self._disabled else "",
            breaker="open" if self._breaker.is_open else "closed",
            waiting=len(self._pending),
            dead_letters=len(self._dead),
        )

    async def stop(self) -> None:
        """Stop; what is not accepted goes on at the next start."""
        if self._task is not None:
            await end_tasks([self._task])  # first: it begins calls
        await end_tasks(self._calls)
        await self._adapter.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            now = loop.time()
            while (subject := self._next(now)) is not None:
                self._begin(subject)
            wake = self._wakes(now)
            try:
                async with asyncio.timeout(wake):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def _next(self, now: float) -> str | None:
        """Take the credential to call about now, or None."""
        alone = self._breaker.is_open
        if not self._places.room(now, alone=alone) or now < self._closed_until:
            return None
        if alone and now < self._trial_due:
            return None
        if self._fresh:
            return self._fresh.popitem(last=False)[0]
        while self._retries and self._retries[0][0] <= now and self._places.room_for_retry(alone=alone):
            due, _, subject = heapq.heappop(self._retries)
            pending = self._pending.get(subject)
            # Whoever came again meanwhile stands in the heap with another time.
            if pending is not None and not pending.calling and pending.due == due:
                return subject
        return None

    def _wakes(self, now: float) -> float | None:
        """Return in how many seconds there is something to do, None where only an event tells."""
        alone = self._breaker.is_open
        times = []
        if self._fresh or self._retries:
            times = [max(self._closed_until, self._trial_due if alone else 0.0)]
            if not self._fresh:
                times.append(self._retries[0][0])
        if not times or not self._places.room(now, alone=alone):
            return None
        if not self._fresh and max(times) <= now and not self._places.room_for_retry(alone=alone):
            return None
        return max(0.0, max(times) - now)

    def _begin(self, subject: str) -> None:
        self._fresh.pop(subject, None)
        pending = self._pending[subject]
        pending.calling = True
        turn = Turn(retry=pending.tries > 0, alone=self._breaker.is_open)
        self._places.begin(turn)

        def ended(task: asyncio.Task[None]) -> None:
            self._calls.discard(task)
            self._places.end(turn)

        task = guarded_task(partial(self._call, subject, pending, turn), self._on_fatal)
        self._calls.add(task)
        task.add_done_callback(ended)

    async def _call(self, subject: str, pending: _Pending, turn: Turn) -> None:
        try:
            record = self._book.newest(subject)
            if record is None or not (pending.forced or self._is_due(subject, record)):
                self._settle(subject, pending)
                return
            if record.version != pending.version:
                pending.version, pending.tries, pending.began = record.version, 0, None
            if self._disabled:
                self._count("disabled")
                await self._give_up(subject, pending, _DISABLED)
                return
            try:
                wanted = desired_state(self._opened(record))
            except MonitorError as error:
                # Nobody can be told whom it is about, and trying again opens nothing.
                self._count("unopened")
                await self._give_up(subject, pending, str(error))
                return
            asked = time.monotonic()
            if not await self._book.attempting(subject, record.version, self.name):
                self._fresh[subject] = None
                return
            async with self._places.hold(turn):
                reached("enforce.before-call")
                if not self._may_call(record, turn, asked):
                    self._fresh[subject] = None
                    return
                pending.tries += 1
                if pending.began is None:
                    pending.began = asyncio.get_running_loop().time()
                forced, pending.forced = pending.forced, False
                with send_no_later_than(asked + STOOD_STILL_SECONDS + self.endpoint.timeout_seconds):
                    outcome = await self._adapter.tell(wanted)
            if not isinstance(outcome, Accepted):
                pending.forced = pending.forced or forced
            reached("enforce.after-call")
            await self._take(subject, pending, record, outcome)
        finally:
            pending.calling = False
            newest = self._book.newest(subject)
            if subject in self._pending and newest is not None and newest.version != pending.version:
                self._fresh[subject] = None

    def _may_call(self, record: CredentialRecord, turn: Turn, asked: float) -> bool:
        """Return whether a call is still to be made whose attempt was noted when `asked` to be."""
        if time.monotonic() - asked > STOOD_STILL_SECONDS:
            # The process stood still: another enforcer may be active, and the note would not be taken.
            return False
        newest = self._book.newest(record.subject)
        if self._disabled or newest is None or newest.version != record.version:
            return False
        now = asyncio.get_running_loop().time()
        return now >= self._closed_until and (turn.alone or not self._breaker.is_open)

    async def _take(
        self, subject: str, pending: _Pending, record: CredentialRecord, outcome: Outcome
    ) -> None:
        now = asyncio.get_running_loop().time()
        if isinstance(outcome, Accepted):
            self._count("gone" if outcome.note else "accepted")
            self._breaker_closed()
            self._bury(subject, None)
            await self._book.accepted(
                subject, record.version, self.name, awaited=self._awaited(record), note=outcome.note
            )
            reached("enforce.accepted")
            self._settle(subject, pending)
        elif isinstance(outcome, Retry):
            self._count("retried")
            self._failed(subject, pending, outcome, now)
            if pending.began is not None and now - pending.began > self._policy.give_up:
                await self._give_up(subject, pending, outcome.reason)
            else:
                log.warning("a gateway is told again", adapter=self.name, reason=outcome.reason)
        elif isinstance(outcome, Refused):
            self._count("refused")
            await self._give_up(subject, pending, outcome.reason)
        else:
            self._count("disabled")
            await self._disable(outcome)
            if self._disabled:
                await self._give_up(subject, pending, outcome.reason)
            else:
                self._fresh[subject] = None

    def _failed(self, subject: str, pending: _Pending, outcome: Retry, now: float) -> None:
        was_open = self._breaker.is_open
        self._breaker.failed(subject)
        if outcome.seconds is not None:
            # It is the receiver that is busy, not this credential.
            self._closed_until = max(self._closed_until, now + outcome.seconds)
        pause = pause_seconds(pending.tries - 1, self._policy.ceiling)
        pending.due = now + max(pause, outcome.seconds or 0.0)
        heapq.heappush(self._retries, (pending.due, next(self._numbers), subject))
        if self._breaker.is_open:
            self._trial_due = now + pause_seconds(self._breaker.failures, self._policy.ceiling)
            if not was_open:
                log.error("a gateway takes no calls; one at a time is tried", adapter=self.name)
                self._metrics.adapter_breaker_open.labels(self.name).set(1)

    def _breaker_closed(self) -> None:
        if self._breaker.is_open:
            self._metrics.adapter_breaker_open.labels(self.name).set(0)
            # Whoever waits for a retry need not wait any longer.
            waiting = sorted(self._retries)
            self._retries.clear()
            for _, _, subject in waiting:
                if subject in self._pending and not self._pending[subject].calling:
                    self._fresh[subject] = None
        self._breaker.succeeded()

    async def _disable(self, outcome: Disabled) -> None:
        log.error("a receiver is not called any more", adapter=self.name, reason=outcome.reason)
        self._disabled = True
        self._metrics.adapter_disabled.labels(self.name).set(1)
        await self._book.disabled(self.endpoint, outcome.reason)
        self.enable()  # a person may have enabled it while that was on its way

    async def _give_up(self, subject: str, pending: _Pending, reason: str) -> None:
        log.error("a gateway was not told", adapter=self.name, reason=reason)
        version = pending.version
        pending.forced = False
        self._bury(subject, version)
        await self._book.given_up(subject, version, self.name, reason)
        self._settle(subject, pending)

    def _settle(self, subject: str, pending: _Pending) -> None:
        """Forget a credential that is at its end, unless a newer version has come meanwhile."""
        record = self._book.newest(subject)
        if record is not None and (pending.forced or self._is_due(subject, record)):
            self._fresh[subject] = None
        else:
            self._pending.pop(subject, None)
            self._fresh.pop(subject, None)

    def _bury(self, subject: str, version: int | None) -> None:
        """Note that a version was given up, or with None that it was not."""
        if version is None:
            self._dead.pop(subject, None)
        else:
            self._dead[subject] = version
        self._metrics.dead_letters.labels(self.name).set(len(self._dead))

    @property
    def dead(self) -> list[str]:
        """The credentials whose newest version was given up."""
        return list(self._dead)

    def _is_due(self, subject: str, record: CredentialRecord) -> bool:
        return is_due(self.endpoint, record) and self._dead.get(subject) != record.version

    def _count(self, result: str) -> None:
        self._metrics.deliveries_total.labels(self.name, result).inc()


def is_due(endpoint: Endpoint, record: CredentialRecord) -> bool:
    """Return whether a gateway is to be told of a credential's newest version.

    A gateway that was added later is told of whoever is refused now, and not of what is over.
    """
    if not endpoint.serves(record.realm, record.kind) or record.told.get(endpoint.name) == record.version:
        return False
    return record.refused or record.accepted_ms is None
