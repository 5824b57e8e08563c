"""Where the groups begin: positions that `monitor init` commits once, before any worker runs.

A worker never chooses a position of its own: it would be a guess about what was read before.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CommitFailedError, KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from monitor.errors import BrokerUnavailableError, ConfigurationError, Fault
from monitor.stream.anew import make_state_anew, read_stamps
from monitor.stream.kafka import consumer_options
from monitor.stream.topics import partition_counts, source_topics, topic_ids
from monitor.wire.positions import PositionNote, decode_note, encode_note

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from monitor.settings import KafkaSettings, Settings

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_EARLIEST: Final = -2
_LATEST: Final = -1
_MORE_SECONDS: Final = 5.0


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


async def set_start(settings: Settings, start: Start, adopt: Collection[str] = ()) -> list[str]:
    """Commit where each group begins, for the partitions where it has no position yet.

    Sources begin at `start`, our own topics at their beginning; so does a topic in `adopt` that was
    deleted and made again, whatever was read of the one before. Returns one sentence per group and topic
    that says what was done. Raises ConfigurationError where a group cannot be given a position, or a topic
    was made again that is not in `adopt`; BrokerUnavailableError where the cluster is away.
    """
    done: list[str] = []
    own = settings.kafka
    earliest = Start("earliest", _EARLIEST)
    for kafka, topics in source_topics(settings):
        done += await _commit(kafka, settings.group("intake"), topics, start, adopt=adopt)
    of_intake = [settings.topic("status"), settings.topic("replay")]
    done += await _commit(own, settings.group("intake"), of_intake, earliest, adopt=adopt)
    routed = settings.topic("routed")
    lost = bool({routed, settings.topic("state")} & set(adopt))
    if lost:
        done += await make_state_anew(settings)
    detect = _Detect({} if lost else await read_stamps(settings), anew=lost)
    done += await _commit(own, settings.group("detect"), [routed], earliest, adopt=adopt, detect=detect)
    enforcer = [settings.topic("findings"), settings.topic("control")]
    done += await _commit(own, settings.group("enforce"), enforcer, earliest, adopt=adopt)
    return done


async def _commit(
    kafka: KafkaSettings,
    group: str,
    topics: Sequence[str],
    start: Start,
    *,
    adopt: Collection[str],
    detect: _Detect | None = None,
) -> list[str]:
    counts = partition_counts(kafka)
    ids = await asyncio.to_thread(topic_ids, kafka, topics)
    done: list[str] = []
    try:
        consumer = AIOKafkaConsumer(**consumer_options(kafka), group_id=group)
        await consumer.start()
        try:
            for topic in topics:
                partitions = [TopicPartition(topic, number) for number in range(counts[topic])]
                consumer.assign(partitions)
                begun = _Begun(group, topic, ids[topic], await _committed(consumer, partitions))
                ends = await consumer.end_offsets(partitions)
                anew = begun.to_begin(ends, adopted=topic in adopt, all_=detect is not None and detect.anew)
                if anew:
                    since = Start("earliest", _EARLIEST) if topic in adopt else start
                    at = await _offsets(kafka, consumer, anew, since, begun.known)
                    if detect is not None:
                        at |= {
                            tp: detect.stamps[tp.partition] + 1
                            for tp in anew
                            if tp.partition in detect.stamps
                        }
                    note = PositionNote(topic_id=ids[topic], partitions=len(partitions))
                    await _when_nobody_is_there(
                        kafka,
                        consumer,
                        {
                            # What `routed` no longer holds will not come again: its holes are known ones.
                            tp: OffsetAndMetadata(
                                position,
                                encode_note(
                                    msgspec.structs.replace(note, holes_below=ends[tp] if detect else 0)
                                ),
                            )
                            for tp, position in at.items()
                        },
                    )
                done.append(_sentence(group, topic, start, len(anew), len(partitions)))
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


async def _when_nobody_is_there(
    kafka: KafkaSettings, consumer: AIOKafkaConsumer, at: dict[TopicPartition, OffsetAndMetadata]
) -> None:
    """Commit positions; a worker that has just ended counts as a member for one session more."""
    deadline = time.monotonic() + kafka.session_timeout_seconds + _MORE_SECONDS
    while True:
        try:
            await consumer.commit(at)
        except CommitFailedError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(1)
        else:
            return


async def _committed(
    consumer: AIOKafkaConsumer, partitions: list[TopicPartition]
) -> dict[int, tuple[int, PositionNote]]:
    found = await consumer._coordinator.fetch_committed_offsets(partitions)  # noqa: SLF001 - it keeps metadata to itself
    return {
        tp.partition: (at.offset, decode_note(at.metadata, f"{tp.topic}-{tp.partition}"))
        for tp, at in found.items()
        if at.offset >= 0
    }


@dataclass(frozen=True, slots=True)
class _Detect:
    """What `state` stands for, by partition; `anew` where it was made anew."""

    stamps: Mapping[int, int]
    anew: bool


@dataclass(frozen=True, slots=True)
class _Begun:
    """What a group has read of a topic, and of which topic of that name."""

    group: str
    topic: str
    topic_id: str
    committed: Mapping[int, tuple[int, PositionNote]]

    @property
    def known(self) -> int:
        """How many partitions there were when positions were set, 0 where none were."""
        return max((note.partitions for _, note in self.committed.values()), default=0)

    def to_begin(
        self, ends: Mapping[TopicPartition, int], *, adopted: bool, all_: bool
    ) -> list[TopicPartition]:
        """Return the partitions to be given a position; raises ConfigurationError where it is another topic."""
        anew = []
        for tp, end in ends.items():
            position, note = self.committed.get(tp.partition, (None, None))
            if all_ or position is None or note is None:
                anew.append(tp)
            elif note.topic_id not in (None, self.topic_id) or position > end:
                if not adopted:
                    fault = Fault(
                        f"topic {self.topic}",
                        f"was deleted and made again since group {self.group} last read it",
                        f"`monitor init --adopt {self.topic}` takes it as it is now",
                    )
                    raise ConfigurationError("The topic is another one", [fault])
                anew.append(tp)
        return anew


async def _offsets(
    kafka: KafkaSettings,
    consumer: AIOKafkaConsumer,
    partitions: list[TopicPartition],
    start: Start,
    known: int,
) -> dict[TopicPartition, int]:
    firsts: dict[TopicPartition, int] = dict(await consumer.beginning_offsets(partitions))
    later = {tp: firsts[tp] for tp in partitions if 0 < known <= tp.partition}
    return {**await _offsets_at(kafka, consumer, partitions, start, firsts), **later}


async def _offsets_at(
    kafka: KafkaSettings,
    consumer: AIOKafkaConsumer,
    partitions: list[TopicPartition],
    start: Start,
    firsts: dict[TopicPartition, int],
) -> dict[TopicPartition, int]:
    if start.at_ms == _EARLIEST:
        return firsts
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
