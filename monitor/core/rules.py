"""What a rule is once it is read: plain data, and its one document form.

The document is what the `routed` log and the ledger carry, so that a replay needs no rule file.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Operator = Literal[
    "eq", "contains", "startswith", "endswith", "re", "cidr", "gt", "gte", "lt", "lte", "exists"
]
RuleKind = Literal["event_count", "value_count", "value_sum"]
Action = Literal["alert", "suspend", "revoke"]
Mode = Literal["enforce", "shadow"]

#: A field of every event that conditions of ours may compare, and rules may not: its time (epoch ms).
EVENT_TIME: Final = "time"
_DOCUMENT: Final = 2


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
class Base:
    """Events of one kind that a rule counts, and which of their fields it means.

    Where base rules call one thing by different names (`aliases`), a rule has several.
    """

    condition: Condition
    group_by: tuple[str, ...]
    counted: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One correlation rule.

    It counts, per value of `group_by`, the events that meet `condition` (`event_count`), their
    different values of `counted` (`value_count`) or the sum of it (`value_sum`) in
    ``(L - timespan_ms, L]``, L being the latest time among them, and finds where that is at least
    `threshold`.

    With `aliases`, each of them reads its own fields; `condition` is then any of theirs, and
    `group_by` and `counted` are what the rule calls the fields, except the first, which is always
    a field: events are routed by it.
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
    aliases: tuple[Base, ...] = ()
    #: The `window_key` that it would have without allow-lists, where it has some.
    unfiltered_key: str = ""

    @property
    def axis(self) -> str:
        """The field that events are routed by for this rule."""
        return self.group_by[0]

    @property
    def bases(self) -> tuple[Base, ...]:
        """The events that it counts, with the fields that it means in each."""
        return self.aliases or (Base(self.condition, self.group_by, self.counted),)

    @property
    def window_key(self) -> str:
        """What the rule counts, whatever its threshold, timespan and allow-lists: rules share the window."""
        return self.unfiltered_key or self.meaning

    @property
    def meaning(self) -> str:
        """What the rule counts, with its allow-lists; equal in all rules that share a window."""
        if not self.aliases:
            return _digest([self.kind, self.counted, list(self.group_by), condition_document(self.condition)])
        return _digest([self.kind, [_base_document(base) for base in self.aliases]])


@dataclass(frozen=True, slots=True)
class AllowList:
    """A filter: who is left out of some base rules, on whose word, until when.

    The conditions of the rules hold what it means; this is for people. `expires_ms` is an event
    time (epoch ms), exclusive: from it on the filter leaves out nobody.
    """

    id: str
    title: str
    owner: str
    expires_ms: int


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules that are active together, and the class of each credential that has one.

    `classes` is by `credential_subject`; others have the class of their kind
    (`events.DEFAULT_CLASSES`).
    """

    rules: tuple[Rule, ...]
    allow_lists: tuple[AllowList, ...] = ()
    classes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def axes(self) -> tuple[str, ...]:
        """The fields that intake must route by, sorted."""
        return tuple(sorted({rule.axis for rule in self.rules}))

    @property
    def revision(self) -> str:
        """Hash of the meaning of all rules and classes, whatever their order."""
        rules = sorted(rule.revision or rule_revision(rule) for rule in self.rules)
        return _digest([rules, sorted(self.classes.items())] if self.classes else rules)


def rule_revision(rule: Rule) -> str:
    """Return the hash of what a rule means; its words do not count."""
    return _digest(
        [
            rule.id,
            rule.meaning,
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
        plain["aliases"] = [_base_document(base) for base in rule.aliases]
        rules.append(plain)
    return {
        "version": _DOCUMENT,
        "rules": rules,
        "allow_lists": [asdict(entry) for entry in rule_set.allow_lists],
        "classes": dict(rule_set.classes),
    }


def rule_set_from_document(document: dict[str, Any]) -> RuleSet:
    """Return the rule set of a plain form; version 1 had no aliases, allow-lists and classes.

    Raises ValueError where the document is of a version that this code does not read.
    """
    if document.get("version") not in (1, _DOCUMENT):
        msg = (
            f"rule set document of version {document.get('version')!r}: this monitor reads 1 and {_DOCUMENT}"
        )
        raise ValueError(msg)
    rules = []
    for entry in document["rules"]:
        plain = dict(entry)
        plain["condition"] = condition_from_document(plain["condition"])
        plain["group_by"] = tuple(plain["group_by"])
        plain["falsepositives"] = tuple(plain["falsepositives"])
        plain["aliases"] = tuple(_base_from_document(base) for base in plain.get("aliases", ()))
        rules.append(Rule(**plain))
    allow_lists = tuple(AllowList(**entry) for entry in document.get("allow_lists", ()))
    return RuleSet(tuple(rules), allow_lists, MappingProxyType(dict(document.get("classes", {}))))


def _base_document(base: Base) -> list[Any]:
    return [condition_document(base.condition), list(base.group_by), base.counted]


def _base_from_document(document: Any) -> Base:
    condition, group_by, counted = document
    return Base(condition_from_document(condition), tuple(group_by), counted)


def _digest(plain: Any) -> str:
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
