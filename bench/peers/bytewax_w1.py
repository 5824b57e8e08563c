"""Bytewax: `stateful_map` per credential with recovery on disk, as its documentation shows.

Per credential: times of requests in the last 60 s, and patients with their latest time in the last 10 min.
It does not do: membership (its workers are told which they are), two axes without a second dataflow.
"""

from __future__ import annotations

import os
from collections import deque
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSource
from bytewax.connectors.stdio import StdOutSink
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main

from peers.telling import BOOTSTRAP, TOPIC, Progress

progress = Progress()


def count(state: Any, event: dict[str, Any]) -> tuple[Any, bool]:
    """Count one event."""
    times, seen = state if state is not None else (deque(), {})
    now = event["time"]
    times.append(now)
    while times[0] <= now - 60_000:
        times.popleft()
    patient = event.get("patient")
    if patient is not None:
        seen.pop(patient, None)
        seen[patient] = now
        while seen and next(iter(seen.values())) <= now - 600_000:
            del seen[next(iter(seen))]
    if progress.add():
        progress.end()
    return (times, seen), len(times) >= 600 or len(seen) >= 200


def main() -> None:
    """Run the flow."""
    flow = Dataflow("w1")
    source: Any = KafkaSource([BOOTSTRAP], [TOPIC], batch_size=2000)
    records = op.input("in", flow, source)
    keyed = op.map("decode", records, lambda record: (record.key.decode(), orjson.loads(record.value)))
    found = op.filter_value("over", op.stateful_map("count", keyed, count), lambda over: over)
    op.output("out", op.map("show", found, lambda _: ""), StdOutSink())
    folder = Path(os.environ["BENCH_FOLDER"]) / "recovery"
    folder.mkdir(parents=True)
    init_db_dir(folder, 1)
    cluster_main(
        flow, [], 0, recovery_config=RecoveryConfig(str(folder)), epoch_interval=timedelta(seconds=5)
    )


main()
