"""What must stand in Kafka before the first worker runs. Every step may be repeated."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from monitor.stream.control import publish_act, send_act
from monitor.stream.reach import wait_for_broker
from monitor.stream.read import read_to_end
from monitor.stream.rules import read_configured_rules
from monitor.stream.starts import Start, set_start
from monitor.stream.topics import check_topics, create_topics
from monitor.wire.credentials import RULES_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from monitor.rulebook import LoadedRules
    from monitor.settings import Settings


async def initialise(
    settings: Settings, start: Start, say: Callable[[str], None], adopt: Collection[str] = ()
) -> None:
    """Create and check the topics, publish the first rule set, and set where the groups begin.

    `adopt` names topics that were deleted and made again, or lost, and are to be taken as they are now.
    Calls `say` with a sentence for each thing that it did or found done. Raises ConfigurationError
    where a person must change something (nothing is created while the rules have a fault), and
    BrokerUnavailableError where a cluster does not answer.
    """
    rules = read_configured_rules(settings)
    clusters = [settings.kafka]
    clusters += [source.kafka for source in settings.sources if source.kafka is not None]
    for kafka in clusters:
        await wait_for_broker(kafka)
    created = await asyncio.to_thread(create_topics, settings)
    for topic in created:
        say(f"created topic {topic}")
    await asyncio.to_thread(check_topics, settings)
    say("all topics are as they must be")
    say(await publish_first_rules(settings, rules))
    for sentence in await set_start(settings, start, adopt):
        say(sentence)


async def publish_first_rules(settings: Settings, rules: LoadedRules) -> str:
    """Publish a rule set to `control`, unless one was published before; say which it was.

    It is in force when the enforcer has taken it into the ledger.
    """
    if await _published(settings):
        return "a rule set was published before; it stays as it is"
    rule_set = rules.rule_set
    await send_act(settings, publish_act(rule_set, rules.texts, by="monitor init", reason="first rule set"))
    return f"published the first rule set: {len(rule_set.rules)} rules, revision {rule_set.revision}"


async def _published(settings: Settings) -> bool:
    published = False
    async for records, _, _ in read_to_end(settings.kafka, settings.topic("credentials"), 0):
        published |= any(record.key == RULES_KEY and record.value is not None for record in records)
    async for records, _, _ in read_to_end(settings.kafka, settings.topic("control"), 0):
        # Publishing a rule set is the one act that there is.
        published |= bool(records)
    return published
