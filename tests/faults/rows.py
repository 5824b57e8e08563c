"""The rows of the fault table: each makes a schedule out of a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from monitor.stream.steps import STEPS

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.faults.plan import Plan

NAMES: Final = {
    1: "kill -9 at named steps",
    2: "kill -9 at random",
    3: "SIGTERM, one worker after the other",
    4: "workers join, leave and are killed",
    5: "SIGSTOP past the session timeout",
    6: "a broker of three is down, or frozen",
    7: "leaders and coordinators move",
    8: "errors to produce requests",
    9: "errors to commits",
    10: "a slow broker, and kill -9",
    11: "the webhook fails, is slow, drops, is down",
    12: "poison",
    13: "late and out of order",
    14: "the broker dies and comes back; compaction beside a zombie",
    15: "all of it mixed",
}

# Kafka's numbers of requests and errors.
_PRODUCE: Final = 0
_COMMIT: Final = 8
_PRODUCE_ERRORS: Final = (5, 6, 7, 19)  # leader not available, not leader, timed out, not enough replicas
_COMMIT_ERRORS: Final = (14, 15, 16, 27)  # loading, coordinator not available, not coordinator, rebalance
_TOPICS: Final = ("routed", "state", "findings", "decisions", "credentials", "status", "gate")
_NODES: Final = 3


def steps(plan: Plan, draw: random.Random) -> None:
    """Have each worker die at a step, the next one at another."""
    plan.seats = plan.workers = draw.choice((1, 1, 2))
    # Each seed goes on where the one before ended, so that every step has its turn.
    number = 4
    first = plan.seed * number * plan.seats
    queue = [STEPS[(first + at) % len(STEPS)] for at in range(number * plan.seats)]
    plan.seconds, plan.patience, plan.rate = 90.0, 6.0, 100.0
    plan.flush_seconds = 0.3  # the steps of a flush come in time for their patience
    for seat in range(plan.seats):
        plan.armed.append([f"{step}:{draw.choice((1, 1, 2, 3))}:KILL" for step in queue[seat :: plan.seats]])


def kills(plan: Plan, draw: random.Random) -> None:
    """Kill workers at random, also while they start."""
    plan.seats = plan.workers = draw.choice((1, 2, 3))
    plan.seconds = 14.0
    at = draw.uniform(1, 3)
    while at < plan.seconds:
        plan.add(at, "kill", draw.randrange(plan.seats))
        at += draw.uniform(1.5, 4)


def terminations(plan: Plan, draw: random.Random) -> None:
    """Restart all workers in order, twice."""
    plan.seats = plan.workers = 2
    plan.seconds = 14.0
    for at in range(1, 5):
        plan.add(3 * at + draw.uniform(-0.8, 0.8), "term", at % 2)


def membership(plan: Plan, draw: random.Random) -> None:
    """Have a second and a third worker come and go."""
    plan.seats, plan.workers, plan.static = 3, 1, False
    plan.seconds = 16.0
    there = [True, False, False]
    at = draw.uniform(1, 2)
    while at < plan.seconds:
        seat = draw.choice((1, 2)) if draw.random() < 0.75 else 0
        what = draw.choice(("leave", "kill")) if there[seat] else "join"
        if seat == 0:
            what = "kill"
        there[seat] = what != "leave"
        plan.add(at, what, seat)
        at += draw.uniform(2, 4)


def pauses(plan: Plan, draw: random.Random) -> None:
    """Have workers stand still until others have taken over, then go on as zombies."""
    plan.seats = plan.workers = 2
    plan.seconds = 16.0
    at = draw.uniform(2, 3)
    while at < plan.seconds - 2:
        seconds = draw.uniform(3.5, 6)
        plan.add(at, "stop", draw.randrange(2))
        plan.add(at + seconds, "continue", fault=False)
        at += seconds + draw.uniform(0.5, 2)
    # And one at a step: in the midst of a write.
    step = draw.choice(
        (
            "send.under-way",
            "detect.state-sent",
            "detect.before-state-commit",
            "detect.before-commit",
            "enforce.before-transaction",
            "enforce.in-transaction",
            "enforce.before-call",
        )
    )
    plan.armed = [[f"{step}:{draw.choice((2, 5))}:STOP"], []]
    plan.add(0, "armed", 0)


def outages(plan: Plan, draw: random.Random) -> None:
    """Take brokers away for seconds."""
    plan.seconds = 14.0
    if plan.seed % 3 == 0:
        plan.nodes = _NODES
        for at, node in ((2.0, draw.randrange(_NODES) + 1), (9.0, draw.randrange(_NODES) + 1)):
            plan.add(at, "power cut", node)
            plan.add(at + draw.uniform(3, 5), "restart", node, fault=False)
        return
    if plan.seed % 3 == 1:
        plan.nodes = 1
        for at in (2.5, 8.0):
            plan.add(at, "freeze", 1)
            plan.add(at + draw.uniform(2, 5), "thaw", 1, fault=False)
        return
    plan.broker = "embedded"
    at = draw.uniform(1.5, 2.5)
    while at < plan.seconds - 3:
        node, seconds = draw.randrange(_NODES) + 1, draw.uniform(1, 4)
        plan.add(at, "down", node)
        plan.add(at + seconds, "up", node, fault=False)
        at += seconds + draw.uniform(1, 2)


def moves(plan: Plan, draw: random.Random) -> None:
    """Move leaders and coordinators."""
    plan.broker = "embedded"
    plan.seconds = 14.0
    at = 1.5
    while at < plan.seconds:
        node = draw.randrange(_NODES) + 1
        if draw.random() < 0.7:
            plan.add(at, "lead", draw.choice(_TOPICS), draw.randrange(4), node)
        else:
            plan.add(at, "coordinate", draw.choice(("intake", "detect", "enforce")), node)
        at += draw.uniform(0.8, 2)


def produce_errors(plan: Plan, draw: random.Random) -> None:
    """Answer produce requests with errors."""
    plan.broker = "embedded"
    _errors(plan, draw, _PRODUCE, _PRODUCE_ERRORS)


def commit_errors(plan: Plan, draw: random.Random) -> None:
    """Answer commits with errors."""
    plan.broker = "embedded"
    _errors(plan, draw, _COMMIT, _COMMIT_ERRORS)


def _errors(plan: Plan, draw: random.Random, api: int, codes: tuple[int, ...]) -> None:
    plan.seconds = 14.0
    at = draw.uniform(1.5, 2.5)
    while at < plan.seconds:
        plan.add(at, "errors", api, [draw.choice(codes) for _ in range(draw.randint(1, 4))])
        at += draw.uniform(1.5, 3)
    plan.add(plan.seconds, "no errors", api, fault=False)


def slow(plan: Plan, draw: random.Random) -> None:
    """Slow the broker down, and kill the worker meanwhile."""
    plan.broker = "embedded"
    plan.seconds = 16.0
    for begin in (2.0, 9.0):
        for node in range(1, _NODES + 1):
            plan.add(begin, "rtt", node, draw.choice((300, 800, 1500)), fault=node == 1)
            plan.add(begin + 4, "rtt", node, 0, fault=False)
        plan.add(begin + draw.uniform(1, 4), "kill", 0)


def receivers(plan: Plan, draw: random.Random) -> None:
    """Have the webhook's receiver misbehave in each way, and the enforcer die meanwhile."""
    plan.seconds = 15.0
    modes = ["failing", "slow", "dropping", "down"]
    draw.shuffle(modes)
    for number, mode in enumerate(modes):
        begin = 1.0 + 3.4 * number
        plan.add(begin, "receiver", mode)
        plan.add(begin + 2.4, "receiver", "ok", fault=False)
    plan.add(draw.uniform(3, 12), "kill", 0)
    step = draw.choice(("enforce.before-call", "enforce.after-call", "enforce.accepted"))
    plan.armed = [[f"{step}:{draw.randint(1, 6)}:KILL"]]
    plan.add(0, "armed", 0)


