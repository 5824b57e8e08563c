"""How the role consumers fetch: an aiokafka consumer with lean records, and requests that are short where needed.

aiokafka has one fetch under way per broker. Where records of a partition are not taken within 100 ms, it
asks for the other partitions alone; if those have nothing new, the broker keeps that request for
`fetch_max_wait_ms`, and the partition with the backlog, once taken, waits for it. So such a request waits
for a moment only.

Beside chunks.py this module and records.py are the only ones that touch how aiokafka 0.14.0 fetches, which is
private; tests/stream/test_fetching.py and test_records.py guard every assumption made here.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any, Final

import aiokafka
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import Fetcher, PartitionRecords

from monitor.stream.records import FetchedBatches, LeanRecords

#: How long a broker may keep a request while fetched records of that broker wait to be taken, in ms.
BUSY_WAIT_MS: Final = 10


def _lean_records(*fetched: Any) -> LeanRecords:
    return LeanRecords(PartitionRecords(*fetched))


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

    #: aiokafka's own, but for what it makes of the bytes of a partition.
    _proc_fetch_request = FunctionType(
        Fetcher._proc_fetch_request.__code__,  # noqa: SLF001
        {**vars(fetcher), "MemoryRecords": FetchedBatches, "PartitionRecords": _lean_records},
    )
