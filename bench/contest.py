"""Events per second, and processor seconds per million events, beside other ways to do the job.

``make bench`` runs it: rounds in which every contender reads the same events from the same real Kafka,
one after the other, so that a noisy machine is noisy for all. Ratios are taken within each round; shown are
medians with the smallest and the largest. What each contender does, and does not: bench/peers.

With ``--load uniform`` the events are of 1,000,000 credentials alike, with ``--load hot`` half are of one.

``python bench/contest.py [--runs 5] [--only limit,ours] [--load hot] [--scale 1.0] [--json FILE] [--kafka H:P]``
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from confluent_kafka import Producer

from bench.events import EVENTS_PER_SECOND, LOADS, events
from bench.ours import Measured, Ours
from tests.rig import broker

PARTITIONS: Final = 4
DEADLINE_SECONDS: Final = 900.0
MOST_MEMORY: Final = 6 << 30


@dataclass(frozen=True)
class Contender:
    """One way to do the job: `of_default` is the share of --events that it reads, slow ones fewer."""

    name: str
    says: str
    count: int
    command: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    #: On one core, or on all that there are.
    one_core: bool = True
    rules: str | None = None
    workers: int = 1
    #: Of ours: the one role that is measured; all by default.
    role: str = ""


def peer(script: str, python: str = sys.executable) -> tuple[str, ...]:
    """Return the command of a contender written in Python."""
    return (python, str(ROOT / "bench" / "peers" / script))


OTHERS: Final = str(ROOT / ".cache" / "bench" / "bin" / "python")
STREAMS: Final = (
    "java",
    "-Xmx2g",
    "-cp",
    f"{ROOT}/.cache/streams/classes:{ROOT}/.cache/streams/libs/*",
    "W1",
)

CONTENDERS: Final = (
    Contender("limit", "aiokafka + orjson, nothing counted; one core", 500_000, peer("bare.py")),
    Contender("ours-w1", "ours, W1's two rules, durable state; one core", 500_000, rules="w1.yml"),
    Contender(
        "ours", "ours, both axes, default pack, durable state; one core", 500_000, rules="pack:default"
    ),
    Contender(
        "ours-2",
        "the same, two workers on all cores",
        500_000,
        rules="pack:default",
        one_core=False,
        workers=2,
    ),
    Contender("ours-intake", "of ours: intake alone; one core", 500_000, rules="pack:default", role="intake"),
    Contender("ours-detect", "of ours: detect alone; one core", 500_000, rules="pack:default", role="detect"),
    Contender(
        "streams", "Kafka Streams 4.1, W1; one thread, one core", 500_000, STREAMS, {"BENCH_THREADS": "1"}
    ),
    Contender(
        "streams-2",
        "the same, two threads on all cores",
        500_000,
        STREAMS,
        {"BENCH_THREADS": "2"},
        one_core=False,
    ),
    Contender(
        "faust-w1", "Faust, W1 in hopping tables", 5_000, peer("faust_tables.py"), {"BENCH_TABLES": "w1"}
    ),
    Contender(
        "faust-hopping",
        "Faust, requests in a hopping table",
        10_000,
        peer("faust_tables.py"),
        {"BENCH_TABLES": "hopping"},
    ),
    Contender(
        "faust-plain",
        "Faust, requests in a plain table",
        50_000,
        peer("faust_tables.py"),
        {"BENCH_TABLES": "plain"},
    ),
    Contender("quix-w1", "Quix Streams 3, W1, RocksDB", 100_000, peer("quix_w1.py", OTHERS)),
    Contender("bytewax-w1", "Bytewax 0.21, W1, recovery on disk", 200_000, peer("bytewax_w1.py", OTHERS)),
)
#: What `make bench` runs in half an hour; `make bench-full` runs all.
USUAL: Final = ("limit", "ours-w1", "ours", "ours-2", "streams", "streams-2", "faust-w1")
#: (what, against what, of which figure, what to reach, what would be more): ratios within a round.
RATIOS: Final = (
    ("ours-w1", "streams", "cpu", "<= 1.0", "<= 0.6"),
    ("ours-2", "streams-2", "rate", ">= 0.8", ">= 1.3"),
    ("ours-2", "limit", "rate", ">= 0.2", ">= 0.33"),
    ("ours-2", "faust-w1", "rate", ">= 150", ""),
    ("ours", "quix-w1", "rate", "> 1", ""),
    ("ours", "bytewax-w1", "rate", "> 1", ""),
    ("ours-2", "ours", "rate", ">= 1.8 with cores free", ""),
)


def fill(bootstrap: str, topic: str, count: int, partitions: int = PARTITIONS, load: str = "skewed") -> None:
    """Put events into a topic, keyed by credential, as if the last were of now."""
    broker.create_topic(bootstrap, topic, partitions)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": 20,
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 500_000,
        }
    )
    begin_ms = int(time.time() * 1000) - count * 1000 // EVENTS_PER_SECOND
    for number, (key, value) in enumerate(events(count, begin_ms, load)):
        at_ms = begin_ms + number * 1000 // EVENTS_PER_SECOND
        producer.produce(topic, value, key=key, timestamp=at_ms)
        if not number % 5_000:
            producer.poll(0)
    producer.flush()


def bounded() -> None:
    """Let a contender take so much memory, and not the machine's."""
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))


