"""Records leave in order, one request under way per partition, and nothing follows a failure.

Concurrent sends to one partition reorder, and after a failed batch a later one can still get
through; both were seen. So each partition has one task that sends a batch, waits for the
acknowledgement, and only then takes what has queued up meanwhile. After the first failure the sender
begins no batch any more, in any partition: its role forgets it, and reads again what was not
acknowledged.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError

from monitor.errors import SendError
from monitor.stream.producers import BATCH_BYTES
from monitor.stream.steps import reached

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiokafka import AIOKafkaProducer

#: Bytes that may wait in one sender before `room` makes the producers of records wait.
WAITING_BYTES = 32 << 20


class Delivery:
    """Counts the records of one unit of work that are not acknowledged yet."""

    __slots__ = ("_waiters", "outstanding")

    def __init__(self) -> None:
        self.outstanding = 0
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def done(self) -> bool:
        """Whether every record is acknowledged."""
        return self.outstanding == 0

    async def wait(self) -> None:
        """Return once every record is acknowledged."""
        while self.outstanding:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def _acknowledge(self) -> None:
        self.outstanding -= 1
        if not self.outstanding:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)


#: Of a Kafka record.
Headers = Sequence[tuple[str, bytes]]
_Queued = tuple[bytes | None, bytes, Headers, Delivery]


class OrderedSender:
    """Sends to one topic through one producer, in the order of `put` within each partition."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        topic: str,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._on_fatal = on_fatal
        self._queues: dict[int, deque[_Queued]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._waiting_bytes = 0
        self._ended = False
        self._room = asyncio.Event()
        self._room.set()

    def put(
        self,
        partition: int,
        value: bytes,
        delivery: Delivery,
        key: bytes | None = None,
        headers: Headers = (),
    ) -> None:
        """Queue one record; `delivery` counts it until it is acknowledged, after an `end` for ever."""
        delivery.outstanding += 1
        if self._ended:
            return
        self._waiting_bytes += len(value)
        if self._waiting_bytes > WAITING_BYTES:
            self._room.clear()
        queue = self._queues.get(partition)
        if queue is None:
            queue = self._queues[partition] = deque()
        queue.append((key, value, headers, delivery))
        task = self._tasks.get(partition)
        if task is None or task.done():
            self._tasks[partition] = asyncio.create_task(self._drain(partition, queue))

    async def room(self) -> None:
        """Return once there is room: a slow broker slows us down instead of growing the heap."""
        await self._room.wait()

    def end(self) -> None:
        """Begin no batch any more; nobody waits for room in vain."""
        self._ended = True
        self._room.set()

    async def _drain(self, partition: int, queue: deque[_Queued]) -> None:
        try:
            while queue and not self._ended:
                await self._send_batch(partition, queue)
        except KafkaError as error:
            self.end()
            failure = SendError(f"{self._topic}-{partition}: not acknowledged ({type(error).__name__})")
            failure.__cause__ = error
            self._on_fatal(failure)
        except Exception as error:  # noqa: BLE001 - whatever it is, order is lost after it
            self.end()
            self._on_fatal(error)

    async def _send_batch(self, partition: int, queue: deque[_Queued]) -> None:
        batch = self._producer.create_batch()
        deliveries: list[Delivery] = []
        size = 0
        now_ms = int(time.time() * 1000)
        while queue and (not deliveries or size + len(queue[0][1]) <= BATCH_BYTES):
            key, value, headers, delivery = queue[0]
            if batch.append(key=key, value=value, timestamp=now_ms, headers=list(headers)) is None:
                break
            queue.popleft()
            size += len(value)
            deliveries.append(delivery)
        batch.close()
        acknowledged = await self._producer.send_batch(batch, self._topic, partition=partition)
        reached("send.under-way")
        await acknowledged
        reached("send.acknowledged")
        self._waiting_bytes -= size
        if self._waiting_bytes <= WAITING_BYTES:
            self._room.set()
        for delivery in deliveries:
            delivery._acknowledge()  # noqa: SLF001 - the two classes are one mechanism
