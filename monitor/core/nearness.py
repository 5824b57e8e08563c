"""How near its threshold each rule came: looked at where a subject is saved, not at each event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.core.sum_window import SumWindow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monitor.core.plan import Plan
    from monitor.core.subject import Subject


class Nearness:
    """The highest value that each rule saw since it was last asked.

    What a rule sees is what lies in its timespan up to the latest event of a subject (`L`). Windows keep
    no more than the largest threshold that looks at them, so 1 may stand for more.
    """

    __slots__ = ("_highest",)

    def __init__(self) -> None:
        #: By what is counted and the timespan, which rules share.
        self._highest: dict[tuple[str, int], int] = {}

    def look(self, subject: Subject, plan: Plan) -> None:
        """Look at all windows of a subject whose events are all counted."""
        if subject.epoch != plan.record.version:
            return  # its windows are those of an older rule set until the next event
        highest = self._highest
        for (window_key, _, straggler_ms), series in subject.series.items():
            window = series.window
            # More than all that is in the window does not lie in a part of it: most need no search.
            most = window.capacity if window.__class__ is SumWindow else len(window)
            for span in plan.counters[window_key].spans:
                timespan_ms = span.timespan_ms
                seen = highest.get((window_key, timespan_ms), 0)
                if most <= seen or (straggler_ms and straggler_ms != timespan_ms):
                    continue
                held = window.count_after(window.last - timespan_ms)
                if held > seen:
                    highest[window_key, timespan_ms] = held

    def take(self, plan: Plan) -> dict[str, float]:
        """Return what was seen since the last call, as shares of the thresholds of a rule set, by rule.

        A rule that saw nothing is not in it.
        """
        highest, self._highest = self._highest, {}
        return shares(highest, plan)


def shares(highest: Mapping[tuple[str, int], int], plan: Plan) -> dict[str, float]:
    """Return the highest values, by what is counted and the timespan, as shares of thresholds, by rule."""
    return {
        planned.rule.id: highest[key, span.timespan_ms] / planned.threshold
        for key, counter in plan.counters.items()
        for span in counter.spans
        if (key, span.timespan_ms) in highest
        for planned in span.rules
    }
