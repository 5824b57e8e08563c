"""A rule set made ready for one routed partition: what to count for each event, by axis.

Rules that count the same thing share a `Counter` and its windows; within it, rules of one timespan
share a `Span` and its stragglers. A plan also remembers since when windows have been as large as they
are now: a rule whose window reaches further back is *warming*.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from monitor.core.conditions import compile_conditions, field_values
from monitor.core.events import AXIS_PRINCIPAL, COLUMN, FIELDS, MULTI_VALUED, PATIENTS, TENANT, RulesRecord
from monitor.core.rules import rule_revision, rule_set_from_document
from monitor.core.windows import NEVER, EventCountWindow, ValueCountWindow
from monitor.errors import InvariantError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from monitor.core.conditions import CompilePattern
    from monitor.core.events import Row
    from monitor.core.rules import Rule
    from monitor.core.windows import Value, Window

    #: What one event adds: per group (values of the further group fields) the values to count.
    Counted = Sequence[tuple[tuple[Value, ...], Sequence[Value]]]
    #: Sizes, each with the append time since when windows have been at least that large; both rise.
    Steps = list[list[int]]

#: (what is counted, group, timespan of a straggler or 0 for the main window)
SeriesKey = tuple[str, tuple["Value", ...], int]

_FORMAT: Final = 1
_ONCE: Final[Counted] = (((), ()),)


@dataclass(frozen=True, slots=True)
class PlannedRule:
    """A rule, with what judging it needs at hand."""

    rule: Rule
    revision: str
    threshold: int
    #: Names the rule's latch; another revision has a latch of its own.
    latch: str
    #: Append time (ms) since when its window has missed nothing: one that reaches back further warms.
    complete_ms: int


@dataclass(frozen=True, slots=True)
class Span:
    """The rules of one counter that share a timespan, and so their stragglers."""

    timespan_ms: int
    capacity: int
    rules: tuple[PlannedRule, ...]


@dataclass(frozen=True, slots=True)
class Counter:
    """One thing to count, whatever the thresholds and timespans."""

    window_key: str
    #: Version of the rule set since which this is counted without a break.
    born: int
    group_fields: tuple[str, ...]
    counted: str | None
    capacity: int
    spans: tuple[Span, ...]
    main_key: SeriesKey
    #: Returns what a matching row adds; raises where the row is malformed.
    read: Callable[[Row], Counted]

    def new_window(self, timespan_ms: int) -> Window:
        """Return an empty main window (timespan 0), or the straggler window of a timespan."""
        capacity = self.capacity_of(timespan_ms)
        return EventCountWindow(capacity) if self.counted is None else ValueCountWindow(capacity)

    def capacity_of(self, timespan_ms: int) -> int:
        """Return how much the main window (timespan 0) or a straggler holds; 0 where none is used."""
        if not timespan_ms:
            return self.capacity
        return max((span.capacity for span in self.spans if span.timespan_ms == timespan_ms), default=0)


class AxisPlan:
    """The counters of one axis, and which of them an event moves."""

    __slots__ = ("_by_mask", "_counters", "_mask")

    def __init__(
        self, counters: Sequence[Counter], rules: Sequence[Rule], compile_pattern: CompilePattern
    ) -> None:
        conditions = list(dict.fromkeys(rule.condition for rule in rules))
        self._mask = compile_conditions(conditions, compile_pattern)
        self._counters = [
            (1 << conditions.index(rule.condition), counter)
            for rule, counter in zip(rules, counters, strict=True)
        ]
        self._by_mask: dict[int, tuple[Counter, ...]] = {}

    def select(self, row: Row) -> tuple[Counter, ...]:
        """Return the counters whose condition a row meets, in the order of the rule set."""
        mask = self._mask(row)
        found = self._by_mask.get(mask)
        if found is None:
            found = tuple(counter for bit, counter in self._counters if mask & bit)
            self._by_mask[mask] = found
        return found


class Plan:
    """A compiled rule set with its history in one routed partition.

    `longest_ms` is the longest timespan, `horizon_ms` how far behind append time an event may be,
    `keep_ms` how long after its latest time a subject still matters. `floor_ms` is the time before
    which events were already too late under an earlier rule set.
    """

    def __init__(
        self,
        record: RulesRecord,
        *,
        allowed_lateness_ms: int,
        compile_pattern: CompilePattern,
        activated_ms: int,
        before: Plan | None = None,
        history: _History | None = None,
    ) -> None:
        self.record = record
        rules = rule_set_from_document(record.document).rules
        self.longest_ms = max((rule.timespan_ms for rule in rules), default=0)
        self.horizon_ms = self.longest_ms + allowed_lateness_ms
        self.keep_ms = self.horizon_ms + self.longest_ms
        by_key = {
            key: list(sharing)
            for key, sharing in groupby(
                sorted(rules, key=lambda rule: rule.window_key), key=lambda rule: rule.window_key
            )
        }
        if history is None:
            history = _History.following(before, by_key, self.longest_ms, record.version, activated_ms)
        self._history = history
        self.floor_ms = history.floor_ms
        self.counters = {key: self._counter(key, sharing) for key, sharing in by_key.items()}
        #: Latches in use; those of other revisions are forgotten.
        self.latches = frozenset(
            planned.latch
            for counter in self.counters.values()
            for span in counter.spans
            for planned in span.rules
        )
        self.axes: dict[str, AxisPlan] = {}
        for axis in {AXIS_PRINCIPAL: None} | {rule.axis: None for rule in rules}:
            first_of: dict[str, Rule] = {}
            for rule in rules:
                if rule.axis == axis:
                    first_of.setdefault(rule.window_key, rule)
            firsts = list(first_of.values())
            counters = [self.counters[rule.window_key] for rule in firsts]
            self.axes[axis] = AxisPlan(counters, firsts, compile_pattern)

    @classmethod
    def empty(cls, *, allowed_lateness_ms: int, compile_pattern: CompilePattern) -> Plan:
        """Return the plan before any rule set: it counts nothing, and is older than any version."""
        return cls(
            RulesRecord(-1, "", {"version": 1, "rules": []}),
            allowed_lateness_ms=allowed_lateness_ms,
            compile_pattern=compile_pattern,
            activated_ms=NEVER,
        )

    @classmethod
    def restore(
        cls, plain: Sequence[Any], *, allowed_lateness_ms: int, compile_pattern: CompilePattern
    ) -> Plan:
        """Return the plan of a snapshot; raises InvariantError for a form that this code does not read."""
        version, number, revision, document, *history = plain
        if version != _FORMAT:
            msg = f"rule set snapshot of version {version!r}: this monitor reads {_FORMAT}"
            raise InvariantError(msg)
        return cls(
            RulesRecord(number, revision, document),
            allowed_lateness_ms=allowed_lateness_ms,
            compile_pattern=compile_pattern,
            activated_ms=NEVER,
            history=_History(*history),
        )

    def snapshot(self) -> list[Any]:
        """Return a plain form that `restore` reads."""
        record, history = self.record, self._history
        head = [_FORMAT, record.version, record.revision, record.document]
        return [*head, history.floor_ms, history.longest, history.born, history.capacity]

    def _counter(self, key: str, rules: Sequence[Rule]) -> Counter:
        history = self._history
        spans = []
        for timespan in sorted({rule.timespan_ms for rule in rules}):
            sharing = [rule for rule in rules if rule.timespan_ms == timespan]
            spans.append(
                Span(
                    timespan,
                    max(rule.threshold for rule in sharing),
                    tuple(self._planned(rule, history.complete_ms(rule)) for rule in sharing),
                )
            )
        first = rules[0]
        capacity = max(span.capacity for span in spans)
        group_fields = first.group_by[1:]
        counted = first.counted if first.kind == "value_count" else None
        read = _reader(group_fields, counted)
        main_key: SeriesKey = (key, (), 0)
        return Counter(key, history.born[key], group_fields, counted, capacity, tuple(spans), main_key, read)

    @staticmethod
    def _planned(rule: Rule, complete_ms: int) -> PlannedRule:
        revision = rule.revision or rule_revision(rule)
        return PlannedRule(rule, revision, rule.threshold, f"{rule.id}/{revision}", complete_ms)


@dataclass(frozen=True, slots=True)
class _History:
    """Since when windows have been kept, and how large; all times are append times (ms)."""

    floor_ms: int
    longest: Steps
    born: dict[str, int]
    capacity: dict[str, Steps]

    @classmethod
    def following(
        cls,
        before: Plan | None,
        by_key: dict[str, list[Rule]],
        longest_ms: int,
        version: int,
        activated_ms: int,
    ) -> _History:
        """Return the history of a plan that replaces `before` at an append time."""
        past = cls(NEVER, [], {}, {}) if before is None else before._history  # noqa: SLF001 - same module
        floor_ms = past.floor_ms
        if before is not None and before.counters:
            floor_ms = max(floor_ms, activated_ms - before.horizon_ms)
        return cls(
            floor_ms,
            _extended(past.longest, longest_ms, activated_ms),
            {key: past.born.get(key, version) for key in by_key},
            {
                key: _extended(past.capacity.get(key, []), max(r.threshold for r in rules), activated_ms)
                for key, rules in by_key.items()
            },
        )

    def complete_ms(self, rule: Rule) -> int:
        """Return since when the windows that a rule looks at have missed nothing."""
        return max(
            _since(self.longest, rule.timespan_ms), _since(self.capacity[rule.window_key], rule.threshold)
        )


def _extended(steps: Steps, size: int, now_ms: int) -> Steps:
    """Return the steps after a change to a size; what a larger one held beyond it is forgotten."""
    since = next((since for held, since in steps if held >= size), now_ms)
    return [step for step in steps if step[0] < size] + [[size, since]]


def _since(steps: Steps, size: int) -> int:
    return next((since for held, since in steps if held >= size), NEVER)


def _reader(group_fields: tuple[str, ...], counted: str | None) -> Callable[[Row], Counted]:
    """Return what reads a row for a counter."""
    unknown = {*group_fields, *([counted] if counted else [])} - set(FIELDS)
    if unknown:
        msg = f"unknown fields {sorted(unknown)}"
        raise ValueError(msg)
    if group_fields:
        return lambda row: _by_group(row, group_fields, counted)
    if counted is None:
        return lambda _row: _ONCE
    if counted == "patient":
        return lambda row: (((), [p for p, _ in row[PATIENTS] or () if p.__class__ is str]),)
    if counted in MULTI_VALUED:
        return lambda row: (((), [v for v in field_values(counted, row) if _countable(v)]),)
    column = COLUMN[counted]
    return lambda row: (((), (row[column],) if _countable(row[column]) else ()),)


def _by_group(row: Row, group_fields: tuple[str, ...], counted: str | None) -> Counted:
    """Return what a row adds per group.

    A patient belongs to its own tenant, so the two vary together: patients of one tenant are not
    counted for another that the same event names.
    """
    groups: dict[tuple[Value, ...], list[Value]] = {}
    for patient, tenant in _facets(row):
        own = {"patient": patient, "tenant": tenant}
        group = tuple(own[name] if name in own else row[COLUMN[name]] for name in group_fields)
        if not all(_countable(value) for value in group):
            continue
        values = groups.setdefault(group, [])
        if counted is not None:
            value = own[counted] if counted in own else row[COLUMN[counted]]
            if _countable(value):
                values.append(value)
    return tuple(groups.items())


def _facets(row: Row) -> list[tuple[Any, Any]]:
    """Return the (patient, tenant) pairs of a row; its own tenant stands where a pair has none."""
    tenant = row[TENANT]
    pairs = [(patient, tenant if own is None else own) for patient, own in row[PATIENTS] or ()]
    if not pairs or (tenant is not None and all(own != tenant for _, own in pairs)):
        pairs.append((None, tenant))
    return pairs


def _countable(value: Any) -> bool:
    return value.__class__ is str or value.__class__ is int
