"""Producers of our own records: how they are made, how long a transaction may take, how they end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerClosed
from aiokafka.producer import sender as aiokafka_sender

from monitor.errors import SendError
from monitor.stream.kafka import aiokafka_options

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from monitor.settings import KafkaSettings

#: Bytes in one batch; below the brokers' usual limit of 1 MiB.
BATCH_BYTES: Final = 900_000
#: How soon aiokafka asks again where the markers of a producer's transaction before are still being written, in
#: seconds. They take Kafka some milliseconds, and every transaction that follows at once waits for them.
MARKERS_SECONDS: Final = 0.003
_CANCEL_SECONDS: Final = 0.5
_CANCELS: Final = 10

# A constant of aiokafka's (20 ms); `retry_backoff_ms` is for faults, and does not change it.
aiokafka_sender.BACKOFF_OVERRIDE = MARKERS_SECONDS


def plain_producer(kafka: KafkaSettings) -> AIOKafkaProducer:
    """Return an idempotent producer whose batches are made by `OrderedSender`."""
    return AIOKafkaProducer(
        **aiokafka_options(kafka),
        acks="all",
        enable_idempotence=True,
        max_batch_size=BATCH_BYTES,
        max_request_size=4 << 20,
    )


async def start_producer(kafka: KafkaSettings, producer: AIOKafkaProducer) -> None:
    """Start a producer; a transactional one fences the holder of its id before this returns.

    Raises KafkaError or TimeoutError where it cannot be started in time, and then nothing of it is left.
    """
    try:
        async with asyncio.timeout(kafka.request_timeout_seconds):
            await producer.start()
    except BaseException:
        await drop_producer(producer)
        raise


async def transact(
    kafka: KafkaSettings, producer: AIOKafkaProducer, what: str, send: Callable[[], Awaitable[object]]
) -> None:
    """Do `send` in a transaction: all of it is durable when this returns.

    Raises SendError, which names `what` was not written, where it is not known to be: the producer is
    then to be dropped. aiokafka waits for a commit without limit, so the limit is here; the transaction
    is not aborted by us either, which can hang as well: whoever starts the id next ends it.
    """
    try:
        async with asyncio.timeout(kafka.request_timeout_seconds):
            await producer.begin_transaction()
            await send()
            await producer.commit_transaction()
    except (KafkaError, TimeoutError, OSError) as error:
        msg = f"{what} ({type(error).__name__})"
        raise SendError(msg) from error


async def drop_producer(producer: AIOKafkaProducer) -> None:
    """End a producer at once, as a crash would: nothing more is sent, and nobody is waited for.

    What Kafka has received by then may still stand in the log later, as after a crash.
    """
    producer._closed = True  # noqa: SLF001 - its stop() would send what waits
    sender = producer._sender  # noqa: SLF001
    task: asyncio.Task[None] | None = sender.sender_task
    for _ in range(_CANCELS):
        if task is None or task.done():
            break
        # The first one only makes it wait for requests under way; the next one ends those.
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_SECONDS)
    producer._message_accumulator.fail_all(ProducerClosed())  # noqa: SLF001 - whoever waits must not for ever
    with suppress(KafkaError, OSError):
        await producer.client.close()
