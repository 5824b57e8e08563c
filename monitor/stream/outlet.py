"""Where a process puts rows, and how it goes from one rule set to the next without losing any.

A process that hears of a new rule set routes by both sets at once (*widens*), and announces the new
one in every `routed` partition only a little later. By then every process routes by both, so each
event of after the announcement has a row on each axis that the new set counts by.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from monitor.core.rules import RuleSet
from monitor.errors import InvariantError
from monitor.intake.feeds import Feed
from monitor.intake.native import packer_of
from monitor.intake.pseudonym import AHEAD_MS, phase_at
from monitor.intake.rows import EventRouter
from monitor.rulebook import compile_pattern
from monitor.stream.fatal import guarded_task
from monitor.stream.rules import rule_set_of
from monitor.stream.sender import Delivery, OrderedSender
from monitor.wire.routed import encode_rules

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from aiokafka import AIOKafkaProducer

    from monitor.core.events import RulesRecord
    from monitor.intake.batch import Packer
    from monitor.intake.keys import Keys
    from monitor.intake.pseudonym import Phase
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
        self.packer: Packer | None = None
        self._feeds: dict[str, Feed] = {}
        #: Per source, the time of its newest event, in epoch milliseconds.
        self._watermarks: dict[str, int] = {}
        self._allowed_lateness = settings.detect.allowed_lateness
        self._key_id: str | None = None
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

    def feed(self, source: str) -> Feed:
        """Return what this process knows of a source's feed."""
        found = self._feeds.get(source)
        if found is None:
            found = self._feeds[source] = Feed(source, self.metrics)
        return found

    def sees(self, source: str) -> None:
        """Note that this process begins to read a source, or another partition of it."""
        if source not in self._watermarks:
            self._watermarks[source] = 0
            self.metrics.rejected_total.labels(source, "internal")
            self.metrics.source_watermark_timestamp_seconds.labels(source).set(0)
            self.metrics.source_moved_timestamp_seconds.labels(source).set(time.time())

    def saw(self, source: str, newest_ms: int) -> None:
        """Note the time of the newest event of some that were read."""
        if newest_ms > self._watermarks.get(source, 0):
            self._watermarks[source] = newest_ms
            self.metrics.source_watermark_timestamp_seconds.labels(source).set(newest_ms / 1000)
            self.metrics.source_moved_timestamp_seconds.labels(source).set(time.time())

    def packer_at(self, now_ms: int) -> Packer:
        """Return what makes rows at a time: pseudonym keys begin, and end to be named, at times."""
        packer = self.packer
        if packer is None:
            msg = "events were read before a rule set was in force"
            raise InvariantError(msg)
        until_ms = packer.router.phase.until_ms
        if until_ms is not None and now_ms >= until_ms:
            self._route(now_ms)
            return self.packer or packer
        return packer

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

    def _route(self, now_ms: int | None = None) -> None:
        if self._announced is None:
            return
        now_ms = int(time.time() * 1000) if now_ms is None else now_ms
        announced = self._announced[1]
        rules = (*announced.rules, *(rule for coming in self._coming.values() for rule in coming.rules))
        # Rows before the announcement are judged by the old set: they bear its classes.
        union = RuleSet(rules, classes=announced.classes)
        overlap_ms = overlap_of(union, self._allowed_lateness)
        phase = phase_at(self.keys.epochs, now_ms, overlap_ms)
        self.packer = packer_of(EventRouter(union, self.keys, self.partitions, compile_pattern, phase))
        self._tell(phase, overlap_ms, now_ms)

    def _tell(self, phase: Phase, overlap_ms: int, now_ms: int) -> None:
        """Say which key is counted by, and loudly where it is not alone."""
        metrics = self.metrics
        for epoch in self.keys.epochs:
            metrics.pseudonym_key_begin_timestamp_seconds.labels(epoch.id).set(epoch.begins_ms / 1000)
            metrics.pseudonym_key_active.labels(epoch.id).set(epoch.id == phase.epoch.id)
        ends = [epoch.begins_ms + overlap_ms for epoch in self.keys.epochs[1:]]
        end_ms = max(ends, default=0)
        metrics.key_overlap_end_timestamp_seconds.set(end_ms / 1000 if end_ms > now_ms else 0)
        said = f"{phase.epoch.id} {[epoch.id for epoch in phase.others]}"
        if said != self._key_id:
            self._key_id = said
            if phase.others:
                log.warning(
                    "pseudonym keys rotate: rows bear the pseudonyms of several keys, nobody counts twice",
                    counted_by=phase.epoch.id,
                    also_named=[epoch.id for epoch in phase.others],
                    until=datetime.fromtimestamp(end_ms / 1000, UTC).isoformat(timespec="seconds"),
                )
            else:
                log.info("pseudonym key", counted_by=phase.epoch.id)


def overlap_of(rule_set: RuleSet, allowed_lateness: timedelta) -> int:
    """Return for how long (ms) after its last row a pseudonym may still be looked back to.

    An event may be one timespan and the allowed lateness late, and its window reaches back another.
    """
    longest_ms = max((rule.timespan_ms for rule in rule_set.rules), default=0)
    return 2 * longest_ms + int(allowed_lateness.total_seconds() * 1000) + AHEAD_MS


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
        task = guarded_task(partial(self._settle, rules.record()), self._on_fatal)
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
