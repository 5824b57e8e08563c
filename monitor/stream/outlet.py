"""Where a process puts rows, and how it goes from one rule set to the next without losing any.

A process that hears of a new rule set routes by both sets at once (*widens*), and announces the new
one in every `routed` partition only a little later. By then every process routes by both, so each
event of after the announcement has a row on each axis that the new set counts by.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from monitor.core.rules import RuleSet
from monitor.intake.rows import EventRouter
from monitor.rulebook import compile_pattern
from monitor.stream.fatal import guarded
from monitor.stream.rules import rule_set_of
from monitor.stream.sender import Delivery, OrderedSender
from monitor.wire.routed import encode_rules

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiokafka import AIOKafkaProducer

    from monitor.core.events import RulesRecord
    from monitor.intake.keys import Keys
    from monitor.observe.metrics import Metrics
    from monitor.settings import Settings
    from monitor.wire.credentials import RulesInForce

log = structlog.get_logger(__name__)

#: How long a process routes by a new rule set before it announces it, in seconds: by then every
#: other process has seen it too.
SETTLE_SECONDS = 2.0
#: Before the first version nobody routes by anything, so there is nothing to wait for.
FIRST_RULES_VERSION: Final = 1
#: A set that was published longer ago than this is known to every process, whatever the clocks say.
FRESH_RULES_SECONDS: Final = 60.0


class RoutedOutlet:
    """Where all intake of a process puts rows: one sender, and the rule sets that it routes by.

    Rows are routed by the set that was announced last and by those that are coming, so that no
    process still routes by the old set alone when another one announces the new one
    (docs/adr/0006-announced-rules.md).
    """

    def __init__(
        self,
        settings: Settings,
        producer: AIOKafkaProducer,
        keys: Keys,
        metrics: Metrics,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self.keys = keys
        self.metrics = metrics
        self.partitions = settings.kafka.partitions
        self.keep_payload = settings.privacy.keep_rejected_payload
        self.routed = OrderedSender(producer, settings.topic("routed"), on_fatal)
        self.rejected = OrderedSender(producer, settings.topic("rejected"), on_fatal)
        #: Of no rule set before the first announcement: then nothing may be routed.
        self.router: EventRouter | None = None
        #: Per source, the time of its newest event, in epoch milliseconds.
        self._watermarks: dict[str, int] = {}
        self._announced: tuple[int, RuleSet] | None = None
        self._coming: dict[int, RuleSet] = {}

    def end(self) -> None:
        """Begin no batch any more."""
        self.routed.end()
        self.rejected.end()

    @property
    def rules_version(self) -> int:
        """The version of the rule set announced last, -1 before the first."""
        return -1 if self._announced is None else self._announced[0]

    def sees(self, source: str) -> None:
        """Note that this process begins to read a source, or another partition of it."""
        if source not in self._watermarks:
            self._watermarks[source] = 0
            self.metrics.source_watermark_timestamp_seconds.labels(source).set(0)
            self.metrics.source_moved_timestamp_seconds.labels(source).set(time.time())

    def saw(self, source: str, newest_ms: int) -> None:
        """Note the time of the newest event of some that were read."""
        if newest_ms > self._watermarks.get(source, 0):
            self._watermarks[source] = newest_ms
            self.metrics.source_watermark_timestamp_seconds.labels(source).set(newest_ms / 1000)
            self.metrics.source_moved_timestamp_seconds.labels(source).set(time.time())

    def widen(self, rules: RulesRecord) -> None:
        """Route also what a rule set needs that is about to be announced."""
        self._coming[rules.version] = rule_set_of(rules)
        self._route()

    def announce(self, rules: RulesRecord, delivery: Delivery) -> None:
        """Route by a rule set from now on, and say so in every partition before its first row.

        Detect switches at that record. An announcement repeats where a process starts; detect
        takes only a higher version, so each partition switches once.
        """
        if rules.version <= self.rules_version:
            return
        self._announced = rules.version, rule_set_of(rules)
        self._coming = {number: coming for number, coming in self._coming.items() if number > rules.version}
        self._route()
        value = encode_rules(rules)
        for partition in range(self.partitions):
            self.routed.put(partition, value, delivery)
        self.metrics.rules_version.set(rules.version)
        self.metrics.tell_rules(self._announced[1].rules)
        log.info("rule set announced", version=rules.version, revision=rules.revision)

    def _route(self) -> None:
        if self._announced is None:
            return
        announced = self._announced[1]
        rules = (*announced.rules, *(rule for coming in self._coming.values() for rule in coming.rules))
        # Rows before the announcement are judged by the old set: they bear its classes.
        union = RuleSet(rules, classes=announced.classes)
        self.router = EventRouter(union, self.keys, self.partitions, compile_pattern)


class RulesAnnouncer:
    """Announces the rule sets that come into force, some time after it routes by them."""

    def __init__(self, outlet: RoutedOutlet, on_fatal: Callable[[BaseException], None]) -> None:
        self._outlet = outlet
        self._on_fatal = on_fatal
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self, rules: RulesInForce) -> None:
        """Announce the set that a process starts with; returns once every partition has it."""
        age_ms = time.time() * 1000 - rules.published_ms
        if rules.version > FIRST_RULES_VERSION and age_ms < FRESH_RULES_SECONDS * 1000:
            await asyncio.sleep(SETTLE_SECONDS)
        await self._announce(rules.record())

    def follow(self, rules: RulesInForce) -> None:
        """Route by a set at once, and announce it when every other process routes by it too."""
        if rules.version <= self._outlet.rules_version:
            return
        self._outlet.widen(rules.record())
        late_seconds = time.time() - rules.published_ms / 1000
        if late_seconds > SETTLE_SECONDS:
            # Other processes may have announced it: rows of its new axes are missing until now.
            log.warning("a new rule set was seen late", version=rules.version, seconds=round(late_seconds, 1))
        task = asyncio.create_task(guarded(partial(self._settle, rules.record()), self._on_fatal))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Announce no more: what is not announced is, when a process starts."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _settle(self, rules: RulesRecord) -> None:
        await asyncio.sleep(SETTLE_SECONDS)
        await self._announce(rules)

    async def _announce(self, rules: RulesRecord) -> None:
        delivery = Delivery()
        self._outlet.announce(rules, delivery)
        await delivery.wait()
