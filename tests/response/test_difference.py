"""What a new rule set changes: field by field, and whose window begins anew."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from monitor.core.rules import AllowList, Match, Rule, RuleSet
from monitor.response.difference import complete_since, difference

MATCH = Match("status", "gte", 200)
RULE = Rule("r-1", "Many patients", "value_count", MATCH, ("principal",), 600_000, 50, counted="patient")
LIST = AllowList("a-1", "Nightly copy", "ops@clinic.test", 1_000)


def rules(*given: Rule, **more: Any) -> RuleSet:
    return RuleSet(given, **more)


def test_the_same_rules_in_another_order_are_no_difference():
    other = replace(RULE, id="r-2")
    assert difference(rules(RULE, other), rules(other, RULE)).empty


@pytest.mark.parametrize(
    ("changes", "anew"),
    [
        ({"threshold": 40}, False),
        ({"threshold": 60}, True),  # the window has held no more than 50
        ({"timespan_ms": 300_000}, False),
        ({"timespan_ms": 900_000}, True),
        ({"mode": "enforce"}, False),
        ({"action": "suspend", "ttl_ms": 1000}, False),
        ({"condition": Match("status", "gte", 300)}, True),
        ({"counted": "object"}, True),
        ({"group_by": ("patient",), "counted": "principal"}, True),
        ({"title": "Other words", "runbook": "x"}, False),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
def test_a_changed_rule_names_each_field_and_its_window(changes: dict[str, Any], anew: bool):
    found = difference(rules(RULE), rules(replace(RULE, **changes)))
    (change,) = found.changed
    assert change.changes == {name: (getattr(RULE, name), value) for name, value in changes.items()}
    assert change.anew is anew
    assert not found.empty
    assert (found.added, found.removed) == ((), ())


def test_rules_come_and_go():
    new = replace(RULE, id="r-2", counted="object")
    sharing = replace(RULE, id="r-3", threshold=20)
    found = difference(rules(RULE), rules(RULE, new, sharing))
    assert [(change.rule.id, change.anew) for change in found.added] == [("r-2", True), ("r-3", False)]
    assert [rule.id for rule in difference(rules(RULE, new), rules(RULE)).removed] == ["r-2"]
    assert all(change.anew for change in difference(rules(), rules(RULE)).added)


def test_allow_lists_and_classes():
    before = rules(
        RULE, allow_lists=(LIST,), classes=MappingProxyType({"gate/a": "bulk-sync", "gate/b": "x"})
    )
    later = replace(LIST, expires_ms=2_000)
    after = rules(
        RULE,
        allow_lists=(later, replace(LIST, id="a-2")),
        classes=MappingProxyType({"gate/b": "x", "gate/c": "partner"}),
    )
    found = difference(before, after)
    assert found.allow_lists_changed == ((LIST, later),)
    assert [entry.id for entry in found.allow_lists_added] == ["a-2"]
    assert found.classes == {"gate/a": ("bulk-sync", None), "gate/c": (None, "partner")}
    assert [entry.id for entry in difference(after, before).allow_lists_removed] == ["a-2"]


def test_a_window_is_complete_since_it_was_first_kept_so_large():
    larger, other = replace(RULE, threshold=80), replace(RULE, counted="object")
    assert complete_since([]) == {}
    assert complete_since([(rules(RULE), 10)]) == {"r-1": 10}
    assert complete_since([(rules(RULE), 10), (rules(replace(RULE, threshold=40)), 20)]) == {"r-1": 10}
    assert complete_since([(rules(RULE), 10), (rules(larger), 20)]) == {"r-1": 20}
    assert complete_since([(rules(RULE), 10), (rules(other), 20), (rules(RULE), 30)]) == {"r-1": 30}
