"""Rule sets: what the configuration's files say, what is in force, and each set that comes after it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from monitor.core.rules import rule_set_from_document
from monitor.errors import BrokerUnavailableError, ConfigurationError, Fault
from monitor.rulebook import LoadedRules, load_rules
from monitor.stream.fatal import guarded_task
from monitor.stream.faults import passing_reason
from monitor.stream.kafka import consumer_options
from monitor.stream.reach import wait_for_broker
from monitor.stream.read import read_to_end
from monitor.stream.topics import partition_counts
from monitor.wire.credentials import RULES_KEY, RulesInForce, decode_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from aiokafka.structs import ConsumerRecord

    from monitor.core.events import RulesRecord
    from monitor.core.rules import RuleSet
    from monitor.settings import Settings

log = structlog.get_logger(__name__)

_POLL_MS: Final = 100
_IDLE_POLL_MS: Final = 500
_REMIND_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 2.0


def read_configured_rules(settings: Settings, paths: Sequence[Path | str] = ()) -> LoadedRules:
    """Return the rules of `paths`, or else of the configuration's `rules.paths`, and its directory's classes.

    The one place where rules of an installation are read from files. Raises ConfigurationError with
    every fault of all of them.
    """
    return load_rules(paths or settings.rules.paths, settings.credentials.directory_file)


def rule_set_of(rules: RulesInForce | RulesRecord) -> RuleSet:
    """Return the rules of a published set.

    Raises ConfigurationError where this monitor does not read them: a newer one published them.
    """
    try:
        return rule_set_from_document(rules.document)
    except (ValueError, KeyError, TypeError) as error:
        fault = Fault(
            f"rule set version {rules.version}", str(error), "a newer monitor published it: upgrade"
        )
        raise ConfigurationError("the rule set in force cannot be read", [fault]) from None


def holds(current: RulesInForce, rule_set: RuleSet) -> bool:
    """Return whether a set says what is in force, words and allow-lists included; order does not count.

    Sets of one revision may differ in words: those are worth publishing too, since findings hold them.
    What a newer monitor published says something else.
    """
    try:
        return _comparable(rule_set_of(current)) == _comparable(rule_set)
    except ConfigurationError:
        return False


def _comparable(rule_set: RuleSet) -> tuple[Any, ...]:
    rules = sorted(rule_set.rules, key=lambda rule: rule.id)
    allow_lists = sorted(rule_set.allow_lists, key=lambda allow_list: allow_list.id)
    return rules, allow_lists, dict(rule_set.classes)


async def read_rules_in_force(settings: Settings) -> RulesInForce | None:
    """Return the rule set that the ledger holds now, or None before the first.

    Raises BrokerUnavailableError where Kafka does not answer, ConfigurationError where nothing was
    initialised yet.
    """
    await wait_for_broker(settings.kafka)
    await require_topics(settings, "credentials", "control", "decisions", "findings")
    topic = settings.topic("credentials")
    newest: RulesInForce | None = None
    try:
        async for records, _, _ in read_to_end(settings.kafka, topic, 0):
            for record in records:
                newest = _rules_of(record) or newest
    except KafkaError as error:
        msg = f"{topic}: Kafka did not answer: {type(error).__name__}"
        raise BrokerUnavailableError(msg) from None
    return newest


async def require_topics(settings: Settings, *names: str) -> None:
    """Raise ConfigurationError where some of our topics do not exist."""
    present = await asyncio.to_thread(partition_counts, settings.kafka)
    missing = [topic for name in names if (topic := settings.topic(name)) not in present]
    if missing:
        faults = [Fault(f"topic {topic}", "does not exist", "run `monitor init`") for topic in missing]
        raise ConfigurationError("Kafka's topics are not as they must be", faults)


class RulesFollower:
    """Tells the parts of one process of the rule set in force, and of each one after it, in order.

    It reads `credentials` without a group, so every process hears of every set.
    """

    def __init__(self, settings: Settings, on_fatal: Callable[[BaseException], None]) -> None:
        self._settings = settings
        self._on_fatal = on_fatal
        self._hearers: list[Callable[[RulesInForce], None]] = []
        self._first: asyncio.Future[RulesInForce] | None = None
        self._task: asyncio.Task[None] | None = None
        #: The set in force as far as this process knows; None before the first.
        self.newest: RulesInForce | None = None

    def tell(self, hear: Callable[[RulesInForce], None]) -> None:
        """Call `hear` with the set in force, at once where it is known, and with each one after it."""
        self._hearers.append(hear)
        if self.newest is not None:
            hear(self.newest)

    def forget(self, hear: Callable[[RulesInForce], None]) -> None:
        """Tell `hear` no more."""
        self._hearers.remove(hear)

    def start(self) -> None:
        """Begin to read."""
        self._first = asyncio.get_running_loop().create_future()
        self._task = guarded_task(self._follow, self._on_fatal)

    async def first(self) -> RulesInForce:
        """Return the set in force, waiting until there is one."""
        if self.newest is None and self._first is not None:
            await asyncio.shield(self._first)
        assert self.newest is not None  # noqa: S101 - the future is set after it
        return self.newest

    async def stop(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _follow(self) -> None:
        while True:
            try:
                await self._read()
            except (KafkaError, OSError) as error:
                # It reads again from the start, and tells only what is new: nothing is lost.
                if passing_reason(error) is None:
                    raise
                log.warning("rule sets cannot be read; trying again", reason=type(error).__name__)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _read(self) -> None:
        topic = self._settings.topic("credentials")
        options = consumer_options(self._settings.kafka)
        # Rules change seldom: on the embedded broker a shorter wait would keep a core busy for nothing.
        options["fetch_max_wait_ms"] = max(options["fetch_max_wait_ms"], _POLL_MS)
        consumer = AIOKafkaConsumer(**options, auto_offset_reset="earliest")
        try:
            await consumer.start()
            tp = TopicPartition(topic, 0)
            consumer.assign([tp])
            await consumer.seek_to_beginning(tp)
            end = (await consumer.end_offsets([tp]))[tp]
            # Up to today's end only the newest counts: compaction may not have removed older ones yet.
            caught_up = False
            newest: RulesInForce | None = None
            reminded = time.monotonic()
            while True:
                fetched = await consumer.getmany(tp, timeout_ms=_IDLE_POLL_MS if caught_up else _POLL_MS)
                for record in fetched.get(tp, ()):
                    found = _rules_of(record)
                    if found is not None:
                        newest = found
                        if caught_up:
                            self._say(found)
                if not caught_up and await consumer.position(tp) >= end:
                    caught_up = True
                    if newest is not None:
                        self._say(newest)
                if self.newest is None and time.monotonic() - reminded > _REMIND_SECONDS:
                    reminded = time.monotonic()
                    log.warning(
                        "waiting for the first rule set; was `monitor init` run, and is a worker with"
                        " the role enforce running?"
                    )
        finally:
            await consumer.stop()

    def _say(self, rules: RulesInForce) -> None:
        if self.newest is not None and rules.version <= self.newest.version:
            return
        self.newest = rules
        if self._first is not None and not self._first.done():
            self._first.set_result(rules)
        for hear in self._hearers:
            hear(rules)


def _rules_of(record: ConsumerRecord) -> RulesInForce | None:
    if record.key != RULES_KEY or record.value is None:
        return None
    return decode_rules(record.value, f"{record.topic}-{record.partition} offset {record.offset}")
