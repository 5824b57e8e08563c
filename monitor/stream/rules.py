"""The rule set in force when a process starts: intake routes nothing before it knows it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from monitor.core.events import RulesRecord
from monitor.stream.kafka import consumer_options
from monitor.wire.credentials import RULES_KEY, decode_rules

if TYPE_CHECKING:
    from monitor.settings import Settings

log = structlog.get_logger(__name__)

_POLL_MS: Final = 100
_REMIND_SECONDS: Final = 10.0


async def current_rules(settings: Settings) -> RulesRecord:
    """Return the newest rule set of the ledger, waiting until there is one.

    It is read to the end of `credentials` as it is now: an older revision that compaction has not
    removed yet is not mistaken for the newest.
    """
    topic = settings.topic("credentials")
    consumer = AIOKafkaConsumer(**consumer_options(settings.kafka), auto_offset_reset="earliest")
    await consumer.start()
    try:
        tp = TopicPartition(topic, 0)
        consumer.assign([tp])
        await consumer.seek_to_beginning(tp)
        end = (await consumer.end_offsets([tp]))[tp]
        newest: RulesRecord | None = None
        reminded = time.monotonic()
        while True:
            fetched = await consumer.getmany(tp, timeout_ms=_POLL_MS)
            for record in fetched.get(tp, ()):
                if record.key == RULES_KEY and record.value is not None:
                    rules = decode_rules(record.value, f"{topic}-0 offset {record.offset}")
                    newest = RulesRecord(rules.version, rules.revision, rules.document)
            if newest is not None and await consumer.position(tp) >= end:
                return newest
            if time.monotonic() - reminded > _REMIND_SECONDS:
                reminded = time.monotonic()
                log.warning(
                    "waiting for the first rule set; was `monitor init` run, and is a worker with"
                    " the role enforce running?"
                )
    finally:
        await consumer.stop()
