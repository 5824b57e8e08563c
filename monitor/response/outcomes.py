"""What each rule in force has led to so far, counted from `findings` and the ledger."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from aiokafka.errors import KafkaError

from monitor.core.rules import rule_revision
from monitor.errors import BrokerUnavailableError, ConfigurationError
from monitor.response.difference import complete_since
from monitor.stream.read import read_to_end

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.core.rules import Rule, RuleSet
    from monitor.response.history import Activation
    from monitor.settings import Settings


@dataclass(slots=True)
class RuleOutcome:
    """What one rule, as it is now, found; each credential counts once. Times in epoch milliseconds.

    `would` are credentials that shadow mode alone kept from being refused, `did` those that were
    refused, `held` those whose finding was too old to act on. `earlier` are findings of the rule as it
    was before its last change.
    """

    since_ms: int | None = None
    warm_ms: int | None = None
    findings: int = 0
    earlier: int = 0
    last_ms: int | None = None
    subjects: set[str] = field(default_factory=set)
    would: set[str] = field(default_factory=set)
    did: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The outcomes by rule id; `kept_since_ms` is set where older findings are kept no more."""

    by_rule: dict[str, RuleOutcome]
    kept_since_ms: int | None


async def read_outcomes(settings: Settings, rule_set: RuleSet, activations: Sequence[Activation]) -> Outcomes:
    """Return what the rules of the set in force have led to, as far as their findings are kept.

    Raises BrokerUnavailableError where Kafka does not answer.
    """
    outcomes = {rule.id: RuleOutcome() for rule in rule_set.rules}
    _add_times(outcomes, rule_set, activations)
    found: dict[str, RuleOutcome | None] = {}
    revisions = {rule.id: _revision(rule) for rule in rule_set.rules}
    kept_since_ms: int | None = None
    first = True
    try:
        async for records, _, _ in read_to_end(settings.kafka, settings.topic("findings"), 0):
            for record in records:
                if first and record.offset > 0:
                    kept_since_ms = record.timestamp
                first = False
                entry = orjson.loads(record.value)
                if entry["kind"] != "finding" or entry["id"] in found:
                    continue  # a worker that died says again what it had said
                outcome = outcomes.get(entry["rule"]["id"])
                if outcome is not None and entry["rule"]["revision"] == revisions[entry["rule"]["id"]]:
                    found[entry["id"]] = outcome
                    _add_finding(outcome, entry)
                elif outcome is not None:
                    found[entry["id"]] = None
                    outcome.earlier += 1
        async for records, _, _ in read_to_end(settings.kafka, settings.topic("decisions"), 0):
            for record in records:
                _add_decision(found, orjson.loads(record.value))
    except KafkaError as error:
        msg = f"{settings.topic('findings')}: Kafka did not answer: {type(error).__name__}"
        raise BrokerUnavailableError(msg) from None
    return Outcomes(outcomes, kept_since_ms)


def _add_finding(outcome: RuleOutcome, entry: dict[str, Any]) -> None:
    outcome.findings += 1
    outcome.subjects.add(entry["subject"])
    outcome.last_ms = max(outcome.last_ms or 0, entry["observed_ms"])


def _add_decision(found: dict[str, RuleOutcome | None], entry: dict[str, Any]) -> None:
    outcome = found.get(entry.get("finding", ""))
    if outcome is None:
        return
    credential = f"{entry.get('realm')}/{entry.get('id')}"
    if entry["kind"] == "requested":
        outcome.did.add(credential)
    elif entry["kind"] == "held":
        outcome.held.add(credential)
    elif entry["kind"] == "suppressed" and entry["reason"] == "shadow":
        outcome.would.add(credential)


def _add_times(
    outcomes: dict[str, RuleOutcome], rule_set: RuleSet, activations: Sequence[Activation]
) -> None:
    """Add since when each rule is as it is, and when its window is complete."""
    sets = []
    for entry in activations:
        with suppress(ConfigurationError):  # one that is not kept says nothing about windows
            sets.append((entry.rule_set, entry.at_ms))
    complete = complete_since(sets)
    for rule in rule_set.rules:
        outcome = outcomes[rule.id]
        for earlier, at_ms in sets:
            if any(other.id == rule.id and _revision(other) == _revision(rule) for other in earlier.rules):
                outcome.since_ms = at_ms
                break
        if rule.id in complete:
            outcome.warm_ms = complete[rule.id] + rule.timespan_ms


def _revision(rule: Rule) -> str:
    return rule.revision or rule_revision(rule)
