"""Events per second of `monitor backtest` with the default pack, over a file of canonical events.

5,000 credentials of skewed activity, 100,000 patients, about 350 bytes an event, a file of its own in a
temporary folder: ``python bench/backtest.py [EVENTS] [--jobs 1,4]``. Beside each run, in the same
breath, a bare loop of `orjson.loads` over the same lines: what a core of this machine can do.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.events import write_events


def bare(path: Path) -> float:
    """Return how many lines per second one core parses, and nothing else."""
    lines = path.read_bytes().splitlines()
    loads = orjson.loads
    began = time.perf_counter()
    for line in lines:
        loads(line)
    return len(lines) / (time.perf_counter() - began)


def main() -> None:
    """Print events per second and per core, for each number of processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", nargs="?", type=int, default=1_000_000)
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--jobs", default=f"1,{cores}", help=f"default: 1,{cores}")
    parser.add_argument("--rules", default="pack:default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="access-monitor-bench-") as folder:
        path = Path(folder) / "events.jsonl"
        write_events(path, arguments.events)
        size = path.stat().st_size
        print(f"{arguments.events:,} events of {size // arguments.events} bytes, {arguments.rules}")
        for jobs in map(int, arguments.jobs.split(",")):
            parsed = bare(path)
            summary = Path(folder) / "summary.json"
            command = [sys.executable, "-m", "monitor", "backtest", "--rules", arguments.rules]
            options = ["--jobs", str(jobs), "--realm", "gateway-1", "--json-summary", str(summary)]
            subprocess.run(
                [*command, *options, str(path)],
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            told = json.loads(summary.read_bytes())
            per_core = told["events"] / told["cpu_seconds"]
            print(
                f"jobs {jobs:<3}{told['events'] / told['seconds']:>10,.0f} events/s,"
                f" {per_core:>8,.0f} per core and second, {told['findings']:,} findings;"
                f" orjson alone {parsed:,.0f}/s, {parsed / per_core:.1f} times as fast as a core here"
            )


if __name__ == "__main__":
    main()
