"""Backtests over topics: a source's records as intake read them, or our own log as detect read it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter as Count
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from monitor.core.events import AXIS_PRINCIPAL, RowsRecord, RulesRecord, SourceId
from monitor.core.rules import RuleSet, rule_set_document, rule_set_from_document
from monitor.core.windows import NEVER
from monitor.engine.detectors import new_detector
from monitor.engine.packed import decode
from monitor.errors import BrokerUnavailableError, ConfigurationError, Fault
from monitor.intake.rows import compares_client_ip
from monitor.rulebook import compile_pattern
from monitor.stream.kafka import consumer_options
from monitor.stream.reach import wait_for_broker
from monitor.stream.read import read_to_end
from monitor.stream.topics import cluster_id, partition_counts, topic_ids
from monitor.trial.backtest import summed_up
from monitor.trial.crew import Work
from monitor.trial.feeding import run
from monitor.trial.findings import Found
from monitor.trial.judging import Verdict
from monitor.trial.reading import Block, Feed, Reading, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aiokafka.structs import ConsumerRecord

    from monitor.core.detector import Detector
    from monitor.intake.keys import Keys
    from monitor.settings import KafkaSettings, Settings, SourceSettings
    from monitor.trial.backtest import Backtest

_POLL_MS: Final = 200
_RECORDS: Final = 2_000
_SWEEP_SUBJECTS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Range:
    """Append times in epoch milliseconds: from `since_ms` (inclusive) to `until_ms` (exclusive)."""

    since_ms: int = NEVER
    until_ms: int = 1 << 62

    def holds(self, at_ms: int) -> bool:
        """Return whether a time lies in it."""
        return self.since_ms <= at_ms < self.until_ms


def backtest_source(
    settings: Settings,
    source: SourceSettings,
    within: Range,
    rule_set: RuleSet,
    keys: Keys,
    *,
    jobs: int,
    on_read: Callable[[int], None] = lambda _: None,
    on_total: Callable[[int], None] = lambda _: None,
) -> Backtest:
    """Run rules over a source's records from the first at or after one time to the first at the other.

    Partitions are merged by the time that Kafka has for each record. Findings have the ids that live
    gives them. Raises MonitorError where the topic cannot be read.
    """
    began, cpu_began = time.perf_counter(), time.process_time()
    kafka = source.kafka or settings.kafka
    with asyncio.Runner() as runner:
        try:
            runner.run(wait_for_broker(kafka))
            count = partition_counts(kafka).get(source.topic)
            if count is None:
                fault = Fault(f"topic {source.topic}", "does not exist")
                raise ConfigurationError("nothing to read", [fault])
            cluster, topic_id = cluster_id(kafka), topic_ids(kafka, [source.topic])[source.topic]
            feeds = tuple(
                Feed(
                    number,
                    f"{source.topic}-{number}",
                    source.format,
                    source.realm,
                    SourceId(cluster, topic_id, source.topic, number),
                    routes=tuple(source.routes),
                    formats=tuple(settings.formats),
                )
                for number in range(count)
            )
            plain = replace(rule_set, classes=dict(rule_set.classes))
            reading = Reading(feeds, plain, keys, int(time.time() * 1000))
            records = _SourceRecords(
                runner, kafka, topic=source.topic, partitions=count, within=within, on_read=on_read
            )
            work = Work(reading, (within.since_ms,) * count, _lateness_ms(settings))
            on_total(records.total)
            try:
                tally, outcome = run(work, [records.blocks(number) for number in range(count)], jobs)
            finally:
                records.close()
        except KafkaError as error:
            msg = f"topic {source.topic} cannot be read: {type(error).__name__}"
            raise BrokerUnavailableError(msg) from None
    cpu_seconds = time.process_time() - cpu_began + outcome.cpu_seconds
    seconds = time.perf_counter() - began
    return summed_up(rule_set.rules, feeds, tally, outcome.results, seconds=seconds, cpu_seconds=cpu_seconds)


class _SourceRecords:
    """The records of a topic in a range, each partition at its own pace, without a group."""

    def __init__(
        self,
        runner: asyncio.Runner,
        kafka: KafkaSettings,
        *,
        topic: str,
        partitions: int,
        within: Range,
        on_read: Callable[[int], None],
    ) -> None:
        self._runner = runner
        self._within = within
        self._on_read = on_read
        self._partitions = [TopicPartition(topic, number) for number in range(partitions)]
        self._consumer = runner.run(self._open(kafka))

    async def _open(self, kafka: KafkaSettings) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            **consumer_options(kafka), auto_offset_reset="earliest", max_partition_fetch_bytes=8 << 20
        )
        await consumer.start()
        consumer.assign(self._partitions)
        first = await consumer.beginning_offsets(self._partitions)
        self._ends = await consumer.end_offsets(self._partitions)
        if self._within.since_ms > 0 and kafka.broker != "embedded":  # the embedded one knows no times
            found = await consumer.offsets_for_times(dict.fromkeys(self._partitions, self._within.since_ms))
            first = {tp: self._ends[tp] if at is None else at.offset for tp, at in found.items()}
        for tp in self._partitions:
            consumer.seek(tp, first[tp])
        #: Offsets to read, up to today's end.
        self.total = sum(max(0, self._ends[tp] - first[tp]) for tp in self._partitions)
        return consumer

    def blocks(self, number: int) -> Iterator[Block]:
        """Yield the records of a partition."""
        tp, within = self._partitions[number], self._within
        begun = False
        while self._runner.run(self._consumer.position(tp)) < self._ends[tp]:
            records = self._runner.run(self._poll(tp))
            self._on_read(len(records))
            taken, over = [], False
            for record in records:
                begun = begun or record.timestamp >= within.since_ms
                over = record.offset >= self._ends[tp] or record.timestamp >= within.until_ms
                if over:
                    break
                if begun:
                    taken.append((record.offset, record.timestamp, record.value, record.headers))
            if taken:
                yield Block(number, taken[0][0], taken)
            if over:
                return

    async def _poll(self, tp: TopicPartition) -> list[Any]:
        fetched = await self._consumer.getmany(tp, timeout_ms=_POLL_MS, max_records=_RECORDS)
        return list(fetched.get(tp, ()))

    def close(self) -> None:
        """Leave Kafka."""
        self._runner.run(self._consumer.stop())


def backtest_routed(
    settings: Settings,
    within: Range,
    rule_set: RuleSet | None,
    *,
    say: Callable[[str], None],
    on_read: Callable[[int], None] = lambda _: None,
    on_total: Callable[[int], None] = lambda _: None,
) -> Backtest:
    """Fold our own log as detect does; return the findings made in a range.

    The fold begins where the log does, so that windows are full at the range's start. Without rules,
    those recorded in the log are put in force where live did, and the findings are live's, byte for
    byte. `say` takes what a person should know about the result.
    """
    began, cpu_began = time.perf_counter(), time.process_time()
    log = RoutedLog(settings, within, rule_set, on_read, on_total)
    try:
        asyncio.run(log.read())
    except KafkaError as error:
        msg = f"topic {settings.topic('routed')} cannot be read: {type(error).__name__}"
        raise BrokerUnavailableError(msg) from None
    for text in log.remarks():
        say(text)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    return summed_up(
        log.judged_by().rules, (), log.tally, [log.verdict], seconds=seconds, cpu_seconds=cpu_seconds
    )


class RoutedLog:
    """The fold of all partitions of `routed`."""

    def __init__(
        self,
        settings: Settings,
        within: Range,
        rule_set: RuleSet | None,
        on_read: Callable[[int], None],
        on_total: Callable[[int], None],
    ) -> None:
        self._settings = settings
        self._within = within
        self._rule_set = rule_set
        self._on_read = on_read
        self._on_total = on_total
        self._recorded: dict[int, RuleSet] = {}
        self._cut: list[int] = []
        self._unruled: set[int] = set()
        self.verdict = Verdict()
        self.tally = Tally()

    async def read(self) -> None:
        """Read the log to its end of now."""
        kafka = self._settings.kafka
        await wait_for_broker(kafka)
        topic = self._settings.topic("routed")
        partitions = (await asyncio.to_thread(partition_counts, kafka)).get(topic)
        if partitions is None:
            fault = Fault(f"topic {topic}", "does not exist", "run `monitor init`")
            raise ConfigurationError("nothing to read", [fault])
        counters: Count[str] = Count()
        self._on_total(await _records_kept(kafka, topic, partitions))
        for partition in range(partitions):
            counters.update(await self._partition(topic, partition))
        self.verdict.found.sort()
        self.verdict.counters = dict(counters)

    async def _partition(self, topic: str, partition: int) -> dict[str, int]:
        detector = new_detector(
            partition,
            allowed_lateness_ms=_lateness_ms(self._settings),
            compile_pattern=compile_pattern,
            max_age_ms=int(self._settings.response.max_age.total_seconds() * 1000),
        )
        seen: set[SourceId] = set()
        counters: Count[str] = Count()
        begun = False
        async for records, _, _ in read_to_end(self._settings.kafka, topic, partition):
            for record in records:
                if not begun:
                    begun = True
                    self._begin(detector, partition, record)
                entry = decode(record.value, f"{topic}-{partition} offset {record.offset}")
                self.tally.records += 1
                if isinstance(entry, RulesRecord):
                    self._note_rules(entry)
                    if self._rule_set is None:
                        detector.activate(entry, record.timestamp)
                    continue
                if detector.rules_version < 0:
                    self._unruled.add(partition)
                self.tally.events += len(entry.rows)
                if entry.source not in seen:
                    seen.add(entry.source)
                    entry = _first_of_its_source(entry)
                detector.apply(entry, record.offset, record.timestamp)
            if records:
                self._on_read(len(records))
                detector.subjects.take_dirty()
                detector.sweep(records[-1].timestamp, _SWEEP_SUBJECTS)
                outcomes = detector.take_outcomes()
                counters.update(outcomes.counters)
                self._keep(outcomes.findings)
        return dict(counters)

    def _begin(self, detector: Detector, partition: int, first: ConsumerRecord) -> None:
        if first.offset:
            self._cut.append(partition)
        given = self._rule_set
        if given is not None:
            rules = RulesRecord(1, given.revision, rule_set_document(given))
            detector.activate(rules, first.timestamp)

    def _keep(self, findings: list[dict[str, Any]]) -> None:
        for finding in findings:
            if self._within.holds(finding["observed_ms"]):
                place = finding["routed"]
                event = finding["event"]
                self.verdict.found.append(
                    Found(
                        finding["observed_ms"],
                        place["partition"],
                        place["offset"],
                        finding["rule"]["id"],
                        finding["id"],
                        finding["subject"],
                        f"{event['topic']}-{event['partition']}-{event['offset']}",
                        finding["patients"],
                        finding["patients_capped"],
                        # As detect sends it.
                        orjson.dumps(finding),
                    )
                )

    def _note_rules(self, record: RulesRecord) -> None:
        if record.version not in self._recorded:
            self._recorded[record.version] = rule_set_from_document(record.document)

    def judged_by(self) -> RuleSet:
        """Return the rules that judged: those given, or all that the log recorded, newest form of each."""
        if self._rule_set is not None:
            return self._rule_set
        by_id = {rule.id: rule for _, rules in sorted(self._recorded.items()) for rule in rules.rules}
        return RuleSet(tuple(by_id.values()))

    def remarks(self) -> Iterator[str]:
        """Yield what a person should know about the result."""
        topic = self._settings.topic("routed")
        if self._cut:
            yield (
                f"{topic} no longer holds its beginning: what windows counted before it is missing here,"
                " so early findings may differ from live's"
            )
        if self._unruled:
            yield (
                f"{topic} no longer holds the rule set that judged its first events; they were not judged."
                " Name rules with --rules to judge them"
            )
        if self._rule_set is None:
            return
        routes = {
            (rule.axis, base.condition)
            for recorded in self._recorded.values()
            for rule in recorded.rules
            for base in rule.bases
        }
        for rule in self._rule_set.rules:
            missing = any((rule.axis, base.condition) not in routes for base in rule.bases)
            if rule.axis != AXIS_PRINCIPAL and missing:
                yield (
                    f"{rule.title} ({rule.id[:8]}): {topic} holds events by {rule.axis} only as the rules of"
                    " then needed them, so findings may be missing: backtest the source's topic instead"
                )
        readable = any(compares_client_ip(recorded) for recorded in self._recorded.values())
        if compares_client_ip(self._rule_set) and not readable:
            yield (
                f"{topic} holds pseudonyms of client addresses, so no rule matches them: backtest the"
                " source's topic instead"
            )


async def _records_kept(kafka: KafkaSettings, topic: str, partitions: int) -> int:
    """Return how many offsets a topic holds now."""
    consumer = AIOKafkaConsumer(**consumer_options(kafka))
    await consumer.start()
    try:
        all_ = [TopicPartition(topic, number) for number in range(partitions)]
        first, ends = await consumer.beginning_offsets(all_), await consumer.end_offsets(all_)
        return sum(ends[tp] - first[tp] for tp in all_)
    finally:
        await consumer.stop()


def _first_of_its_source(record: RowsRecord) -> RowsRecord:
    """Return the first record of a source that the log holds: what it joins on may be gone."""
    return replace(record, resume=True)


def _lateness_ms(settings: Settings) -> int:
    return int(settings.detect.allowed_lateness.total_seconds() * 1000)
