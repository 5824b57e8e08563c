"""What changes when one rule set takes the place of another: rules, allow-lists, classes, windows."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from monitor.core.events import RulesRecord
from monitor.core.plan import Plan
from monitor.core.rules import Rule, RuleSet, condition_document, rule_set_document
from monitor.rulebook import compile_pattern

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monitor.core.rules import AllowList

_COMPARED: Final = tuple(field.name for field in fields(Rule) if field.name not in ("id", "revision"))


@dataclass(frozen=True, slots=True)
class RuleChange:
    """A rule that both sets have: each field that differs, before and after.

    `anew` says that its window begins with the new set: it is warming for one timespan.
    """

    rule: Rule
    changes: Mapping[str, tuple[Any, Any]]
    anew: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """What a new rule set changes; `added` rules come with whether their window begins anew.

    A rule that is added may look at a window that another one keeps already.
    """

    added: tuple[RuleChange, ...]
    removed: tuple[Rule, ...]
    changed: tuple[RuleChange, ...]
    allow_lists_added: tuple[AllowList, ...]
    allow_lists_removed: tuple[AllowList, ...]
    allow_lists_changed: tuple[tuple[AllowList, AllowList], ...]
    #: By credential: the class before and after; None where none is named.
    classes: Mapping[str, tuple[str | None, str | None]]

    @property
    def empty(self) -> bool:
        """Whether both sets say the same."""
        return not (
            self.added
            or self.removed
            or self.changed
            or self.allow_lists_added
            or self.allow_lists_removed
            or self.allow_lists_changed
            or self.classes
        )


def difference(before: RuleSet, after: RuleSet) -> Difference:
    """Return what `after` changes where it takes the place of `before`."""
    old, new = {rule.id: rule for rule in before.rules}, {rule.id: rule for rule in after.rules}
    # Only which of the two moments a window has been complete since matters, not when they are.
    complete = complete_since([(before, 0), (after, 1)])
    changed = [
        RuleChange(rule, found, complete[rule.id] > 0)
        for rule in after.rules
        if rule.id in old and (found := _changes(old[rule.id], rule))
    ]
    old_lists = {allow_list.id: allow_list for allow_list in before.allow_lists}
    new_lists = {allow_list.id: allow_list for allow_list in after.allow_lists}
    return Difference(
        added=tuple(
            RuleChange(rule, {}, complete[rule.id] > 0) for rule in after.rules if rule.id not in old
        ),
        removed=tuple(rule for rule in before.rules if rule.id not in new),
        changed=tuple(changed),
        allow_lists_added=tuple(entry for entry in after.allow_lists if entry.id not in old_lists),
        allow_lists_removed=tuple(entry for entry in before.allow_lists if entry.id not in new_lists),
        allow_lists_changed=tuple(
            (old_lists[entry.id], entry)
            for entry in after.allow_lists
            if entry.id in old_lists and old_lists[entry.id] != entry
        ),
        classes={
            subject: (before.classes.get(subject), after.classes.get(subject))
            for subject in sorted({*before.classes, *after.classes})
            if before.classes.get(subject) != after.classes.get(subject)
        },
    )


def complete_since(activations: Sequence[tuple[RuleSet, int]]) -> dict[str, int]:
    """Return since when the window of each rule of the last set has missed nothing (epoch ms), by rule id.

    `activations` are all sets and when each came into force, in order: windows outlive a change where
    they count the same.
    """
    plan: Plan | None = None
    for version, (rule_set, at_ms) in enumerate(activations):
        plan = Plan(
            RulesRecord(version, rule_set.revision, rule_set_document(rule_set)),
            allowed_lateness_ms=0,
            compile_pattern=compile_pattern,
            activated_ms=at_ms,
            before=plan,
        )
    if plan is None:
        return {}
    return {
        planned.rule.id: planned.complete_ms
        for counter in plan.counters.values()
        for span in counter.spans
        for planned in span.rules
    }


def plain_field(value: Any) -> Any:
    """Return a rule's field as JSON can carry it."""
    if isinstance(value, str | int | None):
        return value
    if isinstance(value, tuple):
        return [plain_field(part) for part in value]
    if hasattr(value, "group_by"):
        return {
            "condition": condition_document(value.condition),
            "group_by": list(value.group_by),
            "counted": value.counted,
        }
    return condition_document(value)


def _changes(old: Rule, new: Rule) -> dict[str, tuple[Any, Any]]:
    return {
        name: (getattr(old, name), getattr(new, name))
        for name in _COMPARED
        if getattr(old, name) != getattr(new, name)
    }
