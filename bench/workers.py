"""Events per second of the whole path with 1 to 4 workers: ``python bench/workers.py [EVENTS] [--load hot]``.

Real Kafka (``--kafka HOST:PORT``, or one of its own), the default pack, durable state, a source topic of six
partitions that is full when the workers start. The broker runs on the same cores, so a machine of two cores
cannot show what a second worker adds where cores are free; the last column says what the workers used.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.contest import fill
from bench.events import LOADS
from bench.ours import Ours
from tests.rig import broker

PARTITIONS = 6


def main() -> None:
    """Print a line for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", nargs="?", type=int, default=300_000)
    parser.add_argument("--workers", default="1,2,3,4")
    parser.add_argument("--load", choices=LOADS, default="skewed")
    parser.add_argument("--kafka")
    arguments = parser.parse_args()
    bootstrap = arguments.kafka or broker.start(os.getpid())
    topic = f"bench-{os.getpid()}"
    fill(bootstrap, topic, arguments.events, PARTITIONS, arguments.load)
    one: float | None = None
    for workers in map(int, arguments.workers.split(",")):
        with tempfile.TemporaryDirectory(prefix="access-monitor-bench-") as folder:
            ours = Ours(Path(folder), bootstrap, topic, arguments.events, prefix=f"{topic}-{workers}.")
            measured = ours.measure("pack:default", workers)
        one = one or measured.rate
        print(f"{workers} workers {measured}, {measured.rate / one:.2f} times one", flush=True)


if __name__ == "__main__":
    main()
