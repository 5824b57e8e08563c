"""From an event's append to Kafka to the finding, the webhook and the first refusal, under load.

Real Kafka, one worker with all roles, one decision service. Beside a load of events at a steady rate, fresh
credentials exceed a small limit; each step is timed from when the last event was due (bench/probing.py). A load
that the worker does not keep up with is told: its latencies say how long it ran, and nothing else. A p99.9 needs
1,000 probes, such as ``--seconds 60``.

``python bench/latency.py [--rates 100,1000,10000,50000] [--seconds 20] [--probes 20] [--json FILE] [--kafka H:P]``
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import aiohttp

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.ours import metrics
from bench.probing import LIMIT, STEPS, Load, Probes, install, percentiles
from monitor.demo.receiver import WebhookReceiver, new_secret
from tests.rig import broker

if TYPE_CHECKING:
    from tests.integration.stack import Process

#: The load is under way for so long before the first probe.
WARM_SECONDS: Final = 5.0
#: What was not seen so long after the last probe was due was never seen.
PATIENCE_SECONDS: Final = 15.0
#: A load is sustained where at its end no more waits than of so many seconds.
BEHIND_SECONDS: Final = 1.0


class Look(NamedTuple):
    """Where load and worker are at one moment."""

    at: float
    sent: int
    counted: float
    #: How long the oldest record of any topic waits that was not taken, in seconds; looked at every two.
    lag_seconds: float


def look(load: Load, worker: Process) -> Look:
    """Look at the load and at what the worker has counted."""
    at, sent, now = time.monotonic(), load.sent, metrics([worker])
    return Look(at, sent, now["access_monitor_events_total"], now["access_monitor_lag_seconds"])


def sustained(before: Look, after: Look, rate: float, probed: int) -> dict[str, Any]:
    """Return what was offered and counted a second, and whether the worker kept up with what was due."""
    seconds = after.at - before.at
    due = rate * seconds + probed
    offered, counted = after.sent - before.sent + probed, after.counted - before.counted
    behind = max((due - counted) / due * seconds, after.lag_seconds)
    return {
        "offered": round(offered / seconds),
        "counted": round(counted / seconds),
        "behind_seconds": round(max(0.0, behind), 1),
        "sustained": behind <= BEHIND_SECONDS,
    }


async def measure(folder: Path, bootstrap: str, rate: float, seconds: float, probes: float) -> dict[str, Any]:
    """Return the times of each step at one load."""
    prefix = f"bench-{os.getpid()}-{rate:g}."
    secret = new_secret()
    (folder / "hook.secret").write_text(secret, encoding="utf-8")
    (folder / "hook.secret").chmod(0o600)
    async with WebhookReceiver(secret) as receiver:
        adapter = {
            "type": "webhook",
            "name": "bench",
            "url": f"http://127.0.0.1:{receiver.port}/hooks/access-monitor",
            "secret_file": str(folder / "hook.secret"),
            "private_addresses": True,
        }
        stack = await asyncio.to_thread(install, folder, bootstrap, prefix, adapters=[adapter])
        load = None
        try:
            worker, authz = stack.spawn("worker"), stack.spawn("authz")
            await asyncio.to_thread(worker.wait_ready)
            many = Probes(stack, bootstrap, await asyncio.to_thread(authz.address))
            receiver.on_call = many.on_call
            following = asyncio.create_task(many.follow())
            load = Load(bootstrap, stack.settings.sources[0].topic, rate)
            await asyncio.sleep(WARM_SECONDS)
            before = await asyncio.to_thread(look, load, worker)
            begin, number = time.monotonic() + 0.2, int(seconds * probes)
            async with aiohttp.ClientSession() as session:
                running = [
                    asyncio.create_task(many.run(f"probe-{one}", begin + one / probes, one, session))
                    for one in range(number)
                ]
                await asyncio.sleep(begin + seconds - time.monotonic())
                after = await asyncio.to_thread(look, load, worker)
                await many.wait(list(many.due), STEPS, PATIENCE_SECONDS)
                for task in running:
                    task.cancel()
                for failed in await asyncio.gather(*running, return_exceptions=True):
                    if isinstance(failed, Exception):  # and no one of those that were ended
                        raise failed
            following.cancel()
            many.close()
            return sustained(before, after, rate, number * LIMIT) | figures(many)
        finally:
            if load is not None:
                load.close()
            stack.close()


def figures(probes: Probes) -> dict[str, Any]:
    """Return percentiles of each step in milliseconds; what was never seen is counted."""
    told: dict[str, Any] = {"probes": len(probes.due)}
    for step in STEPS:
        seen = probes.seen[step]
        values = [(seen[name] - due) * 1000 for name, due in probes.due.items() if name in seen]
        told[step] = {"missing": len(probes.due) - len(values), **percentiles(values)}
    return told


def show(rate: float, told: dict[str, Any]) -> None:
    """Print a line for each step, and one where the load was more than the worker takes."""
    for step in STEPS:
        one = told[step]
        columns = (one[name] for name in ("p50", "p99", "p99.9", "p100"))
        text = "".join(f"{'-' if value is None else f'{value:,.1f}':>11}" for value in columns)
        missing = f", {one['missing']} never" if one["missing"] else ""
        print(f"{rate:>9,.0f} {step:<9}{text}  {told['probes']}{missing}", flush=True)
    if not told["sustained"]:
        print(
            f"{rate:>9,.0f} NOT SUSTAINED: {told['offered']:,} events/s offered, {told['counted']:,} counted,"
            f" {told['behind_seconds']} s behind at the end; the times above grow for as long as it lasts",
            flush=True,
        )


def main() -> None:
    """Print a table, one line for each load and step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", default="100,1000,10000,50000")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument(
        "--probes", type=float, default=20.0, help="credentials a second that exceed the limit"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--kafka", help="HOST:PORT of a broker; default: one of its own")
    options = parser.parse_args()
    bootstrap = options.kafka or broker.start(os.getpid())
    report = {}
    print(f"{'events/s':>9} {'to':<9}{'p50':>11}{'p99':>11}{'p99.9':>11}{'max':>11}  ms, of probes")
    for rate in map(float, options.rates.split(",")):
        with tempfile.TemporaryDirectory(prefix="access-monitor-bench-") as folder:
            told = asyncio.run(measure(Path(folder), bootstrap, rate, options.seconds, options.probes))
        report[f"{rate:g}"] = told
        show(rate, told)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
