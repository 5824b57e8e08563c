"""What each rule has led to so far: counted once per finding and per credential."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monitor.core.rules import Match, Rule, RuleSet, rule_revision
from monitor.response.history import Activation
from monitor.response.outcomes import read_outcomes
from tests.response.stage import Cast, finding, found

if TYPE_CHECKING:
    from tests.response.conftest import Install

MATCH = Match("status", "gte", 200)
RULE = Rule("r-1", "Many", "event_count", MATCH, ("principal",), 60_000, 5, action="suspend", mode="enforce")
OTHER = Rule("r-2", "Others", "event_count", MATCH, ("principal",), 60_000, 9)
RULES = RuleSet((RULE, OTHER))


def of(
    rule: Rule, number: int, principal: str, *, revision: str | None = None, **changes: Any
) -> dict[str, Any]:
    """Return a finding of a rule."""
    name = {"id": rule.id, "title": rule.title, "level": "high", "runbook": ""}
    return finding(number, principal, rule={**name, "revision": revision or rule_revision(rule)}, **changes)


async def judged(cast: Cast, *findings: dict[str, Any]) -> None:
    """Let an enforcer decide."""
    async with cast.enforcer() as enforcer:
        await enforcer.apply_findings(await found(cast.settings, *findings))


async def test_shadow_says_what_would_have_been(install: Install):
    cast = install(mode="shadow")
    await judged(
        cast,
        of(RULE, 1, "a", at_ms=1_000),
        of(RULE, 2, "a", at_ms=3_000),
        of(RULE, 3, "b", at_ms=2_000),
        of(RULE, 3, "b", at_ms=2_000),  # said again by a worker that died
        of(RULE, 4, "c", revision="before"),
    )
    outcome = (await read_outcomes(cast.settings, RULES, [])).by_rule["r-1"]
    assert (outcome.findings, outcome.earlier, len(outcome.subjects)) == (3, 1, 2)
    assert outcome.would == {"gate/a", "gate/b"}
    assert (outcome.did, outcome.held, outcome.last_ms) == (set(), set(), 3_000)


async def test_what_was_refused_and_what_was_held_stand_apart(install: Install):
    cast = install()
    await judged(cast, of(RULE, 1, "a"), of(RULE, 2, "b", at_ms=1_000), of(OTHER, 3, "a", action="alert"))
    outcomes = await read_outcomes(cast.settings, RULES, [])
    assert outcomes.kept_since_ms is None
    mine, other = outcomes.by_rule["r-1"], outcomes.by_rule["r-2"]
    assert (mine.did, mine.held, mine.would) == ({"gate/a"}, {"gate/b"}, set())
    assert (other.findings, other.did, other.would) == (1, set(), set())


async def test_since_when_a_rule_is_as_it_is_and_when_it_is_warm(install: Install):
    cast = install()
    kept: dict[str, Any] = {"by": "x", "reason": "", "back_to": None, "text": {}}
    from monitor.core.rules import rule_set_document

    activations = [
        Activation(1, "old", 5, document=None, **kept),
        Activation(2, "a", 10, document=rule_set_document(RuleSet((RULE,))), **kept),
        Activation(3, "b", 20, document=rule_set_document(RULES), **kept),
    ]
    outcomes = (await read_outcomes(cast.settings, RULES, activations)).by_rule
    assert (outcomes["r-1"].since_ms, outcomes["r-2"].since_ms) == (10, 20)
    # They count the same; the larger one's window is kept since the third set only.
    assert (outcomes["r-1"].warm_ms, outcomes["r-2"].warm_ms) == (60_010, 60_020)
