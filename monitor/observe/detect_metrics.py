"""The part of the catalogue about detection: what rules find, how near they come, what is held and saved."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from monitor.observe.feed_metrics import FeedMetrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from monitor.core.rules import Rule
    from monitor.core.subjects import Subjects

#: How long a highest value is told, at least; at most twice as long. Any usual scrape meets it.
_RECENT_SECONDS: Final = 60.0


class DetectMetrics(FeedMetrics):
    """Declares what the detect role exports."""

    def _declare_detect(self) -> None:
        self._of("detect")
        self._nearest = RecentHighest(_RECENT_SECONDS)
        self.apply_seconds = self._many(
            "apply_seconds",
            "Time from the arrival of an event in its source topic until it was applied, in seconds, over"
            " the events of a record as for its oldest one.",
        )
        self.rows_total = self._counter(
            "rows_total",
            "Routed rows: applied, duplicates (seen before), late (counted apart), lost_late (later"
            " than that), too_late (no effect), clamped (time ahead of Kafka's), replay_skipped,"
            " internal (judging failed).",
            "outcome",
        )
        for outcome in ("internal", "too_late", "clamped"):
            self.rows_total.labels(outcome)
        self.coverage_gaps_total = self._counter(
            "coverage_gaps_total",
            "Routed records ignored because one before them never arrived; their sender repeats them.",
        )
        self.findings_total = self._counter(
            "findings_total",
            "Limits found exceeded, by rule; `axis` is what the rule counts by (principal, patient…).",
            "rule",
            "mode",
            "action",
            "axis",
        )
        self.rule_closest_ratio = self._gauge(
            "rule_closest_ratio",
            "The highest value that a rule saw in the last one to two minutes, as a share of its threshold;"
            " 1 is a finding (or would be one, were it not told already). Looked at in each flush.",
            "rule",
        )
        self.finding_event_seconds = self._histogram(
            "finding_event_seconds",
            "Time of the event that exceeded a limit to its finding, in seconds: what an attack gains.",
        )
        self.finding_arrival_seconds = self._histogram(
            "finding_arrival_seconds",
            "Arrival of that event in its source topic to its finding, in seconds: our share of it.",
        )
        self.subjects = self._gauge("subjects", "Credentials, patients and others held in memory.")
        self.windows = self._gauge(
            "windows",
            "Windows of the subjects in use, at the last round over all; those at rest are packed.",
        )
        self.state_held_bytes = self._gauge(
            "state_held_bytes",
            "What the subjects hold: entries of windows and histories, and packed subjects at rest, at the"
            " last round over all. What Python needs beside it is in the memory of the process.",
        )
        self.flush_seconds = self._histogram(
            "flush_seconds", "Time to make a partition's state durable, in seconds."
        )
        self.unsaved_seconds = self._gauge(
            "unsaved_seconds",
            "Age of the oldest change to the state that is not durable yet, in seconds; 0 with none.",
        )
        self.state_bytes_total = self._counter("state_bytes_total", "Bytes written to the state topic.")
        self.recovery_seconds = self._gauge(
            "recovery_seconds", "Time that the last recovery of a partition took, in seconds."
        )
        self.recovery_records = self._gauge(
            "recovery_records", "State records that a recovery still has to read, by partition.", "partition"
        )

    def expect_findings(self, rules: Iterable[Rule]) -> None:
        """Export the findings of these rules from 0 on: a counter that begins with 1 has no increase."""
        for rule in rules:
            self.findings_total.labels(rule.id, rule.mode, rule.action, rule.axis)

    def tell_held(self, held: Iterable[Subjects]) -> None:
        """Export how much partitions hold, and how near rules came."""
        parts = list(held)
        self.subjects.set(sum(len(part) for part in parts))
        self.windows.set(sum(part.census.last.windows for part in parts))
        self.state_held_bytes.set(sum(part.census.last.packed_bytes for part in parts))
        self.tell_nearest()

    def saw_nearest(self, highest: Mapping[str, float], now: float | None = None) -> None:
        """Take how near rules came (rule id, share of its threshold), at `now` by the monotonic clock."""
        self._nearest.note(highest, time.monotonic() if now is None else now)

    def tell_nearest(self, now: float | None = None) -> None:
        """Export the nearest of the last minutes; a rule without any is left out."""
        self.rule_closest_ratio.clear()
        for rule, ratio in self._nearest.highest(time.monotonic() if now is None else now).items():
            self.rule_closest_ratio.labels(rule).set(ratio)

    def count_detect(self, counters: Mapping[str, int]) -> None:
        """Add what a detector counted since it was last asked."""
        for outcome, count in counters.items():
            if outcome == "gaps":
                self.coverage_gaps_total.inc(count)
            elif count:
                self.rows_total.labels(outcome).inc(count)


class RecentHighest:
    """The highest value by name of the stretch of time under way and the one before it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._stretch = -1
        self._now: dict[str, float] = {}
        self._before: dict[str, float] = {}

    def note(self, values: Mapping[str, float], now: float) -> None:
        """Take values, at `now` in seconds; time does not go back."""
        self._move(now)
        for name, value in values.items():
            self._now[name] = max(value, self._now.get(name, value))

    def highest(self, now: float) -> dict[str, float]:
        """Return the highest of each name."""
        self._move(now)
        return {
            name: max(found[name] for found in (self._before, self._now) if name in found)
            for name in sorted(self._before.keys() | self._now.keys())
        }

    def _move(self, now: float) -> None:
        stretch = int(now // self._seconds)
        if stretch != self._stretch:
            self._before = self._now if stretch == self._stretch + 1 else {}
            self._now, self._stretch = {}, stretch
