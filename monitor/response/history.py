"""The rule sets that were in force, read from the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiokafka.errors import KafkaError

from monitor.core.rules import RuleSet, rule_set_from_document
from monitor.errors import BrokerUnavailableError, ConfigurationError, Fault
from monitor.stream.read import read_to_end
from monitor.wire.credentials import RULES_ACTIVATED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.settings import Settings

_MARK: Final = RULES_ACTIVATED.encode()


@dataclass(frozen=True, slots=True)
class Activation:
    """One rule set, and how it came into force; `text` is that of its files, by name.

    `document` is None where an earlier monitor, whose ledger did not keep it, put the set in force.
    """

    version: int
    revision: str
    at_ms: int
    by: str
    reason: str
    back_to: int | None
    document: dict[str, Any] | None
    text: dict[str, str]

    @property
    def rule_set(self) -> RuleSet:
        """The set itself; raises ConfigurationError where the ledger does not hold one that we read."""
        where = f"version {self.version}"
        if self.document is None:
            fault = Fault(where, "the ledger holds its name, not its rules", "publish its files again")
            raise ConfigurationError("that rule set is not kept", [fault])
        try:
            return rule_set_from_document(self.document)
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError("that rule set cannot be read", [Fault(where, str(error))]) from None


async def read_activations(settings: Settings) -> list[Activation]:
    """Return every rule set that came into force, oldest first.

    Raises BrokerUnavailableError where Kafka does not answer.
    """
    topic = settings.topic("decisions")
    found = []
    try:
        async for records, _, _ in read_to_end(settings.kafka, topic, 0):
            for record in records:
                # The ledger is long, and rules change seldom.
                if record.value is not None and _MARK in record.value:
                    entry = orjson.loads(record.value)
                    if entry["kind"] == RULES_ACTIVATED:
                        found.append(_activation(entry))
    except KafkaError as error:
        msg = f"{topic}: Kafka did not answer: {type(error).__name__}"
        raise BrokerUnavailableError(msg) from None
    return found


def find_activation(activations: Sequence[Activation], to: str | None) -> Activation:
    """Return the set to go back to: the one before the last, or the newest whose revision begins with `to`.

    Raises ConfigurationError where there is none, or more than one revision.
    """
    title = "no rule set to go back to"
    if to is None:
        if len(activations) > 1:
            return activations[-2]
        fault = Fault("rules", "there was none before the one in force", "`monitor rules history` lists all")
        raise ConfigurationError(title, [fault])
    matching = {
        entry.revision: entry for entry in activations if to and entry.revision.startswith(to.lower())
    }
    if len(matching) == 1:
        return next(iter(matching.values()))
    problem = f"no revision begins with {to!r}"
    if matching:
        problem = f"several revisions begin with {to!r}: {', '.join(sorted(matching))}"
    raise ConfigurationError(title, [Fault("--to", problem, "`monitor rules history` lists all")])


def _activation(entry: dict[str, Any]) -> Activation:
    return Activation(
        version=entry["version"],
        revision=entry["revision"],
        at_ms=entry["at_ms"],
        by=entry["by"],
        reason=entry["reason"],
        back_to=entry.get("back_to"),
        document=entry.get("document"),
        text=entry.get("text") or {},
    )
