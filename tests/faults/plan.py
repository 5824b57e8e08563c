"""A schedule of faults: made from a seed alone, so that it can be replayed."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that happens `at` seconds after the traffic began; `fault` where it counts as one."""

    at: float
    what: str
    args: tuple[Any, ...] = ()
    fault: bool = True


@dataclass(slots=True)
class Plan:
    """One run: what it runs on, what happens, and for how long.

    `broker` is ``kafka`` or ``embedded`` (three nodes that can be told to fail); with `nodes` the real one is a
    cluster of so many that the run has for itself, and may kill. `armed` are the steps, by seat, at which its workers
    die, one after the other (monitor.stream.steps). With `watch` it is noted how long after each kill all
    workers are ready again. With `patience` the traffic goes on until every step has had its turn: a worker
    that is ready for so many seconds and does not reach its own is killed.
    """

    row: int
    seed: int
    broker: str = "kafka"
    nodes: int = 0
    seconds: float = 10.0
    rate: float = 250.0
    workers: int = 1
    seats: int = 1
    static: bool = False
    poison: float = 0.01
    late: float = 0.03
    patients: int = 1_000_000
    flush_seconds: float = 1.0
    ttl_seconds: float = 4.0
    watch: bool = False
    patience: float = 0.0
    acts: list[Act] = field(default_factory=list)
    armed: list[list[str]] = field(default_factory=list)

    def add(self, at: float, what: str, *args: Any, fault: bool = True) -> None:
        """Have something happen."""
        self.acts.append(Act(round(at, 2), what, args, fault))

    def plain(self) -> dict[str, Any]:
        """Return it for a report."""
        return asdict(self)


def make(row: int, seed: int, rows: dict[int, Callable[[Plan, random.Random], None]]) -> Plan:
    """Return the plan of a row for a seed: the same for the same numbers."""
    draw = random.Random(f"{row}/{seed}")
    plan = Plan(row, seed)
    plan.flush_seconds = draw.choice((0.3, 1.0, 3.0))
    plan.ttl_seconds = draw.choice((3.0, 5.0))
    plan.static = draw.random() < 0.5
    plan.rate = draw.choice((100.0, 200.0, 400.0))
    rows[row](plan, draw)
    plan.acts.sort(key=lambda act: act.at)
    return plan
