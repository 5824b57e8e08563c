"""Acts that publish rules: the ledger answers each, and keeps every set that was in force."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from monitor.core.rules import Match, Rule, RuleSet, rule_set_document
from monitor.errors import BrokerUnavailableError, ConfigurationError, MonitorError
from monitor.response.history import find_activation, read_activations
from monitor.stream.control import Answer, publish, publish_act
from monitor.stream.rules import read_rules_in_force
from monitor.wire.credentials import ACT_BYTES
from tests.response.stage import Cast, decisions, entries, finding, found, now_ms, records, send, until

if TYPE_CHECKING:
    from monitor.settings import Settings
    from monitor.wire.credentials import PublishRules
    from tests.response.conftest import Install

TEXT = {"a.yml": "title: Many"}


def rule_set(threshold: int = 5, pattern: str = "^/a", **changes: Any) -> RuleSet:
    """Return a set of one rule."""
    match = Match("route", "re", pattern)
    rule = Rule("r-1", "Many", "event_count", match, ("principal",), 60_000, threshold)
    return RuleSet((replace(rule, **changes),))


def act(rules: RuleSet, **changes: Any) -> PublishRules:
    """Return an act that puts a rule set in force."""
    made = publish_act(rules, TEXT, by="somebody", reason="a test")
    return msgspec.structs.replace(made, **changes)


async def ask(cast: Cast, *acts: PublishRules | bytes) -> None:
    """Write acts to `control`."""
    values = [value if isinstance(value, bytes) else msgspec.json.encode(value) for value in acts]
    await send(cast.settings, "control", *values)


async def answers(cast: Cast) -> list[tuple[str, int | None]]:
    """Return the kind and version of each answer."""
    said = await decisions(cast.settings, "rules_activated", "rules_unchanged", "rules_refused")
    return [(entry["kind"].removeprefix("rules_"), entry.get("version")) for entry in said]


async def in_force(settings: Settings) -> tuple[int, str] | None:
    """Return version and revision of what `credentials` holds."""
    rules = await read_rules_in_force(settings)
    return None if rules is None else (rules.version, rules.revision)


async def test_a_rule_set_comes_into_force_once(install: Install):
    """The same rules again change nothing, also after a take-over; others are the next version."""
    cast = install()
    first, second = rule_set(5), rule_set(6)
    async with cast.enforcer():
        await ask(cast, act(first), act(first))
        await until_answered(cast, 2)
        assert await in_force(cast.settings) == (1, first.revision)
    async with cast.enforcer():
        await ask(cast, act(first), act(second))
        await until_answered(cast, 4)
    assert await answers(cast) == [("activated", 1), ("unchanged", 1), ("unchanged", 1), ("activated", 2)]
    assert await in_force(cast.settings) == (2, second.revision)
    assert await entries(cast.settings, "status") == [], "intake reads it from credentials"


async def until_answered(cast: Cast, count: int) -> None:
    """Return once so many acts are answered."""

    async def answered() -> bool:
        return len(await answers(cast)) >= count

    await until(answered)


async def test_changed_words_are_a_new_version_of_the_same_revision(install: Install):
    """A finding holds its rule's title and runbook, so they are worth publishing."""
    cast = install()
    async with cast.enforcer():
        await ask(cast, act(rule_set()), act(rule_set(runbook="docs/runbooks.md#new")))
        await until_answered(cast, 2)
    assert await answers(cast) == [("activated", 1), ("activated", 2)]
    one, two = await read_activations(cast.settings)
    assert one.revision == two.revision
    assert two.rule_set.rules[0].runbook == "docs/runbooks.md#new"


async def test_a_set_that_was_compared_with_another_version_is_refused(install: Install):
    """Two people publish at once: the second looks again at what would change."""
    cast = install()
    mine, theirs = rule_set(7), rule_set(6)
    async with cast.enforcer():
        await ask(cast, act(rule_set(5)), act(theirs, after=1), act(mine, after=1), act(theirs, after=1))
        await ask(cast, act(mine, after=2))
        await until_answered(cast, 5)
    kinds = [kind for kind, _ in await answers(cast)]
    assert kinds == ["activated", "activated", "refused", "unchanged", "activated"]
    (refused,) = await decisions(cast.settings, "rules_refused")
    assert "version 2 came into force meanwhile" in refused["reason"]


async def test_the_ledger_keeps_every_set_with_its_text(install: Install):
    cast = install()
    asked = act(rule_set(5)), act(rule_set(6), text={"b.yml": "other"}, back_to=7)
    async with cast.enforcer():
        await ask(cast, *asked)
        await until_answered(cast, 2)
    one, two = await read_activations(cast.settings)
    assert (one.version, one.by, one.reason, one.back_to) == (1, "somebody", "a test", None)
    assert (one.rule_set.rules[0].threshold, one.text) == (5, TEXT)
    assert (two.version, two.back_to, two.text) == (2, 7, {"b.yml": "other"})
    assert [entry["act"] for entry in await decisions(cast.settings)] == [entry.act for entry in asked]


