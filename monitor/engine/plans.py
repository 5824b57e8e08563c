"""Rule sets as the native store takes them: plain tuples, read once when a set comes into force."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from monitor.core.plan import AxisPlan, Counter, Plan, Span

_KINDS: Final = {"event_count": 0, "value_count": 1, "value_sum": 2}


def plan_spec(plan: Plan) -> tuple[Any, ...]:
    """Return (version, counters, axes); src/plan.hpp reads it and says what stands where."""
    counters = tuple(_counter(counter) for counter in plan.counters.values())
    return plan.record.version, counters, tuple(_axis(name, axis) for name, axis in plan.axes.items())


def _counter(counter: Counter) -> tuple[Any, ...]:
    return (
        counter.window_key,
        _KINDS[counter.kind],
        counter.born,
        counter.least,
        counter.capacity,
        counter.shortest_ms,
        counter.longest_ms,
        counter.horizon_ms,
        counter.keep_ms,
        counter.floor_ms,
        tuple(_span(span) for span in counter.spans),
    )


def _span(span: Span) -> tuple[Any, ...]:
    rules = tuple((planned.threshold, planned.latch, planned) for planned in span.rules)
    return span.timespan_ms, span.capacity, rules


def _axis(name: str, axis: AxisPlan) -> tuple[Any, ...]:
    return name, axis.horizon_ms, axis.keep_ms, axis.described(), axis
