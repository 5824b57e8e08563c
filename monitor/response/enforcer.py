"""The one active enforcer: findings in, decisions, statuses and deliveries out.

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
from monitor.response import lifecycle
from monitor.response.activation import on_act, read_control
from monitor.response.adapters import build_endpoints
from monitor.response.decided import DecidedFindings
from monitor.response.delivery import DeliveryDesk
from monitor.response.ledger import Ledger
from monitor.response.lifecycle import Decision, Policy, Step
from monitor.response.line import RetryPolicy
from monitor.response.opening import opener_of
from monitor.response.pager import Pager
from monitor.response.receipts import Receipts
from monitor.stream.fatal import guarded
from monitor.stream.sender import Delivery, OrderedSender
from monitor.stream.steps import reached
from monitor.wire.credentials import (
    FORMAT_VERSION,
    CredentialRecord,
    CredentialStatusEntry,
    EnforcerRecord,
    RulesInForce,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiokafka import AIOKafkaProducer
    from aiokafka.structs import ConsumerRecord

    from monitor.observe.metrics import Metrics
    from monitor.settings import Settings

log = structlog.get_logger(__name__)

HEARTBEAT_SECONDS: Final = 2.0


class Enforcer:
    """Holds the book of credentials; alive between `start` and `stop`."""

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
        self._policy = Policy(
            mode=response.mode,
            max_age_ms=int(response.max_age.total_seconds() * 1000),
            default_ttl_ms=int(response.default_ttl.total_seconds() * 1000),
            delivers=bool(response.adapters),
        )
        self._endpoints = build_endpoints(response.adapters)
        self._retries = RetryPolicy(
            ceiling=response.retry_ceiling.total_seconds(), give_up=response.give_up_after.total_seconds()
        )
        self._opened = opener_of(settings)
        self._desk: DeliveryDesk | None = None
        self._pager = Pager(settings.observe, metrics)
        #: The statuses that are on their way back to detect.
        self._said = Delivery()
        self._book: dict[str, CredentialRecord] = {}
        self._position = EnforcerRecord()
        self._rules: RulesInForce | None = None
        self._decided = DecidedFindings()
        self._changes: asyncio.Queue[tuple[Callable[[], Step], asyncio.Future[None]]] = asyncio.Queue()
        #: What callers of `_put` wait for.
        self._undone: set[asyncio.Future[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def findings_offset(self) -> int:
        """The next finding to decide about: those below it are durably decided."""
        return self._ledger.position.findings_offset

    async def start(self) -> None:
        """Take over: fence the one before, read its ledger, say again what may not have been heard."""
        await self._ledger.take_over()
        self._book.update(self._ledger.credentials)
        self._position = self._ledger.position
        self._rules = self._ledger.rules
        await self._decided.load(self._settings, self.findings_offset)
        self._metrics.takeovers_total.inc()
        self._metrics.enforcer_active.set(1)
        self._tasks = [asyncio.create_task(guarded(self._write, self._on_fatal))]
        await self._change(Step)  # the first heartbeat, before anything is decided
        reached("enforce.active")
        # Versions make it harmless to say again what the one before may have said already.
        for record in self._book.values():
            self._say_status(record)
        receipts = Receipts(
            self._book,
            self._change,
            self._metrics,
            disable=self._disable,
            disabled=lambda: self._position.disabled,
        )
        self._desk = DeliveryDesk(
            self._endpoints,
            receipts,
            self._metrics,
            self._retries,
            on_fatal=self._on_fatal,
            opened=self._opened,
        )
        self._desk.resume()
        self._tasks += [
            asyncio.create_task(guarded(work, self._on_fatal))
            for work in (self._read_control, self._beat, self._expire, self._reconcile)
        ]
        self._pager.start(self._book.values())
        self._refresh_metrics()
        log.info("enforcer active", mode=self._policy.mode, next_finding=self.findings_offset)

    async def stop(self) -> None:
        """Stand down; whatever was begun goes on with the next enforcer."""
        self._stand_down()
        for task in self._tasks[1:]:
            task.cancel()
        await self._pager.stop()
        if self._desk is not None:
            await self._desk.stop()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        # Whoever still waits must not wait for ever; what is not in the ledger is decided again.
        self._settle(None)
        await self._ledger.close()
        await self._said.wait()  # the producer must not be stopped under them

    async def drop(self) -> None:
        """Stand down as a crash would: nothing is begun, and Kafka is not waited for."""
        self._stand_down()
        self._statuses.end()
        for task in self._tasks:
            task.cancel()
        await self._pager.stop()
        if self._desk is not None:
            await self._desk.stop()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._settle(None)
        await self._ledger.drop()

    def _stand_down(self) -> None:
        self._metrics.enforcer_active.set(0)
        self._metrics.incident_info.clear()

    async def apply_findings(self, records: Sequence[ConsumerRecord]) -> None:
        """Decide about findings and observations, in order; returns once that is durable.

        Those below `findings_offset` were decided before, perhaps by another enforcer. Where the
        enforcer is stopped meanwhile it returns too, and `findings_offset` says how far it came.
        """
        new = [record for record in records if record.offset >= self.findings_offset]
        if not new:
            return
        # All are queued before the first is waited for: the writer then takes them together.
        waits = [self._put(partial(self._decide, record)) for record in new]
        for wait in waits:
            await wait

    def _decide(self, record: ConsumerRecord) -> Step:
        if record.offset < self._position.findings_offset:
            return Step()
        try:
            entry = orjson.loads(record.value)
            if entry["v"] == FORMAT_VERSION:
                return self._judge(entry, record)
        except (orjson.JSONDecodeError, KeyError, TypeError):
            pass
        msg = (
            f"{record.topic}-{record.partition} offset {record.offset}: not a finding that this monitor"
            " reads; who else writes there, or was it downgraded?"
        )
        raise InvariantError(msg)

    def _judge(self, entry: dict[str, Any], record: ConsumerRecord) -> Step:
        now_ms = _now_ms()
        self._position = msgspec.structs.replace(self._position, findings_offset=record.offset + 1)
        current = self._book.get(entry["subject"])
        if entry["kind"] == "observation" and entry["what"] == "gap":
            # Every worker that meets it tells of it.
            step = Step() if entry["id"] in self._decided else lifecycle.on_gap(entry)
            self._decided.add(entry["id"])
        elif entry["kind"] == "observation":
            step = lifecycle.on_observation(current, entry, now_ms)
        elif entry["id"] in self._decided:
            step = Step()  # a worker that died says again what it had said
        else:
            self._decided.add(entry["id"])
            incident = f"INC-{self._position.incidents + 1:04d}"
            step = lifecycle.on_finding(current, entry, self._policy, incident, now_ms)
            self._pager.found(entry)
            if step.record is not None and step.record.incident == incident:
                self._position = msgspec.structs.replace(
                    self._position, incidents=self._position.incidents + 1
                )
            self._metrics.decision_seconds.observe(max(0.0, (now_ms - entry["event"]["time_ms"]) / 1000))
        return step

    def _disable(self, adapter: str, fingerprint: str, reason: str) -> Step:
        disabled = {**self._position.disabled, adapter: fingerprint}
        self._position = msgspec.structs.replace(self._position, disabled=disabled)
        return Step([Decision("adapter_disabled", {"adapter": adapter, "reason": reason})])

    # The one writer

    def _put(self, change: Callable[[], Step]) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._undone.add(done)
        done.add_done_callback(self._undone.discard)
        self._changes.put_nowait((change, done))
        return done

    async def _change(self, change: Callable[[], Step]) -> None:
        await self._put(change)

    def _settle(self, error: Exception | None) -> None:
        """End every wait for a change; nothing is changed any more."""
        for done in list(self._undone):
            if done.done():
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)
                done.exception()  # seen: not every one of them is waited for

    async def _write(self) -> None:
        try:
            await self._write_on()
        except Exception as error:
            self._settle(error)
            raise

    async def _write_on(self) -> None:
        while True:
            queued = [await self._changes.get()]
            while not self._changes.empty():
                queued.append(self._changes.get_nowait())
            rules_before = self._rules
            # A change sees those before it; if the commit fails, the process ends.
            steps = [self._take(change) for change, _ in queued]
            decisions = [decision for step in steps for decision in step.decisions]
            records = {step.record.subject: step.record for step in steps if step.record is not None}
            rules = self._rules if self._rules is not rules_before else None
            await self._ledger.commit(decisions, list(records.values()), self._position, rules)
            self._position = self._ledger.position
            for step in steps:
                self._say(step)
            self._report(decisions)
            for _, done in queued:
                if not done.done():
                    done.set_result(None)

    def _take(self, change: Callable[[], Step]) -> Step:
        step = change()
        if step.record is not None:
            self._book[step.record.subject] = step.record
        return step

    def _say(self, step: Step) -> None:
        if step.record is not None and (step.told or step.reopens):
            self._say_status(step.record)
        if step.record is not None and step.told and self._desk is not None:
            self._desk.deliver(step.record.subject)

    def _report(self, decisions: Sequence[Decision]) -> None:
        for decision in decisions:
            details = decision.details
            self._metrics.decisions_total.labels(decision.kind).inc()
            if decision.kind == "leaked":
                self._metrics.leaks_total.inc()
            if decision.kind in {"enforced", "failed"} and details.get("incident"):
                self._metrics.incident_patients.observe(
                    self._book[f"{details['realm']}/{details['id']}"].patients
                )
            if decision.kind == "enforced":
                record = self._book[f"{details['realm']}/{details['id']}"]
                if record.enforced_ms is not None:
                    self._metrics.enforced_seconds.observe((record.enforced_ms - record.requested_ms) / 1000)
            log.info(
                decision.kind,
                incident=details.get("incident"),
                finding=details.get("finding"),
                reason=details.get("reason"),
                mode=self._policy.mode,
            )
        if decisions:
            self._refresh_metrics()

    def _refresh_metrics(self) -> None:
        self._pager.show(self._book.values())
        counts = dict.fromkeys(("requested", "accepted", "enforced", "quiet", "failed"), 0)
        oldest = 0.0
        now_ms = _now_ms()
        for record in self._book.values():
            if lifecycle.is_open(record):
                counts[record.state] = counts.get(record.state, 0) + 1
            if record.accepted_ms is None and self._policy.delivers:
                oldest = max(oldest, (now_ms - record.requested_ms) / 1000)
        self._metrics.list_incidents(
            (record.incident, record.rule.id, record.state)
            for record in self._book.values()
            if lifecycle.is_open(record)
        )
        for state, count in counts.items():
            self._metrics.open_incidents.labels(state).set(count)
        self._metrics.oldest_undelivered_seconds.set(oldest)

    # The way back to detect

    def _say_status(self, record: CredentialRecord) -> None:
        entry = CredentialStatusEntry(
            realm=record.realm,
            id=record.id,
            status=record.status,
            version=record.version,
            at_ms=record.since_ms,
            finding=record.finding,
        )
        self._statuses.put(0, encode(entry), self._said, record.subject.encode())
        reached("enforce.status-queued")

    # What happens by itself

    async def _read_control(self) -> None:
        async for record in read_control(self._settings, self._position.control_offset):
            await self._change(partial(self._act, record))

    def _act(self, record: ConsumerRecord) -> Step:
        self._position = msgspec.structs.replace(self._position, control_offset=record.offset + 1)
        decision, self._rules = on_act(self._rules, record, _now_ms())
        return Step([decision])

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            await self._change(Step)
            self._refresh_metrics()

    async def _reconcile(self) -> None:
        while self._desk is not None:
            await self._desk.reconcile()
            await asyncio.sleep(self._settings.response.reconcile_interval.total_seconds())

    async def _expire(self) -> None:
        while True:
            now_ms = _now_ms()
            due = [
                subject
                for subject, record in self._book.items()
                if record.until_ms is not None and record.until_ms <= now_ms
            ]
            for ended in [self._put(partial(self._end_if_due, subject)) for subject in due]:
                await ended
            await asyncio.sleep(1.0)

    def _end_if_due(self, subject: str) -> Step:
        return lifecycle.on_tick(self._book[subject], self._policy, _now_ms())


def _now_ms() -> int:
    return int(time.time() * 1000)
