"""The evidence of a finding is gathered from a log that is longer than its window, and says what is missing."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from monitor.core.events import SourceId
from monitor.response import evidence
from monitor.response.evidence import EvidenceGatherer, read_evidence
from monitor.stream.kafka import aiokafka_options
from monitor.stream.producers import plain_producer
from monitor.stream.topics import create_topics
from monitor.wire import routed
from tests.core.samples import event
from tests.response.stage import finding, now_ms, until
from tests.rig.configuration import settings_for

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pytest

    from monitor.settings import Settings

SOURCE = SourceId("c", "id", "gate", 0)
#: Records of the log, and those of them that are older than the window.
RECORDS, BEFORE = 5, 2


async def test_a_window_in_the_middle_of_the_log_is_complete(kafka: str, prefix: str, tmp_path: Path):
    """Nothing of it is missing, so nobody is told that something were."""
    settings = settings_for(tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix)
    create_topics(settings)
    found = await _filled(settings)
    rows, complete = await _gathered(settings, found)
    assert complete == {found["id"]}
    assert sorted(rows) == [2, 3, 4], "those of the window alone"


async def test_a_window_whose_beginning_was_deleted_is_not(kafka: str, prefix: str, tmp_path: Path):
    settings = settings_for(tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix)
    create_topics(settings)
    found = await _filled(settings)
    admin = AdminClient({"bootstrap.servers": kafka})
    for done in admin.delete_records([TopicPartition(settings.topic("routed"), 0, 3)]).values():
        await asyncio.to_thread(done.result)
    rows, complete = await _gathered(settings, found)
    assert complete == set()
    assert sorted(rows) == [3, 4]


async def test_passes_rest_by_how_long_they_take_and_what_came_meanwhile_shares_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A flow of findings costs a share of the process, however long their windows are."""
    settings = settings_for(tmp_path, broker="cluster", bootstrap="127.0.0.1:9", prefix="")
    took, passes, told = 0.05, list[tuple[float, float, int]](), list[int]()

    class Slow(EvidenceGatherer):
        async def _gather(self, findings: list[Mapping[str, Any]]) -> None:
            began = time.monotonic()
            await asyncio.sleep(took)
            passes.append((began, time.monotonic(), len(findings)))

    def gathered(offset: int) -> asyncio.Future[None]:
        told.append(offset)
        wait: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wait.set_result(None)
        return wait

    monkeypatch.setattr(evidence, "_LATER_SECONDS", 0.0)
    producer, fatal = plain_producer(settings.kafka), list[BaseException]()
    gatherer = Slow(settings, producer, fatal.append, gathered)
    running = asyncio.create_task(gatherer.run())
    try:
        gatherer.put(0, {})
        await until(lambda: told)
        for offset in range(1, 4):
            gatherer.put(offset, {})
        await until(lambda: told[-1] == 4)
    finally:
        running.cancel()
        await asyncio.wait([running])
        await producer.stop()
    assert (told, fatal) == ([1, 4], [])
    (first, ended, one), (second, _, three) = passes
    assert (one, three) == (1, 3)
    assert second - ended >= 8 * (ended - first) * 0.99


async def _filled(settings: Settings) -> dict[str, Any]:
    """Append two records before the window of a finding, and three in it; Kafka says when each came."""
    producer = AIOKafkaProducer(**aiokafka_options(settings.kafka), acks="all")
    await producer.start()
    from_ms = 0
    try:
        for offset in range(RECORDS):
            if offset == BEFORE:
                from_ms = await _next_ms()
                await _next_ms()
            row = event(offset, now_ms(), principal="partner-1", patients=[(f"patient-{offset}", None)])
            row = (*row[:3], "gate/partner-1", *row[4:])
            value = routed.encode_rows(SOURCE, offset, offset, [row], resume=not offset)
            await producer.send_and_wait(settings.topic("routed"), value, partition=0)
    finally:
        await producer.stop()
    window = {"from_ms": from_ms, "to_ms": now_ms(), "timespan_ms": 600_000, "first_ms": from_ms}
    return finding(1, window=window, routed={"partition": 0, "offset": RECORDS - 1})


async def _next_ms() -> int:
    """Return the time once it is another than it was."""
    at = now_ms()
    await until(lambda: now_ms() > at)
    return now_ms()


async def _gathered(settings: Settings, found: dict[str, Any]) -> tuple[set[int], set[str]]:
    """Gather the evidence of a finding; return the offsets of its rows, and which windows are complete."""
    done = asyncio.Event()
    fatal: list[BaseException] = []

    def gathered(_offset: int) -> asyncio.Future[None]:
        done.set()
        wait: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wait.set_result(None)
        return wait

    producer = plain_producer(settings.kafka)
    await producer.start()
    gatherer = EvidenceGatherer(settings, producer, fatal.append, gathered)
    running = asyncio.create_task(gatherer.run())
    try:
        gatherer.put(0, found)
        await asyncio.wait_for(done.wait(), 30)
    finally:
        running.cancel()
        await asyncio.wait([running])
        await producer.stop()
    assert fatal == []
    rows, complete = await read_evidence(settings, {found["id"]})
    return {offset for _, _, offset in rows}, complete
