"""What a worker costs that has nothing to do: ``python bench/idle.py [SECONDS] [--kafka HOST:PORT]``.

One worker with all roles and the default pack, real Kafka, a source of four partitions without events. Share of
one core over the time, and its memory.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.ours import used
from tests.integration.stack import Stack
from tests.rig import broker

PARTITIONS = 4
#: Joining groups and the first looks are over then.
SETTLE_SECONDS = 10.0


def main() -> None:
    """Print the share of a core."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", nargs="?", type=float, default=60.0)
    parser.add_argument("--kafka")
    arguments = parser.parse_args()
    bootstrap = arguments.kafka or broker.start(os.getpid())
    name = f"idle-{os.getpid()}"
    broker.create_topic(bootstrap, name, PARTITIONS)
    with tempfile.TemporaryDirectory(prefix="access-monitor-bench-") as folder:
        stack = Stack(
            Path(folder),
            broker="cluster",
            bootstrap=bootstrap,
            prefix=f"{name}.",
            kafka={"partitions": 8},
            sources=[{"name": "gate", "topic": name, "realm": "gateway-1"}],
            rules={"paths": ["pack:default"]},
            response={"mode": "shadow"},
        )
        try:
            done = stack.run("init", "--from", "earliest")
            if done.returncode:
                sys.exit(done.stderr)
            worker = stack.worker()
            time.sleep(SETTLE_SECONDS)
            before, began = used([worker])[0], time.perf_counter()
            time.sleep(arguments.seconds)
            after, megabytes = used([worker])
            share = (after - before) / (time.perf_counter() - began)
            print(
                f"idle            {share:6.1%} of a core over {arguments.seconds:.0f} s, {megabytes:,.0f} MB at most"
            )
        finally:
            stack.close()


if __name__ == "__main__":
    main()
