"""Sees that a topic that is read was deleted, made again, or given more partitions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog
from confluent_kafka import KafkaException, TopicCollection

from monitor.errors import ConfigurationError, Fault
from monitor.stream.fatal import guarded_task
from monitor.stream.reach import admin_client

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from monitor.settings import KafkaSettings
    from monitor.stream.keeper import RoleKeeper
    from monitor.stream.role import Role

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 5.0
#: Looks in a row at which a topic must be missing: a broker that starts may not know it yet.
_LOOKS: Final = 3
#: What is known of a topic: its id, and how many partitions it has.
_Known = tuple[str, int]


class TopicWatch:
    """Looks at the topics of all roles every few seconds.

    A consumer that asks for a topic that is gone waits for ever, and one that reads its successor
    takes the first records for old news.
    """

    def __init__(self, keepers: Sequence[RoleKeeper], on_fatal: Callable[[BaseException], None]) -> None:
        self._keepers = tuple(keepers)
        self._on_fatal = on_fatal
        self._admins: list[tuple[KafkaSettings, Any]] = []
        self._missing: dict[tuple[Role, str], int] = {}
        self._partitions: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._task = guarded_task(self._watch, self._on_fatal)

    async def stop(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for keeper in self._keepers:
                for role in keeper.roles:
                    if role.app.kafka.broker != "embedded" and role.topic_ids:
                        await self._look(role)

    async def _look(self, role: Role) -> None:
        found = await asyncio.to_thread(self._describe, role.app.kafka, list(role.topic_ids))
        if found is None:
            return  # the brokers are away: others notice
        for topic, known in role.topic_ids.items():
            if topic not in found:
                looks = self._missing[role, topic] = self._missing.get((role, topic), 0) + 1
                if looks >= _LOOKS:
                    fault = Fault(
                        f"topic {topic}",
                        "was deleted while it was read",
                        f"whoever owns it makes it again; then `monitor init --adopt {topic}`",
                    )
                    raise ConfigurationError("A topic is gone", [fault])
                continue
            self._missing.pop((role, topic), None)
            topic_id, partitions = found[topic]
            if topic_id != known:
                fault = Fault(
                    f"topic {topic}",
                    "was deleted and made again while it was read",
                    f"`monitor init --adopt {topic}` takes it as it is now; see docs/disaster.md",
                )
                raise ConfigurationError("The topic is another one", [fault])
            before = self._partitions.get(topic, partitions)
            self._partitions[topic] = partitions
            if partitions > before:
                log.warning("a topic has more partitions", topic=topic, before=before, now=partitions)

    def _describe(self, kafka: KafkaSettings, topics: list[str]) -> dict[str, _Known] | None:
        """Return the topics that exist, or None where no broker answers."""
        admin = next((admin for cluster, admin in self._admins if cluster == kafka), None)
        if admin is None:
            admin = admin_client(kafka)
            self._admins.append((kafka, admin))
        try:
            # Of all topics: asking for one by name would create it where the broker allows that.
            there = admin.list_topics(timeout=kafka.request_timeout_seconds).topics
            asked = [topic for topic in topics if topic in there]
            if not asked:
                return {}
            described = admin.describe_topics(TopicCollection(asked))
            found = {topic: future.result() for topic, future in described.items()}
        except KafkaException:
            return None
        return {topic: (str(one.topic_id), len(one.partitions)) for topic, one in found.items()}
