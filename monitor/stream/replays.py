"""Dead letters: read, and their records sent again by the topic `replay`.

A record is taken from its letter where that kept it, else from its source's topic, for as long as that
keeps it. What was sent once is not sent again unless asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from aiokafka.structs import TopicPartition

from monitor.errors import BrokerUnavailableError, SendError
from monitor.intake.inputs import Input
from monitor.intake.replay import LETTER_HEADER, SOURCE_HEADER, event_alone
from monitor.stream.kafka import consumer_options
from monitor.stream.producers import plain_producer, start_producer
from monitor.stream.read import read_to_end
from monitor.wire.rejected import decode_rejected

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiokafka import AIOKafkaProducer
    from aiokafka.structs import ConsumerRecord

    from monitor.settings import KafkaSettings, Settings, SourceSettings
    from monitor.wire.rejected import Letter

_FETCH_MS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Raw:
    """A record as it stood in its source."""

    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()

    def __repr__(self) -> str:
        """Return the length alone."""
        return f"Raw({len(self.value)} bytes)"


async def read_letters(settings: Settings) -> list[Letter]:
    """Return all dead letters that are kept, oldest first."""
    topic = settings.topic("rejected")
    return [
        decode_rejected(record.value or b"", record.offset) for record in await _all(settings.kafka, topic)
    ]


async def sent_before(settings: Settings) -> frozenset[str]:
    """Return the places of the letters whose records were sent again already."""
    records = await _all(settings.kafka, settings.topic("replay"))
    return frozenset(
        value.decode() for record in records for name, value in record.headers if name == LETTER_HEADER
    )


async def record_of(settings: Settings, letter: Letter) -> Raw | str:
    """Return the record of a letter, or why it cannot be had."""
    source = source_of(settings, letter)
    if letter.payload is not None:
        return Raw(letter.payload)
    if source is None and letter.topic != settings.topic("replay"):
        return f"topic {letter.topic} is no source of monitor.yaml"
    kafka = settings.kafka if source is None or source.kafka is None else source.kafka
    return await _fetch(kafka, letter)


def source_of(settings: Settings, letter: Letter) -> SourceSettings | None:
    """Return the source that a letter's record came from."""
    return next((source for source in settings.sources if source.topic == letter.topic), None)


class Replaying:
    """Sends the records of letters again, one by one; each is durable before the next."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Self:
        """Connect."""
        self._producer = plain_producer(self._settings.kafka)
        try:
            await start_producer(self._settings.kafka, self._producer)
        except (KafkaError, TimeoutError) as error:
            msg = f"Kafka did not answer: {type(error).__name__}"
            raise BrokerUnavailableError(msg) from None
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        if self._producer is not None:
            await self._producer.stop()

    async def send(self, letter: Letter) -> str | None:
        """Send a letter's record; return why it cannot be, or None where it was."""
        settings = self._settings
        source = source_of(settings, letter)
        if letter.topic == settings.topic("replay"):
            return "it was sent again before, and could not be read then either"
        if source is None:
            return f"topic {letter.topic} is no source of monitor.yaml"
        raw = await record_of(settings, letter)
        if isinstance(raw, str):
            return raw
        value: bytes | None = raw.value
        if letter.event is not None:
            value = event_alone(Input.of(source, settings.formats).find(), raw.value, letter.event)
            if value is None:
                return "its event cannot be taken out of the batch, whose others count already"
        headers = [
            *(header for header in raw.headers if header[0] not in {SOURCE_HEADER, LETTER_HEADER}),
            (SOURCE_HEADER, source.name.encode()),
            (LETTER_HEADER, letter.place.encode()),
        ]
        topic = settings.topic("replay")
        if self._producer is None:
            return "not connected"
        try:
            await self._producer.send_and_wait(topic, value, key=letter.place.encode(), headers=headers)
        except KafkaError as error:
            msg = (
                f"topic {topic}: Kafka did not take a record ({type(error).__name__}); run the command again"
            )
            raise SendError(msg) from None
        return None


def chosen(letters: Sequence[Letter], wanted: Callable[[Letter], bool]) -> list[Letter]:
    """Return the letters that are wanted, the newest of each place."""
    return list({letter.place: letter for letter in letters if wanted(letter)}.values())


async def _all(kafka: KafkaSettings, topic: str) -> list[ConsumerRecord]:
    try:
        return [record async for records, _, _ in read_to_end(kafka, topic, 0) for record in records]
    except KafkaError as error:
        msg = f"topic {topic}: Kafka did not answer ({type(error).__name__})"
        raise BrokerUnavailableError(msg) from None


async def _fetch(kafka: KafkaSettings, letter: Letter) -> Raw | str:
    """Return the record at a letter's place in its source."""
    gone = "its source's topic does not keep it any more"
    tp = TopicPartition(letter.topic, letter.partition)
    consumer = AIOKafkaConsumer(
        **consumer_options(kafka), auto_offset_reset="none", max_partition_fetch_bytes=8 << 20
    )
    try:
        await consumer.start()
        consumer.assign([tp])
        first, end = (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
        if not first <= letter.offset < end:
            return gone
        consumer.seek(tp, letter.offset)
        fetched = await consumer.getmany(tp, timeout_ms=_FETCH_MS, max_records=1)
    except OffsetOutOfRangeError:
        return gone
    except KafkaError as error:
        msg = f"topic {letter.topic}: Kafka did not answer ({type(error).__name__})"
        raise BrokerUnavailableError(msg) from None
    finally:
        await consumer.stop()
    for record in fetched.get(tp, ()):
        if record.offset == letter.offset:
            return Raw(record.value or b"", tuple(record.headers))
    return gone
