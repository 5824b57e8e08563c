"""A rule set made ready for one routed partition: what to count for each event, by axis.

Rules that count the same thing share a `Counter` and its windows; within it, rules of one timespan
share a `Span` and its stragglers. A plan also remembers since when windows have been as large as they
are now: a rule whose window reaches further back is *warming*.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from monitor.core.conditions import compile_conditions
from monitor.core.events import AXIS_PRINCIPAL, RulesRecord
from monitor.core.history import CounterHistory
from monitor.core.leaves import describe
from monitor.core.readers import batch_reader, reader, reading
from monitor.core.rules import rule_revision, rule_set_from_document
from monitor.core.windows import LARGEST_AMOUNT, NEVER, EventCountWindow, SumWindow, ValueCountWindow
from monitor.errors import InvariantError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from monitor.core.conditions import CompilePattern
    from monitor.core.events import Row
    from monitor.core.leaves import Leaf
    from monitor.core.readers import Reader, Value
    from monitor.core.rules import Base, Rule, RuleKind
    from monitor.core.windows import Window

#: (what is counted, group, timespan of a straggler or 0 for the main window)
SeriesKey = tuple[str, tuple["Value", ...], int]

#: Fewer events than this do not wait for each other.
FEW: Final = 16

_FORMAT: Final = 2
_FORMAT_BEFORE: Final = 1
_WINDOWS: Final[dict[RuleKind, type[Window]]] = {
    "event_count": EventCountWindow,
    "value_count": ValueCountWindow,
    "value_sum": SumWindow,
}


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
    #: The smallest and the largest threshold of its rules.
    least: int
    capacity: int
    rules: tuple[PlannedRule, ...]


@dataclass(frozen=True, slots=True)
class Counter:
    """One thing to count, whatever the thresholds and timespans.

    Its rules look back `shortest_ms` at least and `longest_ms` at most. An event more than `horizon_ms` behind append time, or
    before `floor_ms`, is too late for it; a window matters until append time is `keep_ms` past its
    latest event.
    """

    window_key: str
    #: Version of the rule set since which this is counted without a break.
    born: int
    kind: RuleKind
    #: The smallest and the largest threshold of its rules.
    least: int
    capacity: int
    spans: tuple[Span, ...]
    main_key: SeriesKey
    shortest_ms: int
    longest_ms: int
    horizon_ms: int
    keep_ms: int
    floor_ms: int

    def new_window(self, timespan_ms: int) -> Window:
        """Return an empty main window (timespan 0), or the straggler window of a timespan."""
        return _WINDOWS[self.kind](self.capacity_of(timespan_ms))

    def capacity_of(self, timespan_ms: int) -> int:
        """Return how much the main window (timespan 0) or a straggler holds; 0 where none is used."""
        if not timespan_ms:
            return self.capacity
        return max((span.capacity for span in self.spans if span.timespan_ms == timespan_ms), default=0)


class AxisPlan:
    """The counters of one axis, and which of them an event moves.

    `horizon_ms` and `keep_ms` are the longest of its counters': later a subject does not matter. The
    rest says which events may wait (see `batching`): `least` and `least_sum` are the smallest thresholds
    of counts and of sums.
    """

    __slots__ = (
        "_by_mask",
        "_compile_pattern",
        "_conditions",
        "_counters",
        "batch_readers",
        "counts_tenants",
        "floor_ms",
        "horizon_ms",
        "keep_ms",
        "least",
        "least_sum",
        "mask",
        "shortest_horizon_ms",
        "shortest_keep_ms",
        "touchy",
        "touchy_mask",
        "waits",
    )

    def __init__(
        self,
        counters: Sequence[tuple[Counter, Sequence[Base]]],
        *,
        allowed_lateness_ms: int,
        compile_pattern: CompilePattern,
    ) -> None:
        longest_ms = max((counter.longest_ms for counter, _ in counters), default=0)
        self.horizon_ms = longest_ms + allowed_lateness_ms
        self.keep_ms = self.horizon_ms + longest_ms
        self._counters = counters
        self._conditions = list(dict.fromkeys(base.condition for _, bases in counters for base in bases))
        self._compile_pattern = compile_pattern
        #: Which conditions a row meets: a bit each.
        self.mask = compile_conditions(self._conditions, compile_pattern)
        self._by_mask: dict[int, tuple[tuple[Counter, Reader], ...]] = {}
        # Every field is tried now, not at the first event that meets it.
        self.selected((1 << len(self._conditions)) - 1)
        # Events that wait must be timely for every counter, and none may expire meanwhile.
        of = [counter for counter, _ in counters]
        self.shortest_horizon_ms = min((counter.horizon_ms for counter in of), default=self.horizon_ms)
        self.shortest_keep_ms = min((counter.keep_ms for counter in of), default=self.keep_ms)
        self.floor_ms = max((counter.floor_ms for counter in of), default=NEVER)
        several = {counter.window_key for counter, bases in counters if len(bases) > 1}
        #: Counters that a few events fill, or that one event moves in several ways: what moves them
        #: does not wait.
        self.touchy = frozenset(
            counter.window_key for counter in of if counter.least <= FEW or counter.window_key in several
        )
        self.touchy_mask = sum(
            1 << bit
            for bit, condition in enumerate(self._conditions)
            if any(
                counter.window_key in self.touchy and any(base.condition == condition for base in bases)
                for counter, bases in counters
            )
        )
        calm = [counter for counter in of if counter.window_key not in self.touchy]
        self.least_sum = min((c.least for c in calm if c.kind == "value_sum"), default=LARGEST_AMOUNT)
        self.least = min((c.least for c in calm if c.kind != "value_sum"), default=LARGEST_AMOUNT)
        self.waits = bool(calm)
        #: Whether an event adds one for each practice that it names, beside those of its patients.
        self.counts_tenants = any(
            "tenant" in (*base.group_by, base.counted) for _, bases in counters for base in bases
        )
        self.batch_readers = {
            counter.window_key: batch_reader(counter.kind, bases[0]) for counter, bases in counters
        }

    def select(self, row: Row) -> tuple[tuple[Counter, Reader], ...]:
        """Return the counters that a row moves, in the order of the rule set, and what reads it for each."""
        mask = self.mask(row)
        return self._by_mask.get(mask) or self.selected(mask)

    def selected(self, mask: int) -> tuple[tuple[Counter, Reader], ...]:
        """Return the counters of what `mask` returned, and what reads a row for each."""
        found = self._by_mask.get(mask)
        if found is None:
            found = tuple((counter, reader(counter.kind, bases)) for counter, bases in self._chosen(mask))
            self._by_mask[mask] = found
        return found

    def described(self) -> tuple[Callable[[Row], int], tuple[Leaf, ...]]:
        """Return `mask`, and what decides it (see `leaves.describe`)."""
        return describe(self._conditions, self._compile_pattern)

    def readings(self, mask: int) -> list[tuple[str, int, int, bool, Reader]]:
        """Return `selected` as the native store takes it: what is counted, and how (see `readers.reading`)."""
        return [
            (counter.window_key, *reading(counter.kind, bases), reader(counter.kind, bases))
            for counter, bases in self._chosen(mask)
        ]

    def _chosen(self, mask: int) -> list[tuple[Counter, list[Base]]]:
        met = {condition for bit, condition in enumerate(self._conditions) if mask >> bit & 1}
        chosen = [
            (counter, [base for base in bases if base.condition in met]) for counter, bases in self._counters
        ]
        return [(counter, bases) for counter, bases in chosen if bases]


class Plan:
    """A compiled rule set with its history in one routed partition."""

    def __init__(
        self,
        record: RulesRecord,
        *,
        allowed_lateness_ms: int,
        compile_pattern: CompilePattern,
        activated_ms: int,
        before: Plan | None = None,
        history: Mapping[str, CounterHistory] | None = None,
    ) -> None:
        self.record = record
        self._allowed_lateness_ms = allowed_lateness_ms
        rules = rule_set_from_document(record.document).rules
        by_key = {
            key: list(sharing)
            for key, sharing in groupby(
                sorted(rules, key=lambda rule: rule.window_key), key=lambda rule: rule.window_key
            )
        }
        if history is None:
            history = {
                key: before.following(key, sharing, activated_ms)
                if before is not None and key in before.counters
                else CounterHistory.begun(sharing, record.version, activated_ms)
                for key, sharing in by_key.items()
            }
        self._history = history
        self.counters: dict[str, Counter] = {
            key: self._counter(key, sharing) for key, sharing in by_key.items()
        }
        #: Latches in use; those of other revisions are forgotten.
        self.latches = frozenset(
            planned.latch
            for counter in self.counters.values()
            for span in counter.spans
            for planned in span.rules
        )
        self.axes: dict[str, AxisPlan] = {}
        for axis in {AXIS_PRINCIPAL: None} | {rule.axis: None for rule in rules}:
            bases: dict[str, Sequence[Base]] = {}
            for rule in rules:
                if rule.axis == axis:
                    bases.setdefault(rule.window_key, rule.bases)
            self.axes[axis] = AxisPlan(
                [(self.counters[key], of_rule) for key, of_rule in bases.items()],
                allowed_lateness_ms=allowed_lateness_ms,
                compile_pattern=compile_pattern,
            )

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
        """Return the plan of a snapshot, of this version or the one before.

        Raises InvariantError for a form that this code does not read.
        """
        version, number, revision, document, *history = plain
        if version == _FORMAT:
            (plain_history,) = history
        elif version == _FORMAT_BEFORE:
            # The floor and the timespans were those of all counters together.
            floor_ms, longest, born, capacity = history
            # and what a window counted was its key.
            plain_history = {key: [born[key], floor_ms, key, NEVER, longest, capacity[key]] for key in born}
        else:
            msg = (
                f"rule set snapshot of version {version!r}: this monitor reads"
                f" {_FORMAT_BEFORE} and {_FORMAT}; was it downgraded?"
            )
            raise InvariantError(msg)
        return cls(
            RulesRecord(number, revision, document),
            allowed_lateness_ms=allowed_lateness_ms,
            compile_pattern=compile_pattern,
            activated_ms=NEVER,
            history={key: CounterHistory(*past) for key, past in plain_history.items()},
        )

    def snapshot(self) -> list[Any]:
        """Return a plain form that `restore` reads."""
        record = self.record
        history = {key: past.snapshot() for key, past in self._history.items()}
        return [_FORMAT, record.version, record.revision, record.document, history]

    def following(self, key: str, rules: Sequence[Rule], activated_ms: int) -> CounterHistory:
        """Return the history of a counter of this plan under other rules."""
        return self._history[key].following(rules, self.counters[key].horizon_ms, activated_ms)

    def _counter(self, key: str, rules: Sequence[Rule]) -> Counter:
        if any(rule.meaning != rules[0].meaning for rule in rules):
            msg = "rules that count different events share a window"
            raise ValueError(msg)
        past = self._history[key]
        spans = []
        for timespan in sorted({rule.timespan_ms for rule in rules}):
            sharing = [rule for rule in rules if rule.timespan_ms == timespan]
            spans.append(
                Span(
                    timespan,
                    min(rule.threshold for rule in sharing),
                    max(rule.threshold for rule in sharing),
                    tuple(self._planned(rule, past.complete_ms(rule)) for rule in sharing),
                )
            )
        longest_ms = spans[-1].timespan_ms
        horizon_ms = longest_ms + self._allowed_lateness_ms
        return Counter(
            window_key=key,
            born=past.born,
            kind=rules[0].kind,
            least=min(span.least for span in spans),
            capacity=max(span.capacity for span in spans),
            spans=tuple(spans),
            main_key=(key, (), 0),
            shortest_ms=spans[0].timespan_ms,
            longest_ms=longest_ms,
            horizon_ms=horizon_ms,
            keep_ms=horizon_ms + longest_ms,
            floor_ms=past.floor_ms,
        )

    @staticmethod
    def _planned(rule: Rule, complete_ms: int) -> PlannedRule:
        revision = rule.revision or rule_revision(rule)
        return PlannedRule(rule, revision, rule.threshold, f"{rule.id}/{revision}", complete_ms)
