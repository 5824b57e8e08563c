"""How the role consumers fetch: an aiokafka consumer whose requests do not keep a busy partition waiting.

aiokafka has one fetch under way per broker. Where records of a partition are not taken within 100 ms, it
asks for the other partitions alone; if those have nothing new, the broker keeps that request for
`fetch_max_wait_ms`, and the partition with the backlog, once taken, waits for it. So such a request waits
for a moment only.

Beside chunks.py this module is the only one that touches what is private in aiokafka 0.14.0;
tests/stream/test_fetching.py guards every assumption made here.
"""

from __future__ import annotations

from typing import Any, Final

import aiokafka
from aiokafka.consumer.fetcher import Fetcher

#: How long a broker may keep a request while fetched records of that broker wait to be taken, in ms.
BUSY_WAIT_MS: Final = 10


class RoleConsumer(aiokafka.AIOKafkaConsumer):  # type: ignore[misc]  # it has no types
    """A consumer with our fetcher."""

    async def start(self) -> None:
        """Connect; nothing is fetched before partitions are assigned, so the fetcher is ours in time."""
        await super().start()
        self._fetcher.__class__ = RoleFetcher


class RoleFetcher(Fetcher):  # type: ignore[misc]  # as above
    """aiokafka's fetcher, which makes it; so this adds no attributes."""

    def _get_actions_per_node(self, assignment: Any) -> Any:
        """Return what aiokafka does next, its fetch requests as short as they should be."""
        actions = super()._get_actions_per_node(assignment)
        busy = {self._select_read_replica(tp) for tp in self._records}
        for node, request in actions[0]:
            if node in busy:
                request._max_wait_ms = min(request._max_wait_ms, BUSY_WAIT_MS)  # noqa: SLF001
        return actions
