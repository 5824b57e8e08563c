"""Time from the breaching request to the first refused one, over many attacks on one running stack.

Real HTTP through a real Envoy, the embedded broker (or ``--kafka HOST:PORT``), a fresh credential per
attack, partners at work: ``python bench/demo_latency.py [--runs 20] [--rate 50]``. Prints a table and,
as its last line, one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from monitor.demo.attack import patients_rule, run_attack
from monitor.demo.background import beside, partners_at_work
from monitor.demo.report import latency, leaked, loop_links, partners_link
from monitor.demo.stack import PARTNERS, Stack, StackOptions
from monitor.rulebook import load_rules

if TYPE_CHECKING:
    from monitor.demo.report import Observed

STEPS = ("finding", "decision", "webhook", "first_refusal")
#: Each attack begins elsewhere, so that no patient is read by many credentials.
APART = 250


async def attacks(folder: Path, options: StackOptions, rate: float) -> tuple[list[Observed], bool]:
    """Return what was seen of each attack, and whether partners stayed untouched."""
    threshold = patients_rule(load_rules(["pack:default"]).rule_set).threshold
    open_hours = asyncio.Event()
    open_hours.set()
    seen = []
    async with Stack(folder, options, lambda text: print(text, file=sys.stderr)) as stack:
        follower = stack.follower()
        work = [*partners_at_work(stack, open_hours), stack.processes.watch(), follower.follow()]
        async with beside(*work):
            for number, attacker in enumerate(options.attackers):
                first = number * APART % len(stack.register.appointments)
                seen.append(
                    await run_attack(stack, follower, attacker, rate=rate, threshold=threshold, first=first)
                )
            partners = partners_link(stack.clients[name].tally for name in PARTNERS)
    return seen, partners.held


def percentile(values: list[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 100) // 100) - 1)]


def main() -> int:
    """Run the attacks, print the figures, and return 1 where a link did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--kafka", help="host:port of a real Kafka")
    chosen = parser.parse_args()
    attackers = tuple(f"abused-{number:02}" for number in range(1, chosen.runs + 1))
    options = StackOptions(kafka=chosen.kafka, attackers=attackers)
    with tempfile.TemporaryDirectory(prefix="monitor-bench-") as folder:
        seen, untouched = asyncio.run(attacks(Path(folder), options, chosen.rate))
    failed = [link.name for one in seen for link in loop_links(one) if not link.held]
    times = [dataclasses.asdict(latency(one)) for one in seen]
    patients = [len(one.attacker.patients) for one in seen]
    print(
        f"{chosen.runs} attacks at {chosen.rate:g} requests a second; milliseconds from the breaching request"
    )
    print(f"{'to the':<16}{'min':>8}{'p50':>8}{'p99':>8}{'max':>8}")
    figures: dict[str, dict[str, float]] = {}
    for step in STEPS:
        values = [one[step] for one in times if one[step] is not None]
        if values:
            figures[step] = {
                "min": min(values),
                "p50": round(statistics.median(values), 1),
                "p99": percentile(values, 0.99),
                "max": max(values),
            }
            print(f"{step.replace('_', ' '):<16}" + "".join(f"{v:>8.0f}" for v in figures[step].values()))
    print(f"patients exposed: {min(patients)} to {max(patients)} (limit {seen[0].threshold})")
    print(f"links that did not hold: {', '.join(failed) or 'none'}; partners untouched: {untouched}")
    summary = {
        "runs": chosen.runs,
        "rate": chosen.rate,
        "latency_ms": figures,
        "patients_exposed": {"min": min(patients), "max": max(patients), "limit": seen[0].threshold},
        "leaked_after_decision": sum(map(leaked, seen)),
        "partners_untouched": untouched,
        "links_failed": failed,
    }
    print(json.dumps(summary))
    return 0 if untouched and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
