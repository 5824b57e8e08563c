"""Since when each counter of a routed partition has been kept, how far back, and how large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from monitor.core.windows import NEVER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.core.rules import Rule

    #: Sizes, each with the append time since when windows have been at least that large; both rise.
    Steps = list[list[int]]


@dataclass(frozen=True, slots=True)
class CounterHistory:
    """The past of one counter; all times are append times (ms).

    `born` is the version of the rule set since which it is kept without a break. Events before
    `floor_ms` were already too late under an earlier rule set. Until `meant_ms` it counted by other
    allow-lists than now.
    """

    born: int
    floor_ms: int
    meaning: str
    meant_ms: int
    timespans: Steps
    capacity: Steps

    @classmethod
    def begun(cls, rules: Sequence[Rule], version: int, activated_ms: int) -> CounterHistory:
        """Return the history of a counter that is new with a rule set."""
        longest, capacity = _sizes(rules)
        meaning = rules[0].meaning
        return cls(version, NEVER, meaning, NEVER, [[longest, activated_ms]], [[capacity, activated_ms]])

    def following(self, rules: Sequence[Rule], horizon_ms: int, activated_ms: int) -> CounterHistory:
        """Return the history after a change of the rules that look at it.

        `horizon_ms` is how far behind append time its events could be until now.
        """
        longest, capacity = _sizes(rules)
        meaning = rules[0].meaning
        return CounterHistory(
            self.born,
            max(self.floor_ms, activated_ms - horizon_ms),
            meaning,
            self.meant_ms if meaning == self.meaning else activated_ms,
            _extended(self.timespans, longest, activated_ms),
            _extended(self.capacity, capacity, activated_ms),
        )

    def complete_ms(self, rule: Rule) -> int:
        """Return since when what a rule looks at has missed nothing."""
        sizes = _since(self.timespans, rule.timespan_ms), _since(self.capacity, rule.threshold)
        return max(*sizes, self.meant_ms)

    def snapshot(self) -> list[Any]:
        """Return a plain form: the arguments of this class."""
        return [self.born, self.floor_ms, self.meaning, self.meant_ms, self.timespans, self.capacity]


def _sizes(rules: Sequence[Rule]) -> tuple[int, int]:
    return max(rule.timespan_ms for rule in rules), max(rule.threshold for rule in rules)


def _extended(steps: Steps, size: int, now_ms: int) -> Steps:
    """Return the steps after a change to a size; what a larger one held beyond it is forgotten."""
    since = next((since for held, since in steps if held >= size), now_ms)
    return [step for step in steps if step[0] < size] + [[size, since]]


def _since(steps: Steps, size: int) -> int:
    return next((since for held, since in steps if held >= size), NEVER)