def poison(plan: Plan, draw: random.Random) -> None:
    """Send what is no event, and kill the worker in the midst of it."""
    plan.poison = 0.25
    plan.seconds = 10.0
    plan.add(0, "poison")
    plan.add(draw.uniform(2, 5), "kill", 0)
    plan.add(draw.uniform(6, 9), "kill", 0)


def disorder(plan: Plan, draw: random.Random) -> None:
    """Send events late and out of order, and kill the worker in the midst of it."""
    plan.late = 0.4
    plan.seconds = 10.0
    plan.add(0, "late")
    plan.add(draw.uniform(2, 5), "kill", 0)
    plan.add(draw.uniform(6, 9), "kill", 0)


def restarts(plan: Plan, draw: random.Random) -> None:
    """Kill the broker and start it on its disk; compact `state` while a zombie holds an older one."""
    plan.nodes = 1
    plan.seats = plan.workers = 2
    plan.seconds = 18.0
    plan.add(draw.uniform(2, 3), "power cut", 1)
    plan.add(6.5, "restart", 1, fault=False)
    plan.add(10.0, "stop", draw.randrange(2))
    plan.add(11.0, "compact")
    plan.add(14.5, "compact", fault=False)
    plan.add(15.5, "continue", fault=False)


def mixed(plan: Plan, draw: random.Random) -> None:
    """Do everything that a real cluster allows, to three workers."""
    plan.seats = plan.workers = 3
    plan.seconds = 18.0
    mix(plan, draw, plan.seconds)


def mix(
    plan: Plan,
    draw: random.Random,
    seconds: float,
    pace: tuple[float, float] = (1.0, 3.0),
    killed: int | None = None,
) -> None:
    """Fill so many seconds with faults of workers and receivers; only the first `killed` seats are killed."""
    mortal = plan.seats if killed is None else killed
    at = draw.uniform(1, 2)
    while at < seconds - 1:
        kind, seat = draw.choice(("kill", "kill", "term", "stop", "receiver")), draw.randrange(mortal)
        if kind == "receiver":
            plan.add(at, kind, draw.choice(("failing", "slow", "dropping", "down")))
            plan.add(at + draw.uniform(1, 3), kind, "ok", fault=False)
        elif kind == "stop":
            plan.add(at, kind, draw.randrange(plan.seats))
            plan.add(at + draw.uniform(3.5, 6), "continue", fault=False)
        else:
            plan.add(at, kind, seat)
        at += draw.uniform(*pace)


ROWS: Final[dict[int, Callable[[Plan, random.Random], None]]] = {
    1: steps,
    2: kills,
    3: terminations,
    4: membership,
    5: pauses,
    6: outages,
    7: moves,
    8: produce_errors,
    9: commit_errors,
    10: slow,
    11: receivers,
    12: poison,
    13: disorder,
    14: restarts,
    15: mixed,
}
