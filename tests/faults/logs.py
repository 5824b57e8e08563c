"""What the topics of a run hold at its end, and what was committed and durable at moments within it."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from monitor.stream.chunks import Partition
from monitor.stream.read import read_to_end

if TYPE_CHECKING:
    from aiokafka.structs import ConsumerRecord

    from monitor.settings import Settings

ROLES: Final = ("intake", "detect", "enforce")
_ASK_SECONDS: Final = 3.0
_SAMPLE_SECONDS: Final = 1.0

Positions = dict[Partition, int]


@dataclass(frozen=True, slots=True)
class Sample:
    """Positions that were committed, and then, later, where topics ended."""

    committed: Positions
    ends: Positions


@dataclass(slots=True)
class Logs:
    """All committed records, by topic (its name without the prefix) and partition."""

    records: dict[tuple[str, int], list[ConsumerRecord]] = field(default_factory=dict)

    def of(self, topic: str, partition: int = 0) -> list[ConsumerRecord]:
        """Return the records of one partition."""
        return self.records[topic, partition]


async def read_logs(settings: Settings, source_partitions: int) -> Logs:
    """Read every topic of a run to its end."""
    kafka, logs = settings.kafka, Logs()
    places = [("gate", partition) for partition in range(source_partitions)]
    places += [(topic, partition) for topic in ("routed", "state") for partition in range(kafka.partitions)]
    places += [(topic, 0) for topic in ("findings", "decisions", "credentials", "status", "rejected")]
    for topic, partition in places:
        found: list[ConsumerRecord] = []
        async for records, _, _ in read_to_end(kafka, settings.topic(topic), partition):
            found += records
        logs.records[topic, partition] = found
    return logs


def read_all(settings: Settings, source_partitions: int) -> Logs:
    """Read every topic of a run to its end."""
    return asyncio.run(read_logs(settings, source_partitions))


class Positioner:
    """Asks the broker where the groups of a run are, and where topics end."""

    def __init__(self, settings: Settings, source_partitions: int) -> None:
        topic = settings.topic
        own = range(settings.kafka.partitions)
        source = settings.sources[0].topic
        self.read: dict[str, list[Partition]] = {
            "intake": [
                *(Partition(source, one) for one in range(source_partitions)),
                Partition(topic("status"), 0),
            ],
            "detect": [Partition(topic("routed"), one) for one in own],
            "enforce": [Partition(topic("findings"), 0)],
        }
        self.written = [
            *self.read["detect"],
            *(Partition(topic("state"), one) for one in own),
            Partition(topic("credentials"), 0),
        ]
        servers = ",".join(settings.kafka.bootstrap_servers)
        options = {
            "bootstrap.servers": servers,
            "enable.auto.commit": False,
            "log_level": 0,
            "socket.timeout.ms": 3_000,
        }
        self._consumers = {role: Consumer({**options, "group.id": settings.group(role)}) for role in ROLES}
        # A transaction is decided when its producer is told so, and its markers follow: for a moment those who
        # read what is committed do not see yet what nobody can take back.
        self._writer_view = Consumer(
            {**options, "group.id": settings.group("detect"), "isolation.level": "read_uncommitted"}
        )

    def committed(self) -> Positions:
        """Return what each group has committed; raises KafkaException."""
        found: Positions = {}
        for role, places in self.read.items():
            asked = [TopicPartition(*place) for place in places]
            for answer in self._consumers[role].committed(asked, timeout=_ASK_SECONDS):
                found[Partition(answer.topic, answer.partition)] = max(answer.offset, 0)
        return found

    def ends(self, places: list[Partition]) -> Positions:
        """Return where partitions end, open transactions left out; raises KafkaException."""
        return _ends(self._consumers["detect"], places)

    def written_ends(self) -> Positions:
        """Return where what workers write ends, transactions that are being ended with it; raises KafkaException."""
        return _ends(self._writer_view, self.written)

    def lag(self) -> Positions:
        """Return how many records the groups have yet to make durable, where any; raises KafkaException."""
        committed = self.committed()
        ends = self.ends(list(committed))
        return {place: ends[place] - at for place, at in committed.items() if ends[place] != at}

    def close(self) -> None:
        """Give up the connections."""
        for consumer in (*self._consumers.values(), self._writer_view):
            consumer.close()


def _ends(consumer: Consumer, places: list[Partition]) -> Positions:
    return {
        place: consumer.get_watermark_offsets(TopicPartition(*place), timeout=_ASK_SECONDS)[1]
        for place in places
    }


class Sampler:
    """Takes a sample about every second, in a thread of its own, while the broker answers."""

    def __init__(self, settings: Settings, source_partitions: int) -> None:
        self._positioner = Positioner(settings, source_partitions)
        self.samples: list[Sample] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no more."""
        self._stop.set()
        self._thread.join()
        self._positioner.close()

    def _run(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            try:
                committed = self._positioner.committed()
                self.samples.append(Sample(committed, self._positioner.written_ends()))
            except KafkaException:
                time.sleep(_SAMPLE_SECONDS)
