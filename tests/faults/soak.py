"""`make soak`: three workers under mixed faults for an hour; does one that is never killed grow?

With ``--kill-every 20`` a worker is killed at random every 20 s instead: how long until all are ready again?
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.faults.crew import ROOT
from tests.faults.plan import Plan
from tests.faults.rows import mix
from tests.faults.world import World
from tests.rig import broker

if TYPE_CHECKING:
    from tests.faults.world import Result

WORKERS: Final = 3
RATE: Final = 60.0
#: So few that all are there soon: what grows after that is no subject.
_PATIENTS: Final = 500
#: A worker's memory settles in its first minutes.
_WARM_SHARE: Final = 0.2
#: Bytes an hour that a worker which is never killed may grow by, and the minutes from which on a slope tells.
MOST_GROWTH: Final = 48 << 20
_TELLING_MINUTES: Final = 30.0


def main() -> int:
    """Do it; return 1 where something did not hold."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="of the schedule (default: 1)")
    parser.add_argument("--kill-every", type=float, help="only kill -9, every so many seconds")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "build" / "soak.json", help="where the result goes"
    )
    asked = parser.parse_args()
    plan = plan_of(asked.minutes * 60, asked.seed, asked.kill_every)
    reason = broker.why_not()
    if reason:
        print(f"real Kafka: {reason}", file=sys.stderr)
        return 1
    folder = Path(tempfile.mkdtemp(prefix="access-monitor-soak-"))
    result = World(plan, folder, broker.start(os.getpid())).run()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(asdict(result)), encoding="utf-8")
    print(report(result))
    slope = growth(result)
    grew = slope is not None and slope > MOST_GROWTH and asked.minutes >= _TELLING_MINUTES
    if grew:
        print(f"it grew by more than {MOST_GROWTH >> 20} MiB an hour", file=sys.stderr)
    if result.violations or grew:
        print(f"logs and records: {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


def plan_of(seconds: float, seed: int, kill_every: float | None) -> Plan:
    """Return the plan of a soak."""
    draw = random.Random(f"soak/{seed}")
    plan = Plan(15, seed, seconds=seconds, rate=RATE, workers=WORKERS, seats=WORKERS, ttl_seconds=5.0)
    plan.static = True
    plan.patients = _PATIENTS
    if kill_every is None:
        mix(plan, draw, seconds, pace=(4.0, 12.0), killed=WORKERS - 1)
    else:
        plan.watch = True
        at = kill_every / 2
        while at < seconds - 5:
            plan.add(at, "kill", draw.randrange(WORKERS))
            at += kill_every
    plan.acts.sort(key=lambda act: act.at)
    return plan


def report(result: Result) -> str:
    """Return what a person wants to know."""
    own = [end for end in result.ends if " itself " in end]
    lines = [
        f"faults            {result.faults}",
        f"violations        {len(result.violations)}",
        *(f"    WRONG {violation[:400]}" for violation in result.violations),
        f"rows of events    {result.seen.get('rows', 0):,}",
        f"findings          {result.seen.get('findings', 0):,}",
        f"revocations       {result.seen.get('revocations', 0):,}",
        f"ends of their own {len(own)}",
        *(f"    {end[:200]}" for end in own[:20]),
        f"caught up         {result.catch_up_seconds} s after the last fault",
        f"most memory       {result.resident_bytes >> 20} MiB",
    ]
    if result.stable_seconds:
        times = sorted(result.stable_seconds)
        lines.append(
            f"ready again       p50 {statistics.median(times)} s, most {times[-1]} s,"
            f" {len(times)} of {result.faults} before the next kill"
        )
    slope = growth(result)
    if slope is not None:
        lines.append(
            f"growth            {slope / (1 << 20):.1f} MiB an hour, of the worker that was never killed"
        )
    return "\n".join(lines)


def growth(result: Result) -> float | None:
    """Return the slope of the memory of the last seat, in bytes an hour; None where it was killed."""
    if result.stable_seconds or not result.weights:
        return None
    began, ended = result.weights[0][0], result.weights[-1][0]
    points = [
        (at, held[-1])
        for at, held in result.weights
        if at > began + _WARM_SHARE * (ended - began) and held[-1]
    ]
    return 3600 * statistics.linear_regression(*zip(*points, strict=True)).slope


if __name__ == "__main__":
    sys.exit(main())
