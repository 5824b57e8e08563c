"""A backtest over topics: a source as intake reads it, and our own log as detect reads it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer

from monitor.core.events import RulesRecord, SourceId
from monitor.core.rules import RuleSet, rule_set_document
from monitor.errors import ConfigurationError
from monitor.intake.formats import find_format
from monitor.intake.keys import load_keys
from monitor.intake.rows import EventRouter
from monitor.rulebook import compile_pattern
from monitor.stream.kafka import aiokafka_options
from monitor.stream.topics import create_embedded
from monitor.trial.topics import Range, backtest_routed, backtest_source
from monitor.wire.routed import encode_rows, encode_rules
from tests.integration.stack import Stack, wait_for
from tests.rig.broker import create_topic
from tests.rig.configuration import settings_for
from tests.trial.streams import RULES, findings, found, line, stream, told, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from monitor.settings import Settings

PARTITIONS = 3


@pytest.fixture
def settings(
    tmp_path: Path, broker: str, bootstrap: str, prefix: str, request: pytest.FixtureRequest
) -> Settings:
    """Return settings whose source and `routed` topic exist and are empty."""
    made = settings_for(tmp_path, broker=broker, bootstrap=bootstrap, prefix=prefix)
    if broker == "embedded":
        create_embedded(made, request.getfixturevalue("embedded"), source_partitions=PARTITIONS)
    else:
        create_topic(bootstrap, made.sources[0].topic, PARTITIONS)
        create_topic(bootstrap, made.topic("routed"), made.kafka.partitions)
    return made


def send(settings: Settings, topic: str, records: Iterable[tuple[int, bytes, int]]) -> None:
    """Write (partition, value, timestamp) records."""

    async def run() -> None:
        producer = AIOKafkaProducer(**aiokafka_options(settings.kafka))
        await producer.start()
        try:
            for partition, value, at_ms in records:
                await producer.send(topic, value, partition=partition, timestamp_ms=at_ms)
            await producer.flush()
        finally:
            await producer.stop()

    asyncio.run(run())


def source_backtest(
    settings: Settings, within: Range, *, jobs: int = 1, rules: RuleSet = RULES
) -> list[dict[str, Any]]:
    keys = load_keys(settings.privacy.key_file)
    result = backtest_source(settings, settings.sources[0], within, rules, keys, jobs=jobs)
    return findings(result)


def times_of(lines: list[bytes]) -> list[int]:
    return [json.loads(text)["time"] for text in lines]


def test_a_source_of_one_partition_is_found_as_a_file_of_its_records(settings: Settings, tmp_path: Path):
    lines = stream(2_000)
    topic = settings.sources[0].topic
    send(settings, topic, ((1, text, at) for text, at in zip(lines, times_of(lines), strict=True)))
    of_topic = source_backtest(settings, Range())
    of_file = findings(found([write(tmp_path / "log", lines)]))
    assert len(of_file) > 20

    def said(finding: dict[str, Any]) -> tuple[Any, ...]:
        # A patient's pseudonym depends on the keys, and a credential's name on the realm.
        subject = finding["subject"].removeprefix("gate/").removeprefix("default/")
        place = finding["event"].get("line", finding["event"].get("offset", 0) + 1)
        at = told(finding)
        return (*at[:2], None if finding["axis"] == "patient" else subject, place, *at[3:])

    assert [said(finding) for finding in of_topic] == [said(finding) for finding in of_file]
    first = of_topic[0]
    assert first["event_id"] == f"{topic}-1-{first['event']['offset']}"
    assert source_backtest(settings, Range(), jobs=2) == of_topic


def test_partitions_are_merged_by_the_time_that_kafka_has(settings: Settings):
    # Each partition alone stays under the limit; one after the other they would be late.
    lines = [line(1_750_000_000_000 + n * 1000, "p", f"patient-{n}") for n in range(12)]
    topic = settings.sources[0].topic
    records = [
        (n % PARTITIONS, text, at) for n, (text, at) in enumerate(zip(lines, times_of(lines), strict=True))
    ]
    send(settings, topic, sorted(records))
    hits = source_backtest(settings, Range())
    assert [(hit["rule"]["id"], hit["event_id"]) for hit in hits] == [
        ("patients", f"{topic}-1-2"),
        ("events", f"{topic}-2-3"),
    ]
    assert not any(hit["straggler"] for hit in hits)


def test_a_range_begins_and_ends_with_the_records_of_its_times(settings: Settings):
    lines = [line(1_750_000_000_000 + n * 1000, "p", f"patient-{n}") for n in range(30)]
    at = times_of(lines)
    send(settings, settings.sources[0].topic, ((0, text, then) for text, then in zip(lines, at, strict=True)))
    events = "events"  # at the 12th event

    def count(first: int, end: int) -> int:
        within = Range(at[first], at[end] if end < len(at) else 1 << 62)
        return sum(hit["rule"]["id"] == events for hit in source_backtest(settings, within))

    assert (count(0, 30), count(18, 30), count(19, 30)) == (1, 1, 0)
    assert (count(0, 12), count(0, 11)) == (1, 0)


def routed_lines(settings: Settings, lines: list[bytes], rules: RuleSet) -> list[tuple[int, bytes, int]]:
    """Return routed records as intake writes them: the rules first, then rows."""
    partitions = settings.kafka.partitions
    keys = load_keys(settings.privacy.key_file)
    router = EventRouter(rules, keys, partitions, compile_pattern)
    decode = find_format("canonical", "").decoder("gate")
    source = SourceId("c", "t", "gate", 0)
    at = times_of(lines)
    record = RulesRecord(1, rules.revision, rule_set_document(rules))
    written = [(partition, encode_rules(record), at[0]) for partition in range(partitions)]
    covered = dict.fromkeys(range(partitions), -1)
    for begin in range(0, len(lines), 50):
        rows: dict[int, list[Any]] = {partition: [] for partition in range(partitions)}
        end = min(begin + 50, len(lines))
        for offset in range(begin, end):
            for partition, row in router.route(decode(lines[offset]), offset):
                rows[partition].append(row)
        for partition, own in rows.items():
            if own:
                first = covered[partition] + 1
                value = encode_rows(source, first, end - 1, own, resume=first == 0)
                written.append((partition, value, at[end - 1]))
                covered[partition] = end - 1
    return written


def test_the_log_is_folded_with_other_rules_or_with_its_own(settings: Settings):
    lines = stream(2_000)
    send(settings, settings.topic("routed"), routed_lines(settings, lines, RULES))
    said: list[str] = []
    own = backtest_routed(settings, Range(), None, say=said.append)
    same = backtest_routed(settings, Range(), RULES, say=said.append)
    assert said == []
    assert len(findings(own)) > 20
    assert list(own.lines()) == list(same.lines())
    assert {rule.id for rule in own.rules} == {rule.id for rule in RULES.rules}


def test_rules_that_the_log_holds_no_rows_for_are_told_of(settings: Settings):
    by_credential = RuleSet(tuple(rule for rule in RULES.rules if rule.axis == "principal"))
    send(settings, settings.topic("routed"), routed_lines(settings, stream(300), by_credential))
    said: list[str] = []
    result = backtest_routed(settings, Range(), RULES, say=said.append)
    assert len(said) == 1
    assert "Readers" in said[0]
    assert "backtest the source's topic instead" in said[0]
    assert "readers" not in result.hits


def test_a_log_without_its_beginning_is_still_counted_and_that_is_said(settings: Settings):
    records = routed_lines(settings, stream(2_000), RULES)
    # What retention removed: the rules, and the first rows of each partition.
    kept = [record for number, record in enumerate(records) if number >= 3 * settings.kafka.partitions]
    send(settings, settings.topic("routed"), kept)
    said: list[str] = []
    own = backtest_routed(settings, Range(), None, say=said.append)
    assert own.findings == 0
    assert any("no longer holds the rule set" in text for text in said)
    assert len(findings(backtest_routed(settings, Range(), RULES, say=said.append))) > 20


def test_a_range_shows_the_findings_of_its_time_with_windows_from_before(settings: Settings):
    lines = stream(2_000)
    send(settings, settings.topic("routed"), routed_lines(settings, lines, RULES))
    whole = list(backtest_routed(settings, Range(), None, say=print).lines())
    at = times_of(lines)[1_000]
    parts = [
        list(backtest_routed(settings, within, None, say=print).lines())
        for within in (Range(until_ms=at), Range(since_ms=at))
    ]
    assert all(parts)
    assert parts[0] + parts[1] == whole


def test_a_topic_that_does_not_exist_is_told(settings: Settings):
    gone = settings.sources[0].model_copy(update={"topic": f"{settings.sources[0].topic}-gone"})
    with pytest.raises(ConfigurationError, match="does not exist"):
        backtest_source(settings, gone, Range(), RULES, load_keys(settings.privacy.key_file), jobs=1)


# With workers


@pytest.fixture
def new_stack(
    tmp_path: Path, broker: str, bootstrap: str, prefix: str, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Stack]]:
    """Return a function that installs the product for this test."""
    made: list[Stack] = []

    def make(source_partitions: int = PARTITIONS, **sections: Any) -> Stack:
        stack = Stack(tmp_path, broker=broker, bootstrap=bootstrap, prefix=prefix, **sections)
        made.append(stack)
        if broker == "embedded":
            broker_ = request.getfixturevalue("embedded")
            create_embedded(stack.settings, broker_, source_partitions=source_partitions)
        else:
            create_topic(bootstrap, f"{prefix}gate", source_partitions)
        done = stack.run("init", "--from", "earliest")
        assert done.returncode == 0, done.stderr
        return stack

    yield make
    for stack in made:
        stack.close()


def test_the_log_gives_lives_findings_byte_for_byte(new_stack: Callable[..., Stack]):
    stack = new_stack()
    worker = stack.worker()
    now = int(time.time() * 1000) - 100_000
    events = [
        json.loads(line(now + n, f"partner-{n % 4}", f"patient-{n}", object=f"o-{n}", route="/a"))
        for n in range(4_000)
    ]
    stack.ship(events[:2_000])
    wait_for(lambda: stack.credential("gate/partner-3"), worker)
    stack.ship(events[2_000:])
    assert worker.terminate() == 0
    live = {record.value for record in stack.records("findings") if b'"kind":"finding"' in record.value}
    done = stack.run("backtest", "--topic", "routed", "--since", "24h")
    assert done.returncode == 0, done.stderr
    assert {text.encode() for text in done.stdout.splitlines()} == live
    assert len(live) >= 8
    # The source's own topic, with the rules on the disk: the same credentials, rules and ids.
    source = stack.run("backtest", "--topic", "gate", "--since", "24h")
    assert source.returncode == 0, source.stderr
    again = [json.loads(text) for text in source.stdout.splitlines()]
    known = {(found["rule"]["id"], found["subject"]) for found in map(json.loads, live)}
    assert {(found["rule"]["id"], found["subject"]) for found in again} == known


def test_a_file_of_one_partition_gives_lives_rules_subjects_times_and_values(
    new_stack: Callable[..., Stack], tmp_path: Path
):
    stack = new_stack(source_partitions=1)
    worker = stack.worker()
    now = int(time.time() * 1000) - 100_000
    lines = [
        line(now + n * 7 - n % 5 * 11, f"partner-{n % 4}", f"patient-{n % 900}", object=f"o-{n}", route="/a")
        for n in range(3_000)
    ]
    stack.ship(text.decode() for text in lines)
    wait_for(lambda: stack.credential("gate/partner-3"), worker)
    assert worker.terminate() == 0

    def said(texts: Iterable[Any]) -> list[tuple[Any, ...]]:
        return sorted(
            (one["rule"]["id"], one["subject"], one["event"]["time_ms"], one["value"], one["window"]["to_ms"])
            for one in map(json.loads, texts)
        )

    live = {record.value for record in stack.records("findings") if b'"kind":"finding"' in record.value}
    done = stack.run("backtest", str(write(tmp_path / "log", lines)))
    assert done.returncode == 0, done.stderr
    assert said(done.stdout.splitlines()) == said(live)
    assert len(live) >= 8
