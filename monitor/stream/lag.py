"""How far behind each role is: the one honest sign of a consumer that is stuck."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from aiokafka.errors import KafkaError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.observe.metrics import Metrics
    from monitor.stream.role import Role

_INTERVAL_SECONDS: Final = 2.0


class LagWatch:
    """Looks at the end of each partition every two seconds and exports the distance to it."""

    def __init__(self, roles: Sequence[Role], metrics: Metrics) -> None:
        self._roles = tuple(roles)
        self._metrics = metrics
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _watch(self) -> None:
        while True:
            for role in self._roles:
                # A broker that is away shows as lag at the next look, not as an error here.
                with suppress(KafkaError):
                    await self._look(role)
            await asyncio.sleep(_INTERVAL_SECONDS)

    async def _look(self, role: Role) -> None:
        behind = dict.fromkeys(role.topics, 0)
        count = dict.fromkeys(role.topics, 0)
        for partition in role.partitions:
            _, end = await role.app.thread.bounds(partition.tp)
            behind[partition.tp.topic] += max(0, end - partition.continuity.next)
            count[partition.tp.topic] += 1
        for topic in role.topics:
            self._metrics.lag_records.labels(role.app.group, topic).set(behind[topic])
            self._metrics.partitions.labels(role.app.group, topic).set(count[topic])