def run(contender: Contender, bootstrap: str, topic: str, count: int, group: str) -> Measured:
    """Run one contender once."""
    with tempfile.TemporaryDirectory(prefix="access-monitor-bench-") as folder:
        pinned = ("taskset", "-c", str(max(os.sched_getaffinity(0)))) if contender.one_core else ()
        if contender.rules is not None:
            ours = Ours(Path(folder), bootstrap, topic, count, prefix=f"{group}.", pinned=pinned)
            return ours.measure(contender.rules, contender.workers, contender.role)
        environment = {
            "BENCH_BOOTSTRAP": bootstrap,
            "BENCH_TOPIC": topic,
            "BENCH_COUNT": str(count),
            "BENCH_GROUP": group,
            "BENCH_PARTITIONS": str(PARTITIONS),
            "BENCH_FOLDER": folder,
            "PYTHONPATH": str(ROOT / "bench"),
            **contender.environment,
        }
        done = subprocess.run(
            [*pinned, *contender.command],
            env=os.environ | environment,
            capture_output=True,
            preexec_fn=bounded,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        told = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if not told:
            sys.exit(
                f"{contender.name} ended with {done.returncode} and told nothing:\n{done.stderr[-2000:]}"
            )
        return Measured(**json.loads(told[-1]))


def spread(values: list[float], digits: int = 0) -> str:
    """Return a median with its bounds."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


def ratios(results: dict[str, list[Measured]]) -> list[dict[str, Any]]:
    """Return each ratio that can be told, by the rounds in which both ran."""
    told = []
    for ours, other, figure, reach, stretch in RATIOS:
        if not (ours in results and other in results):
            continue
        pairs = list(zip(results[ours], results[other], strict=True))
        values = [
            left.cpu_per_million / right.cpu_per_million if figure == "cpu" else left.rate / right.rate
            for left, right in pairs
        ]
        what = "CPU s per million" if figure == "cpu" else "events/s"
        told.append(
            {"what": f"{what}: {ours} / {other}", "ratios": values, "reach": reach, "stretch": stretch}
        )
    return told


def main() -> None:
    """Run the rounds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--only", help=f"of {','.join(one.name for one in CONTENDERS)}; default: {','.join(USUAL)}"
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of the number of events; small for a smoke test"
    )
    parser.add_argument("--load", choices=LOADS, default="skewed", help="whose events they are")
    parser.add_argument("--json", type=Path, help="write every figure there")
    parser.add_argument("--kafka", help="HOST:PORT of a broker; default: one of its own")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else USUAL
    contenders = [one for one in CONTENDERS if one.name in wanted]
    if shutil.which("taskset") is None:
        sys.exit("taskset (util-linux) is needed, to give a contender one core")
    bootstrap = options.kafka or broker.start(os.getpid())
    topics: dict[int, str] = {}
    results: dict[str, list[Measured]] = {}
    for number in range(options.runs):
        for contender in contenders:
            count = max(2_000, int(contender.count * options.scale))
            if count not in topics:
                topics[count] = f"bench-{os.getpid()}-{count}"
                fill(bootstrap, topics[count], count, load=options.load)
            group = f"bench-{os.getpid()}-{contender.name}-{number}"
            measured = run(contender, bootstrap, topics[count], count, group)
            results.setdefault(contender.name, []).append(measured)
            print(f"round {number + 1}: {contender.name:<14}{measured}", file=sys.stderr, flush=True)
    print(f"{'':<15}{'events/s':>28}{'CPU s per million':>24}{'MB':>8}")
    for contender in contenders:
        runs = results[contender.name]
        rate, cpu = spread([one.rate for one in runs]), spread([one.cpu_per_million for one in runs], 1)
        memory = statistics.median([one.rss_mb for one in runs])
        print(f"{contender.name:<15}{rate:>28}{cpu:>24}{memory:>8,.0f}  {contender.says}")
    told = ratios(results)
    print()
    for ratio in told:
        stretch = f", stretch {ratio['stretch']}" if ratio["stretch"] else ""
        print(f"{ratio['what']:<48}{spread(ratio['ratios'], 2):>22}  to reach {ratio['reach']}{stretch}")
    if options.json:
        report = {
            "load": options.load,
            "runs": {name: [vars(one) for one in runs] for name, runs in results.items()},
            "ratios": told,
            "cores": len(os.sched_getaffinity(0)),
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
