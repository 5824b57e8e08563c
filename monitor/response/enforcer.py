"""The one active enforcer: findings and acts in, decisions, statuses and deliveries out.

All changes go through one writer, which makes whatever has queued up durable in one transaction.
Nothing is done before it is durable: no status goes back to detect, no gateway is called.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import orjson
import structlog

from monitor.errors import InvariantError
from monitor.observe.ending import end_tasks
from monitor.response import activation, lifecycle, switches
from monitor.response.adapters import build_endpoints
from monitor.response.breaker import RetryPolicy
from monitor.response.casebook import Casebook, policy_of
from monitor.response.decided import DecidedFindings
from monitor.response.delivery import DeliveryDesk
from monitor.response.drill import drill
from monitor.response.evidence import EvidenceGatherer
from monitor.response.followed import FollowedDirectory
from monitor.response.ledger import Ledger, changes_of
from monitor.response.observing import on_gap, on_observation
from monitor.response.opening import opener_of
from monitor.response.pager import Pager
from monitor.response.people import People
from monitor.response.receipts import Receipts
from monitor.response.reporting import refresh, report, silence
from monitor.response.showing import Showing
from monitor.response.states import Decision, Step
from monitor.response.writer import Backlog, Writer
from monitor.stream.fatal import guarded_task
from monitor.stream.sender import Delivery, OrderedSender
from monitor.stream.steps import reached
from monitor.wire.credentials import FORMAT_VERSION, RulesInForce, encode, status_entry
from monitor.wire.safety import fuse_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiokafka import AIOKafkaProducer

    from monitor.observe.metrics import Metrics
    from monitor.settings import Settings
    from monitor.stream.records import FetchedRecord
    from monitor.wire.credentials import CredentialStatusEntry

log = structlog.get_logger(__name__)

HEARTBEAT_SECONDS: Final = 2.0
_FORGET_SECONDS: Final = 600.0
#: Findings that may wait for the ledger before no more are taken: memory, and what a take-over does again.
_MOST_UNDECIDED: Final = 2_000


class Enforcer:
    """Holds the casebook; alive between `start` and `stop`. `people` answers those who ask (`Responder`)."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        status_producer: AIOKafkaProducer,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        response = settings.response
        self._settings = settings
        self._metrics = metrics
        self._on_fatal = on_fatal
        self._ledger = Ledger(settings)
        self._statuses = OrderedSender(status_producer, settings.topic("status"), on_fatal)
        self._endpoints = build_endpoints(response.adapters)
        self._retries = RetryPolicy(
            ceiling=response.retry_ceiling.total_seconds(), give_up=response.give_up_after.total_seconds()
        )
        self._opened = opener_of(settings)
        self._directory = FollowedDirectory(settings.credentials.directory_file, metrics)
        self._book = Casebook(
            policy_of(response),
            self._directory.read(),
            endpoints={endpoint.name: endpoint.fingerprint for endpoint in self._endpoints},
        )
        self._desk: DeliveryDesk | None = None
        self._pager = Pager(settings.observe, metrics)
        self._showing = Showing(self._refresh, on_fatal)
        #: The statuses that are on their way back to detect.
        self._said = Delivery()
        self._rules: RulesInForce | None = None
        self._rules_changed = False
        self._decided = DecidedFindings()
        self._gatherer = EvidenceGatherer(settings, status_producer, on_fatal, self._gathered)
        self._writer = Writer(self._take, self._commit, self._follow)
        self._deciding = Backlog()
        #: What people ask, and are shown.
        self.people = People(self._book, self._writer)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def findings_offset(self) -> int:
        """The next finding to decide about: those below it are durably decided."""
        return self._ledger.position.findings_offset

    async def start(self) -> None:
        """Take over: fence the one before, read its ledger, say again what may not have been heard."""
        ledger, book = self._ledger, self._book
        await ledger.take_over()
        book.records.update(ledger.credentials)
        book.earlier.update(ledger.incidents)
        book.allowed.update(ledger.allowed)
        book.fuse, book.glass, book.position = fuse_of(ledger.fuse), ledger.glass, ledger.position
        self._rules = ledger.rules
        since = book.position.evidence_offset
        since = self.findings_offset if since is None else since
        book.position = msgspec.structs.replace(book.position, evidence_offset=since)
        for offset, finding in await self._decided.load(self._settings, self.findings_offset, since):
            self._gatherer.put(offset, finding)
        await self.people.load(self._settings)
        self._metrics.takeovers_total.inc()
        self._metrics.enforcer_active.set(1)
        await self._say_mode()
        self._tasks = [guarded_task(self._writer.run, self._on_fatal)]
        await self._writer.change(Step)  # the first heartbeat, before anything is decided
        reached("enforce.active")
        # Versions make it harmless to say again what the one before may have said already.
        for record in book.records.values():
            self._say(status_entry(record))
        receipts = Receipts(
            book.records,
            self._writer.change,
            self._metrics,
            disable=self._disable,
            disabled=lambda: book.position.disabled,
        )
        self._desk = DeliveryDesk(
            self._endpoints,
            receipts,
            self._metrics,
            self._retries,
            on_fatal=self._on_fatal,
            opened=self._opened,
        )
        self.people.desk = self._desk
        self._desk.resume()
        self._tasks += [
            guarded_task(work, self._on_fatal)
            for work in (
                self._read_control,
                self._beat,
                self._tick,
                self._outlast,
                self._reconcile,
                self._drill,
                self._forget,
                self._gatherer.run,
            )
        ]
        self._pager.start(book.records.values())
        self._showing.changed()
        log.info("enforcer active", mode=book.policy.mode, next_finding=self.findings_offset)

    async def stop(self) -> None:
        """Stand down; whatever was begun goes on with the next enforcer."""
        self._metrics.enforcer_active.set(0)
        for task in self._tasks[1:]:
            task.cancel()
        await self._pager.stop()
        if self._desk is not None:
            await self._desk.stop()
        await end_tasks(self._tasks)
        self._fall_silent()
        # Whoever still waits must not wait for ever; what is not in the ledger is decided again.
        self._writer.settle(None)
        await self._ledger.close()
        await self._said.wait()  # the producer must not be stopped under them

    async def drop(self) -> None:
        """Stand down as a crash would: nothing is begun, and Kafka is not waited for."""
        self._metrics.enforcer_active.set(0)
        self._statuses.end()
        self._gatherer.end()
        await end_tasks(self._tasks)
        # Before calls are ended: one that has an answer just now would wait for its note without end.
        self._writer.settle(None)
        await self._pager.stop()
        if self._desk is not None:
            await self._desk.stop()
        self._fall_silent()
        await self._ledger.drop()

    def _fall_silent(self) -> None:
        # Only now: neither tasks nor deliveries of ours speak any more.
        self._showing.stop()
        silence(self._metrics)

    # Findings

    async def take_findings(self, records: Sequence[FetchedRecord]) -> None:
        """Begin to decide about findings and observations, in order; returns once there is room for more.

        Those below `findings_offset` were decided before, perhaps by another enforcer.
        """
        for record in records:
            if record.offset >= self.findings_offset:
                self._deciding.add(self._writer.put(partial(self._decide, record)))
        await self._deciding.at_most(_MOST_UNDECIDED)

    async def decided(self) -> None:
        """Return once everything that was taken is decided, durably.

        Where the enforcer is stopped meanwhile it returns too, and `findings_offset` says how far it came.
        """
        await self._deciding.at_most(0)

    async def apply_findings(self, records: Sequence[FetchedRecord]) -> None:
        """Decide about findings and observations, in order; returns once that is durable."""
        await self.take_findings(records)
        await self.decided()

    def _decide(self, record: FetchedRecord) -> Step:
        if record.offset < self._book.position.findings_offset:
            return Step()
        try:
            entry = orjson.loads(record.value or b"")
            if entry["v"] == FORMAT_VERSION:
                return self._judge(entry, record)
        except (orjson.JSONDecodeError, KeyError, TypeError):
            pass
        msg = (
            f"{record.topic}-{record.partition} offset {record.offset}: not a finding that this monitor"
            " reads; who else writes there, or was it downgraded?"
        )
        raise InvariantError(msg)

    def _judge(self, entry: dict[str, Any], record: FetchedRecord) -> Step:
        now_ms, book = _now_ms(), self._book
        if entry["kind"] == "observation" and entry["what"] == "gap":
            # Every worker that meets it tells of it.
            step = Step() if entry["id"] in self._decided else on_gap(entry)
            self._decided.add(entry["id"])
        elif entry["kind"] == "observation":
            step = on_observation(book.records.get(entry["subject"]), entry, now_ms)
        elif entry["id"] in self._decided:
            step = Step()  # a worker that died says again what it had said
        else:
            step = lifecycle.on_finding(book, entry, now_ms)
            self._decided.add(entry["id"])
            self._gatherer.put(record.offset, entry)
            self._pager.found(entry)
            self._metrics.decision_seconds.observe(max(0.0, (now_ms - entry["event"]["time_ms"]) / 1000))
        book.position = msgspec.structs.replace(book.position, findings_offset=record.offset + 1)
        return step

    # The one writer

    def _take(self, step: Step) -> None:
        self._book.take(step)

    async def _commit(self, steps: Sequence[Step]) -> None:
        decisions = [decision for step in steps for decision in step.decisions]
        changes = changes_of(steps)
        rules = self._rules if self._rules_changed else None
        first, at_ms = self._book.position.sequence, _now_ms()
        await self._ledger.commit(decisions, changes, self._book.position, rules)
        self._rules_changed = False
        self._book.position = self._ledger.position
        self.people.receive(decisions, first, at_ms)

    def _follow(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if step.enabled is not None and self._desk is not None:
                self._desk.enable(step.enabled)
            if step.record is None:
                continue
            if step.told or step.heard:
                self._say(status_entry(step.record))
            if step.told and self._desk is not None:
                self._desk.deliver(step.record.subject)
        decisions = [decision for step in steps for decision in step.decisions]
        report(decisions, self._book, self._metrics)
        if decisions:
            self._showing.changed()

    def _refresh(self) -> None:
        self._pager.show(self._book.records.values())
        refresh(self._book, self._metrics, _now_ms())

    def _disable(self, adapter: str, fingerprint: str, reason: str) -> Step:
        book = self._book
        disabled = {**book.position.disabled, adapter: fingerprint}
        book.position = msgspec.structs.replace(book.position, disabled=disabled)
        return Step([Decision("adapter_disabled", {"adapter": adapter, "reason": reason})])

    def _gathered(self, offset: int) -> asyncio.Future[None]:
        def change() -> Step:
            book = self._book
            book.position = msgspec.structs.replace(book.position, evidence_offset=offset)
            return Step()

        return self._writer.put(change)

    # The way back to detect

    def _say(self, entry: CredentialStatusEntry) -> None:
        key = f"{entry.realm}/{entry.id}".encode()
        self._statuses.put(0, encode(entry), self._said, key)
        reached("enforce.status-queued")

    async def _say_mode(self) -> None:
        """Where shadow has ended, let detect find again what it has found lately."""
        now_ms, book = _now_ms(), self._book
        if (self._ledger.mode_before, book.policy.mode) != ("shadow", "enforce"):
            return
        for entry in self._decided.to_find_again(book.records, book.position.versions, now_ms):
            self._say(entry)
        await self._said.wait()

    # What happens by itself

    async def _read_control(self) -> None:
        async for record in activation.read_control(self._settings, self._book.position.control_offset):
            await self._writer.change(partial(self._publish, record))

    def _publish(self, record: FetchedRecord) -> Step:
        book, before = self._book, self._rules
        book.position = msgspec.structs.replace(book.position, control_offset=record.offset + 1)
        decision, self._rules = activation.on_act(before, record, _now_ms())
        self._rules_changed = self._rules_changed or self._rules is not before
        return Step([decision])

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            self._book.directory = self._directory.read_if_changed(self._book.directory)
            await self._writer.change(Step)
            self._showing.changed()

    async def _outlast(self) -> None:
        # Where nobody was active before, nobody's calls are on their way.
        if self._desk is not None and self._ledger.mode_before is not None:
            await self._desk.outlast()

    async def _reconcile(self) -> None:
        while self._desk is not None:
            await self._desk.reconcile()
            await asyncio.sleep(self._settings.response.reconcile_interval.total_seconds())

    async def _drill(self) -> None:
        interval = self._settings.response.drill_interval
        while interval is not None:
            for one in await drill(self._endpoints):
                self._metrics.drill_last_successful.labels(one.adapter).set(one.holds)
                self._metrics.drill_timestamp_seconds.labels(one.adapter).set_to_current_time()
                details = {"adapter": one.adapter, "holds": one.holds, "problems": list(one.problems)}
                await self._writer.change(partial(Step, [Decision("drilled", details)]))
            await asyncio.sleep(interval.total_seconds())

    async def _tick(self) -> None:
        book = self._book
        while True:
            now_ms = _now_ms()
            if switches.on_tick(book, now_ms).glass is not None:
                await self._writer.change(lambda: switches.on_tick(book, _now_ms()))
            due = [
                subject
                for subject, record in book.records.items()
                if lifecycle.on_tick(book, record, now_ms).record is not None
            ]
            for ended in [self._writer.put(partial(self._end_if_due, subject)) for subject in due]:
                await ended
            await asyncio.sleep(1.0)

    def _end_if_due(self, subject: str) -> Step:
        return lifecycle.on_tick(self._book, self._book.records[subject], _now_ms())

    async def _forget(self) -> None:
        while True:
            await self._writer.change(self._forget_ended)
            await asyncio.sleep(_FORGET_SECONDS)

    def _forget_ended(self) -> Step:
        keep_ms, now_ms = int(self._settings.response.keep_ended.total_seconds() * 1000), _now_ms()
        return Step(forgotten=self._book.forget(now_ms - keep_ms, now_ms))


def _now_ms() -> int:
    return int(time.time() * 1000)
