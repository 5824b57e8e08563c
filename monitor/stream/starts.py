"""Where the groups begin: positions that `monitor init` commits once, before any worker runs.

A worker never chooses a position of its own: it would be a guess about what was read before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from monitor.errors import BrokerUnavailableError, ConfigurationError, Fault
from monitor.stream.kafka import consumer_options
from monitor.stream.topics import partition_counts, source_topics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.settings import KafkaSettings, Settings

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_EARLIEST: Final = -2
_LATEST: Final = -1


@dataclass(frozen=True, slots=True)
class Start:
    """Where to begin in the sources: `text` as it was written; `at_ms` -1 latest, -2 earliest."""

    text: str
    at_ms: int


def parse_start(text: str, now: datetime) -> Start:
    """Return what ``latest``, ``earliest``, ``24h`` (back from `now`) or an RFC 3339 time means.

    Raises ConfigurationError for anything else, and for a time that is yet to come.
    """
    if text == "latest":
        return Start(text, _LATEST)
    if text == "earliest":
        return Start(text, _EARLIEST)
    back = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if back is not None:
        moment = now - timedelta(**{_UNITS[back[2]]: int(back[1])})
        return Start(text, int(moment.timestamp() * 1000))
    remedy = "write latest, earliest, a duration such as 24h or 7d, or a time such as 2026-03-01T06:00:00Z"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            "Unknown start", [Fault("--from", f"{text!r} is no start", remedy)]
        ) from None
    if moment.tzinfo is None:
        fault = Fault("--from", f"{text!r} has no time zone", "add Z for UTC, or an offset such as +01:00")
        raise ConfigurationError("Unknown start", [fault])
    if moment > now:
        raise ConfigurationError("Unknown start", [Fault("--from", f"{text!r} is yet to come", remedy)])
    return Start(text, int(moment.astimezone(UTC).timestamp() * 1000))


async def set_start(settings: Settings, start: Start) -> list[str]:
    """Commit where each group begins, for the partitions where it has no position yet.

    Sources begin at `start`, our own topics at their beginning. Returns one sentence per group and
    topic that says what was done. Raises ConfigurationError where a group cannot be given a
    position, BrokerUnavailableError where the cluster is away.
    """
    done: list[str] = []
    own = settings.kafka
    earliest = Start("earliest", _EARLIEST)
    for kafka, topics in source_topics(settings):
        done += await _commit(kafka, settings.group("intake"), topics, start)
    of_intake = [settings.topic("status"), settings.topic("replay")]
    done += await _commit(own, settings.group("intake"), of_intake, earliest)
    done += await _commit(own, settings.group("detect"), [settings.topic("routed")], earliest)
    enforcer = [settings.topic("findings"), settings.topic("control")]
    done += await _commit(own, settings.group("enforce"), enforcer, earliest)
    return done


async def _commit(kafka: KafkaSettings, group: str, topics: Sequence[str], start: Start) -> list[str]:
    counts = partition_counts(kafka)
    done: list[str] = []
    try:
        consumer = AIOKafkaConsumer(**consumer_options(kafka), group_id=group)
        await consumer.start()
        try:
            for topic in topics:
                partitions = [TopicPartition(topic, number) for number in range(counts[topic])]
                consumer.assign(partitions)
                new = [tp for tp in partitions if await consumer.committed(tp) is None]
                if new:
                    await consumer.commit(await _offsets(kafka, consumer, new, start))
                done.append(_sentence(group, topic, start, len(new), len(partitions)))
        finally:
            await consumer.stop()
    except KafkaError as error:
        reason = type(error).__name__
        if error.retriable:
            msg = f"group {group}: its start could not be committed: {reason}; run `monitor init` again"
            raise BrokerUnavailableError(msg) from None
        remedy = "stop the workers of that group, or grant Read on it; then run `monitor init` again"
        fault = Fault(f"group {group}", f"its start could not be committed: {reason}", remedy)
        raise ConfigurationError("Kafka refused a start position", [fault]) from None
    return done


async def _offsets(
    kafka: KafkaSettings, consumer: AIOKafkaConsumer, partitions: list[TopicPartition], start: Start
) -> dict[TopicPartition, int]:
    if start.at_ms == _EARLIEST:
        return dict(await consumer.beginning_offsets(partitions))
    ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
    if start.at_ms == _LATEST:
        return ends
    if kafka.broker == "embedded":
        fault = Fault("--from", "the embedded broker knows no times", "use latest or earliest")
        raise ConfigurationError("Unknown start", [fault])
    # None where nothing was written since: then the end is where what comes next will stand.
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, start.at_ms))
    return {tp: ends[tp] if found[tp] is None else found[tp].offset for tp in partitions}


def _sentence(group: str, topic: str, start: Start, new: int, all_: int) -> str:
    if not new:
        return f"group {group} keeps its positions in {topic}"
    which = f"{new} of {all_} partitions" if new < all_ else f"all {all_} partitions"
    return f"group {group} begins at {start.text} in {topic} ({which})"