@pytest.mark.parametrize(
    "wrong",
    [
        b"not json",
        {"document": {"version": 9, "rules": []}},
        {"document": {"version": 1}},
        {"document": rule_set_document(rule_set(pattern="(?=lookahead)"))},
        {"text": {"a.yml": "x" * ACT_BYTES}},
    ],
    ids=["not json", "newer document", "no rules", "a pattern that RE2 does not know", "too large"],
)
async def test_an_act_that_cannot_be_done_is_refused_and_stops_nothing(install: Install, wrong: Any):
    """It stands in the ledger as refused; the set before stays, and the next one is taken."""
    cast = install()
    good = rule_set()
    async with cast.enforcer() as enforcer:
        await ask(cast, wrong if isinstance(wrong, bytes) else act(rule_set(), **wrong))
        await until_answered(cast, 1)
        await enforcer.apply_findings(await found(cast.settings, finding(1)))
        await ask(cast, act(good))
        await until_answered(cast, 2)
    kinds = [entry["kind"] for entry in await decisions(cast.settings)]
    assert kinds == ["rules_refused", "requested", "accepted", "rules_activated"]
    assert cast.fatal == []
    async with cast.enforcer():
        pass  # what was refused is not read again
    assert len(await answers(cast)) == 2
    assert await in_force(cast.settings) == (1, good.revision)


async def test_an_act_of_an_earlier_monitor_is_done(install: Install):
    """It has no id, and nobody waits for its answer."""
    cast = install()
    rules = rule_set()
    plain = {
        "v": 1,
        "kind": "publish_rules",
        "revision": rules.revision,
        "document": rule_set_document(rules),
        "text": TEXT,
        "by": "monitor init",
        "at_ms": now_ms(),
        "reason": "first rule set",
    }
    async with cast.enforcer():
        await send(cast.settings, "control", plain)
        await until_answered(cast, 1)
    assert await in_force(cast.settings) == (1, rules.revision)


async def test_a_ledger_of_an_earlier_monitor_has_names_without_rules(install: Install):
    cast = install()
    entry = {"v": 1, "sequence": 0, "previous": "", "kind": "rules_activated", "at_ms": 1, "version": 1}
    await send(cast.settings, "decisions", {**entry, "revision": "abc", "by": "x", "reason": "", "rules": []})
    (old,) = await read_activations(cast.settings)
    assert old.revision == "abc"
    with pytest.raises(ConfigurationError, match="not its rules"):
        _ = old.rule_set


# Whoever publishes waits for the answer to his own act


async def test_publishing_returns_what_the_ledger_says(install: Install):
    cast = install()
    async with cast.enforcer():
        asked = act(rule_set(5))
        assert await publish(cast.settings, asked) == Answer(True, 1, asked.revision)
        assert await publish(cast.settings, act(rule_set(5))) == Answer(False, 1, asked.revision)
        with pytest.raises(
            MonitorError, match=r"refused the rule set .+ does not read .+ the one before stays"
        ):
            await publish(cast.settings, act(rule_set(pattern="(?=x)")))
        again = await publish(cast.settings, act(rule_set(6)))
        assert (again.changed, again.version) == (True, 2)
    assert len(await records(cast.settings, "control")) == 4


async def test_without_an_enforcer_publishing_says_what_will_happen(install: Install):
    cast = install()
    rules = rule_set()
    with pytest.raises(BrokerUnavailableError, match=r"no enforcer answered within 1 s.+ as soon as one is"):
        await publish(cast.settings, act(rules), seconds=1)
    async with cast.enforcer():
        await until_answered(cast, 1)
    assert await in_force(cast.settings) == (1, rules.revision)


async def test_what_is_too_large_is_not_sent(install: Install):
    cast = install()
    with pytest.raises(ConfigurationError, match="too large to be published"):
        await publish(cast.settings, act(rule_set(), text={"a.yml": "x" * ACT_BYTES}))
    assert await records(cast.settings, "control") == []


async def test_a_set_as_large_as_may_be_comes_into_force(settings: Settings):
    """On both brokers: the act, the ledger's entry and what is in force each hold all of it."""
    cast = Cast(settings)
    large = {"a.yml": "x" * (ACT_BYTES - 2_000)}
    async with cast.enforcer():
        answer = await publish(settings, act(rule_set(), text=large))
    assert answer.changed
    rules = await read_rules_in_force(settings)
    assert rules is not None
    assert rules.text == large
    (activation,) = await read_activations(settings)
    assert activation.text == large
    assert cast.fatal == []


async def test_going_back_finds_the_set(install: Install):
    cast = install()
    sets = [rule_set(5), rule_set(6), rule_set(5)]
    with pytest.raises(ConfigurationError, match="none before the one in force"):
        find_activation(await read_activations(cast.settings), None)
    async with cast.enforcer():
        await ask(cast, *map(act, sets))
        await until_answered(cast, 3)
    activations = await read_activations(cast.settings)
    assert find_activation(activations, None).version == 2
    assert find_activation(activations, sets[1].revision[:6].upper()).version == 2
    assert find_activation(activations, sets[0].revision).version == 3, "the newest of that revision"
    with pytest.raises(ConfigurationError, match="no revision begins with 'zz'"):
        find_activation(activations, "zz")
    with pytest.raises(ConfigurationError, match="no revision begins with ''"):
        find_activation(activations, "")
