"""What follows where somebody asks to put a rule set in force: it is, or it is refused.

The ledger answers every act with one entry, which names it: ``rules_activated``, ``rules_unchanged``
or ``rules_refused``. The first holds the whole set, so that each one that ever was in force can be
shown, and put in force again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from monitor.core.events import RulesRecord
from monitor.core.plan import Plan
from monitor.core.rules import rule_set_from_document
from monitor.errors import InvariantError
from monitor.response.states import Decision
from monitor.rulebook import compile_pattern
from monitor.stream.kafka import consumer_options
from monitor.stream.rules import holds
from monitor.wire.credentials import (
    ACT_BYTES,
    LOOKED_UP,
    RULES_ACTIVATED,
    RULES_REFUSED,
    RULES_UNCHANGED,
    LookUp,
    RulesInForce,
    decode_control,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiokafka.structs import ConsumerRecord

    from monitor.settings import Settings
    from monitor.wire.credentials import PublishRules

_POLL_MS: Final = 500


async def read_control(settings: Settings, first: int) -> AsyncIterator[ConsumerRecord]:
    """Yield the records of `control` from offset `first` on, without end."""
    consumer = AIOKafkaConsumer(**consumer_options(settings.kafka), auto_offset_reset="earliest")
    await consumer.start()
    try:
        tp = TopicPartition(settings.topic("control"), 0)
        consumer.assign([tp])
        consumer.seek(tp, first)
        while True:
            fetched = await consumer.getmany(tp, timeout_ms=_POLL_MS)
            for record in fetched.get(tp, ()):
                yield record
    finally:
        await consumer.stop()


def on_act(
    current: RulesInForce | None, record: ConsumerRecord, now_ms: int
) -> tuple[Decision, RulesInForce | None]:
    """Return the ledger's entry on a record of `control`, and what is in force after it.

    One that is no act is refused: whoever writes there must not stop the enforcer.
    """
    place = f"{record.topic}-{record.partition} offset {record.offset}"
    value = record.value or b""
    try:
        act = decode_control(value, place)
    except InvariantError as error:
        return Decision(RULES_REFUSED, {"reason": str(error)}), current
    if isinstance(act, LookUp):
        about = {"what": act.what, "ids": act.ids, "asked_ms": act.at_ms, "reason": act.reason}
        named = {} if act.incident is None else {"incident": act.incident}
        return Decision(LOOKED_UP, {"act": act.act, "by": act.by, **about, **named}), current
    if len(value) > ACT_BYTES:
        reason = f"larger than {ACT_BYTES:,} bytes: the ledger has no room for it"
        return Decision(RULES_REFUSED, {**_about(act), "reason": reason}), current
    return on_publish(current, act, now_ms)


def on_publish(
    current: RulesInForce | None, act: PublishRules, now_ms: int
) -> tuple[Decision, RulesInForce | None]:
    """Return the entry of the ledger on an act, and what is in force after it.

    A set that detect could not compile is refused, and the one before stays; also one that was meant to
    replace another version. The same rules again, in the same words, change nothing.
    """
    about = _about(act)
    now = current.version if current else 0
    version = now + 1
    try:
        rule_set = rule_set_from_document(act.document)
        Plan(
            RulesRecord(version, act.revision, act.document),
            allowed_lateness_ms=0,
            compile_pattern=compile_pattern,
            activated_ms=0,
        )
    except Exception as error:  # noqa: BLE001 - an act may hold anything, and must not stop the enforcer
        why = str(error) if type(error) is ValueError else type(error).__name__
        refused = {**about, "reason": f"this monitor does not read that rule set ({why})"}
        return Decision(RULES_REFUSED, refused), current
    if current is not None and holds(current, rule_set):
        return Decision(RULES_UNCHANGED, {**about, "version": now}), current
    if act.after is not None and act.after != now:
        reason = f"version {now} came into force meanwhile, it was compared with version {act.after}"
        return Decision(RULES_REFUSED, {**about, "reason": reason}), current
    details: dict[str, Any] = {**about, "version": version}
    if act.back_to is not None:
        details["back_to"] = act.back_to
    details["rules"] = [rule.id for rule in rule_set.rules]
    details["document"] = act.document
    details["text"] = act.text
    rules = RulesInForce(
        version=version,
        revision=act.revision,
        document=act.document,
        text=act.text,
        published_ms=now_ms,
        by=act.by,
    )
    return Decision(RULES_ACTIVATED, details), rules


def _about(act: PublishRules) -> dict[str, Any]:
    return {"act": act.act, "revision": act.revision, "by": act.by, "reason": act.reason}
