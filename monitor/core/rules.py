"""What a rule is once it is read: plain data, and its one document form.

The document is what the `routed` log and the ledger carry, so that a replay needs no rule file.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Operator = Literal[
    "eq", "contains", "startswith", "endswith", "re", "cidr", "gt", "gte", "lt", "lte", "exists"
]
RuleKind = Literal["event_count", "value_count"]
Action = Literal["alert", "suspend", "revoke"]
Mode = Literal["enforce", "shadow"]


@dataclass(frozen=True, slots=True)
class Match:
    """`field` compared with `value`.

    A field that is absent matches only ``exists: false``. A field of several values matches where
    any of them does. Text compares without regard to case, as Sigma has it, unless `cased`.
    """

    field: str
    operator: Operator
    value: str | int | bool
    cased: bool = False


@dataclass(frozen=True, slots=True)
class AllOf:
    """True where every part is; true of no parts."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """True where at least one part is; false of no parts."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """True where its part is not."""

    part: Condition


Condition = Match | AllOf | AnyOf | Negation


@dataclass(frozen=True, slots=True)
class Rule:
    """One correlation rule.

    It counts, per value of `group_by`, the events that meet `condition` (`event_count`) or their
    different values of `counted` (`value_count`) in ``(L - timespan_ms, L]``, L being the latest
    time among them, and finds where the count is at least `threshold`.
    """

    id: str
    title: str
    kind: RuleKind
    condition: Condition
    group_by: tuple[str, ...]
    timespan_ms: int
    threshold: int
    counted: str | None = None
    level: str = "medium"
    action: Action = "alert"
    mode: Mode = "shadow"
    ttl_ms: int | None = None
    description: str = ""
    falsepositives: tuple[str, ...] = ()
    runbook: str = ""
    revision: str = field(default="", compare=False)

    @property
    def axis(self) -> str:
        """The field that events are routed by for this rule."""
        return self.group_by[0]

    @property
    def window_key(self) -> str:
        """What the rule counts, whatever its threshold and timespan: rules share the window."""
        return _digest([self.kind, self.counted, list(self.group_by), condition_document(self.condition)])


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules that are active together."""

    rules: tuple[Rule, ...]

    @property
    def axes(self) -> tuple[str, ...]:
        """The fields that intake must route by, sorted."""
        return tuple(sorted({rule.axis for rule in self.rules}))

    @property
    def revision(self) -> str:
        """Hash of the meaning of all rules, whatever their order."""
        return _digest(sorted(rule.revision or rule_revision(rule) for rule in self.rules))


def rule_revision(rule: Rule) -> str:
    """Return the hash of what a rule means; its words do not count."""
    return _digest(
        [
            rule.id,
            rule.window_key,
            rule.timespan_ms,
            rule.threshold,
            rule.action,
            rule.mode,
            rule.ttl_ms,
        ]
    )


def condition_document(condition: Condition) -> Any:
    """Return the plain form of a condition."""
    match condition:
        case Match():
            return [condition.field, condition.operator, condition.value, condition.cased]
        case AllOf():
            return {"all": [condition_document(part) for part in condition.parts]}
        case AnyOf():
            return {"any": [condition_document(part) for part in condition.parts]}
        case Negation():
            return {"not": condition_document(condition.part)}


def condition_from_document(document: Any) -> Condition:
    """Return the condition of a plain form; the inverse of `condition_document`."""
    if isinstance(document, list | tuple):
        name, operator, value, cased = document
        return Match(name, operator, value, cased)
    if "all" in document:
        return AllOf(tuple(condition_from_document(part) for part in document["all"]))
    if "any" in document:
        return AnyOf(tuple(condition_from_document(part) for part in document["any"]))
    return Negation(condition_from_document(document["not"]))


def rule_set_document(rule_set: RuleSet) -> dict[str, Any]:
    """Return the plain form of a rule set (JSON and msgpack can carry it)."""
    rules = []
    for rule in rule_set.rules:
        plain = asdict(rule)
        plain["condition"] = condition_document(rule.condition)
        plain["revision"] = rule.revision or rule_revision(rule)
        rules.append(plain)
    return {"version": 1, "rules": rules}


def rule_set_from_document(document: dict[str, Any]) -> RuleSet:
    """Return the rule set of a plain form.

    Raises ValueError where the document is of a version that this code does not read.
    """
    if document.get("version") != 1:
        msg = f"rule set document of version {document.get('version')!r}: this monitor reads 1"
        raise ValueError(msg)
    rules = []
    for entry in document["rules"]:
        plain = dict(entry)
        plain["condition"] = condition_from_document(plain["condition"])
        plain["group_by"] = tuple(plain["group_by"])
        plain["falsepositives"] = tuple(plain["falsepositives"])
        rules.append(Rule(**plain))
    return RuleSet(tuple(rules))


def _digest(plain: Any) -> str:
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
