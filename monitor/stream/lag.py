"""How far behind each role is: the one honest sign of a consumer that is stuck."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from aiokafka.errors import KafkaError

from monitor.errors import BrokerUnavailableError, InvariantError
from monitor.stream.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.observe.metrics import Metrics
    from monitor.stream.chunks import Partition
    from monitor.stream.keeper import RoleKeeper
    from monitor.stream.role import Role

_INTERVAL_SECONDS: Final = 2.0
#: Looks in a row at which fetched records lie somewhere between the consumer and an idle role.
_STUCK_LOOKS: Final = 10


class Waiting:
    """Tells how long the oldest record that was not taken has been there, from looks at one partition.

    The age counts from the first look that saw the record: at most one look too little, and in a backlog
    from before the first look only as long as we have watched it.
    """

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        #: (end of the partition, when it was first seen there), oldest first.
        self._seen: deque[tuple[int, float]] = deque()

    def look(self, position: int, end: int, now: float) -> float:
        """Return the age in seconds of the record at `position`, 0 where there is none."""
        seen = self._seen
        if not seen or end > seen[-1][0]:
            seen.append((end, now))
        while seen and seen[0][0] <= position:
            seen.popleft()
        return now - seen[0][1] if seen else 0.0


class LagWatch:
    """Looks at the end of each partition every two seconds and exports the distance to it."""

    def __init__(self, keepers: Sequence[RoleKeeper], metrics: Metrics) -> None:
        self._keepers = tuple(keepers)
        self._metrics = metrics
        self._task: asyncio.Task[None] | None = None
        self._progress = Progress(time.monotonic())
        #: When the brokers of each membership last answered.
        self._heard: dict[Role, float] = {}
        self._ages: dict[Partition, Waiting] = {}
        #: Per partition: where it stood, and at how many looks in a row it stood there too long.
        self._stuck: dict[Partition, tuple[int, int]] = {}

    def stuck(self, seconds: float) -> list[str]:
        """Return which partitions stand still for so long although there is something to take."""
        return self._progress.stuck(seconds, time.monotonic())

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
            # One cluster that is away must not hide what the others do.
            present = [(keeper, role) for keeper in self._keepers for role in keeper.roles]
            now = time.monotonic()
            self._heard = {role: self._heard.get(role, now) for _, role in present}
            looks = [self._look_at(keeper, role) for keeper, role in present]
            await asyncio.gather(*looks, asyncio.sleep(_INTERVAL_SECONDS))
            open_ = [_place(role, part.tp) for _, role in present for part in role.partitions]
            self._progress.looked(open_, time.monotonic())

    async def _look_at(self, keeper: RoleKeeper, role: Role) -> None:
        """Look at a role; where its brokers do not answer for too long, it has lost them."""
        seconds = role.app.kafka.request_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                await self._look(role)
        except (KafkaError, TimeoutError, OSError):
            silent = time.monotonic() - self._heard[role]
            if silent >= seconds and role in keeper.roles:
                msg = f"group {role.app.group}: no answer from its brokers for {silent:.0f} s"
                keeper.failed(BrokerUnavailableError(msg))
        else:
            self._heard[role] = time.monotonic()

    async def _look(self, role: Role) -> None:
        behind = dict.fromkeys(role.topics, 0)
        count = dict.fromkeys(role.topics, 0)
        oldest = dict.fromkeys(role.topics, 0.0)
        partitions = role.partitions
        ends = await role.app.thread.ends([partition.tp for partition in partitions]) if partitions else {}
        for partition in partitions:
            end = ends[partition.tp]
            await self._watch_for_stuck(role, partition.tp, partition.continuity.next)
            place = _place(role, partition.tp)
            self._progress.look(place, partition.continuity.next, end, time.monotonic())
            waiting = self._ages.setdefault(partition.tp, Waiting())
            age = waiting.look(partition.continuity.next, end, time.monotonic())
            oldest[partition.tp.topic] = max(oldest[partition.tp.topic], age)
            behind[partition.tp.topic] += max(0, end - partition.continuity.next)
            count[partition.tp.topic] += 1
        for topic in role.topics:
            self._metrics.lag_records.labels(role.app.group, topic).set(behind[topic])
            self._metrics.lag_seconds.labels(role.app.group, topic).set(oldest[topic])
            self._metrics.partitions.labels(role.app.group, topic).set(count[topic])

    async def _watch_for_stuck(self, role: Role, tp: Partition, position: int) -> None:
        """Have fetched again what was fetched but never reaches an idle role; end the process if it stays so.

        Each hole shows when the next record comes; this is for the last record before a silence.
        """
        fetched = role.app.thread.fetched_position(tp)
        if role.busy or fetched is None or fetched <= position:
            self._stuck.pop(tp, None)
            return
        stood, looks = self._stuck.get(tp, (position, 0))
        looks = looks + 1 if stood == position else 0
        self._stuck[tp] = position, looks
        if looks >= _STUCK_LOOKS and await role.fetch_again(tp):
            self._stuck.pop(tp, None)
        elif looks >= _STUCK_LOOKS:
            msg = (
                f"{tp.topic}-{tp.partition}: records {position} to {fetched - 1} were fetched but not"
                " handed over; the worker stops, and reads them again when it starts"
            )
            role.on_fatal(InvariantError(msg))


def _place(role: Role, tp: Partition) -> str:
    return f"{role.app.group} {tp.topic}-{tp.partition}"
