"""The account of who is refused moves to another cluster, as docs/disaster.md says; counting begins anew."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from monitor.stream.read import read_to_end
from monitor.stream.topics import create_topics
from monitor.wire.credentials import decision_hash
from tests.integration.stack import Stack, wait_for
from tests.integration.test_loop import LIMIT, event
from tests.rig.broker import create_topic
from tests.rig.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def elsewhere(tmp_path: Path, kafka: str) -> Iterator[str]:
    """Return the address of a Kafka that nothing of ours was on (and only where one can be had)."""
    del kafka
    cluster = Cluster(tmp_path / "elsewhere", 1)
    cluster.start()
    cluster.wait()
    yield f"127.0.0.1:{cluster.ports[0]}"
    cluster.close()


def mirror(here: Stack, there: str, topic: str) -> int:
    """Copy the committed records of a topic as MirrorMaker 2 does: not their offsets, nor the markers between."""

    async def read() -> list[tuple[bytes | None, bytes | None]]:
        kafka, name = here.settings.kafka, here.settings.topic(topic)
        return [(r.key, r.value) async for found, _, _ in read_to_end(kafka, name, 0) for r in found]

    records = asyncio.run(read())
    producer = Producer({"bootstrap.servers": there, "enable.idempotence": True})
    for key, value in records:
        producer.produce(here.settings.topic(topic), value, key, partition=0)
    assert producer.flush(30) == 0
    return len(records)


@pytest.mark.kafka
def test_who_is_refused_stays_refused_on_another_cluster(
    tmp_path: Path, kafka: str, elsewhere: str, prefix: str
):
    create_topic(kafka, f"{prefix}gate", 2)
    here = Stack(tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix)
    assert here.run("init", "--from", "earliest").returncode == 0
    worker = here.worker()
    here.ship(event("partner-17", patient) for patient in range(LIMIT))
    wait_for(lambda: here.credential("gate/partner-17"), worker)
    assert worker.terminate() == 0

    create_topic(elsewhere, f"{prefix}gate", 2)
    there = Stack(tmp_path, broker="cluster", bootstrap=elsewhere, prefix=prefix)
    try:
        create_topics(there.settings)
        for topic in ("credentials", "decisions"):
            assert mirror(here, elsewhere, topic) > 0
        done = there.run("init", "--from", "earliest", "--adopt", there.settings.topic("findings"))
        assert done.returncode == 0, done.stderr
        worker = there.worker()
        there.ship(event("partner-2", patient) for patient in range(LIMIT))
        wait_for(lambda: there.credential("gate/partner-2"), worker)
        record = there.credential("gate/partner-17")
        assert record is not None
        assert record["status"] == "suspended"
        assert worker.terminate() == 0
        assert Counter(entry["id"] for entry in there.decisions("requested")) == {
            "partner-17": 1,
            "partner-2": 1,
        }
        entries = [record.value for record in there.records("decisions")]
        assert [json.loads(entry)["previous"] for entry in entries[1:]] == [
            decision_hash(entry) for entry in entries[:-1]
        ], "one chain, over both clusters"
    finally:
        there.close()
        here.close()
