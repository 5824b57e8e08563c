"""The highest count that each rule ever saw per subject, over the windows of the core.

It follows the detector step by step, with windows large enough for any threshold and without latches:
a threshold T would have found a subject exactly where its highest count is at least T.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from monitor.core.events import (
    AXIS,
    AXIS_PRINCIPAL,
    PRINCIPAL_CLASS,
    SUBJECT,
    TIME,
    RulesRecord,
)
from monitor.core.plan import Plan
from monitor.core.rules import rule_set_document
from monitor.core.windows import NEVER
from monitor.intake.pseudonym import Pseudonyms
from monitor.intake.rows import compares_client_ip
from monitor.rulebook import compile_pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.core.events import Row, SourceId
    from monitor.core.plan import Counter, SeriesKey, Span
    from monitor.core.windows import Window
    from monitor.trial.reading import Reading

#: Counts above it are told as "at least": no threshold may be larger.
LARGEST_THRESHOLD: Final = 100_000
_SWEEP_ROWS: Final = 20_000


@dataclass(slots=True)
class Peak:
    """The highest count of one subject (and group) for one rule, and its credential's class then."""

    count: int
    at_ms: int
    credential_class: str | None


@dataclass(slots=True)
class Peaks:
    """By rule: (subject, group) → its highest count. Rows are counted as the detector counts them."""

    by_rule: dict[str, dict[tuple[str, tuple[Any, ...]], Peak]] = field(default_factory=dict)
    too_late: int = 0
    late: int = 0
    lost_late: int = 0
    internal: int = 0


class _Series:
    """One window of a subject, with the highest count of each timespan that looks at it."""

    __slots__ = ("best", "expires_ms", "window")

    def __init__(self, window: Window) -> None:
        self.window = window
        self.expires_ms = NEVER
        #: By rule: what this window has shown so far.
        self.best: dict[str, int] = {}


class PeaksJudge:
    """Takes rows as the detector does, and keeps highest counts instead of findings."""

    def __init__(self, reading: Reading, allowed_lateness_ms: int) -> None:
        rule_set = reading.rule_set
        # A window as large as the largest threshold counts the same as a smaller one up to it.
        wide = replace(
            rule_set, rules=tuple(replace(rule, threshold=LARGEST_THRESHOLD) for rule in rule_set.rules)
        )
        self._record = RulesRecord(1, rule_set.revision, rule_set_document(wide))
        self._allowed_lateness_ms = allowed_lateness_ms
        self._plan = Plan.empty(allowed_lateness_ms=allowed_lateness_ms, compile_pattern=compile_pattern)
        self._series: dict[tuple[str, str, SeriesKey], _Series] = {}
        self._peaks = Peaks({rule.id: {} for rule in rule_set.rules})
        self._group_names = {rule.id: rule.group_by[1:] for rule in rule_set.rules}
        compared = compares_client_ip(rule_set)
        self._hide_address = Pseudonyms.newest(reading.keys).client_ip if compared else None
        self._unswept = 0

    def begin(self, at_ms: int) -> None:
        """Put the rules in force."""
        self._plan = Plan(
            self._record,
            allowed_lateness_ms=self._allowed_lateness_ms,
            compile_pattern=compile_pattern,
            activated_ms=at_ms,
        )

    def take(self, source: SourceId, append_ms: int, rows: Sequence[Row]) -> None:  # noqa: ARG002
        """Count rows that came at one append time."""
        for row in rows:
            try:
                self._count(row, append_ms)
            except Exception:  # noqa: BLE001 - one crafted row must not stop the others, as in the detector
                self._peaks.internal += 1
        self._unswept += len(rows)
        if self._unswept >= _SWEEP_ROWS + len(self._series):
            self._unswept = 0
            self._sweep(append_ms)

    def result(self) -> Peaks:
        """Return the highest counts."""
        hide = self._hide_address
        if hide is not None:
            for rule, names in self._group_names.items():
                if "client_ip" in names:
                    at = names.index("client_ip")
                    self._peaks.by_rule[rule] = {
                        (subject, (*group[:at], hide(str(group[at])), *group[at + 1 :])): peak
                        for (subject, group), peak in self._peaks.by_rule[rule].items()
                    }
        return self._peaks

    def _count(self, row: Row, append_ms: int) -> None:
        axis_plan = self._plan.axes.get(row[AXIS])
        if axis_plan is None:
            return
        time_ms = min(row[TIME], append_ms)
        age_ms = append_ms - time_ms
        if age_ms > axis_plan.horizon_ms:
            self._peaks.too_late += 1
            return
        refused = False
        for counter, read_of in axis_plan.select(row):
            if age_ms > counter.horizon_ms:
                refused = True
                continue
            for group, values in read_of(row):
                self._add(row, counter, group, values, append_ms)
        if refused:
            self._peaks.too_late += 1

    def _add(
        self,
        row: Row,
        counter: Counter,
        group: tuple[Any, ...],
        values: Sequence[int],
        append_ms: int,
    ) -> None:
        time_ms = min(row[TIME], append_ms)
        expires_ms = time_ms + counter.keep_ms
        main = self._open(row, counter, (counter.window_key, group, 0), append_ms)
        before_ms = main.window.last
        main.window.add(time_ms, values)
        main.expires_ms = max(main.expires_ms, expires_ms)
        for span in counter.spans:
            if time_ms > before_ms - span.timespan_ms:
                self._note(main, span, row, group)
                continue
            self._peaks.late += 1
            key = (counter.window_key, group, span.timespan_ms)
            stragglers = self._open(row, counter, key, append_ms)
            if time_ms <= stragglers.window.last - span.timespan_ms:
                self._peaks.lost_late += 1
                continue
            stragglers.window.add(time_ms, values)
            stragglers.expires_ms = max(stragglers.expires_ms, expires_ms)
            self._note(stragglers, span, row, group)

    def _open(self, row: Row, counter: Counter, key: SeriesKey, append_ms: int) -> _Series:
        at = (row[AXIS], row[SUBJECT], key)
        series = self._series.get(at)
        if series is None or series.expires_ms < append_ms:
            series = self._series[at] = _Series(counter.new_window(key[2]))
        return series

    def _note(self, series: _Series, span: Span, row: Row, group: tuple[Any, ...]) -> None:
        """Raise the highest count of a timespan's rules where the window now shows more."""
        window, timespan_ms = series.window, span.timespan_ms
        for planned in span.rules:
            rule = planned.rule.id
            best = series.best.get(rule, 0)
            if best >= LARGEST_THRESHOLD or not window.reached(best + 1, timespan_ms):
                continue
            count = min(window.count_after(window.last - timespan_ms), LARGEST_THRESHOLD)
            series.best[rule] = count
            peaks = self._peaks.by_rule[rule]
            peak = peaks.get((row[SUBJECT], group))
            if peak is None or count > peak.count:
                of = row[PRINCIPAL_CLASS] if row[AXIS] == AXIS_PRINCIPAL else None
                peaks[row[SUBJECT], group] = Peak(count, window.last, of)

    def _sweep(self, append_ms: int) -> None:
        """Free windows that no longer matter, and entries that no rule looks back to."""
        for at, series in list(self._series.items()):
            if series.expires_ms < append_ms:
                del self._series[at]
            else:
                window_key, _, timespan_ms = at[2]
                longest_ms = timespan_ms or self._plan.counters[window_key].longest_ms
                series.window.trim(series.window.last - longest_ms)
