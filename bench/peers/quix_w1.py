"""Quix Streams: a stateful function per key with a changelog (RocksDB), as its documentation shows.

Per credential: times of requests in the last 60 s, and patients with their latest time in the last 10 min,
both in its state. It does not do: two axes, exactness after a crash unless transactions are on.
"""

from __future__ import annotations

import os
from typing import Any

from quixstreams import Application, State

from peers.telling import BOOTSTRAP, TOPIC, Progress

app = Application(
    broker_address=BOOTSTRAP,
    consumer_group=os.environ["BENCH_GROUP"],
    auto_offset_reset="earliest",
    state_dir=os.environ["BENCH_FOLDER"],
    commit_interval=5.0,
    loglevel="ERROR",
)
progress = Progress()


def count(event: dict[str, Any], state: State) -> None:
    """Count one event."""
    now = event["time"]
    times = [at for at in state.get("times", []) if at > now - 60_000]
    times.append(now)
    state.set("times", times)
    patient = event.get("patient")
    if patient is not None:
        seen = {name: at for name, at in state.get("patients", {}).items() if at > now - 600_000}
        seen[patient] = now
        state.set("patients", seen)
    if progress.add():
        progress.end()


app.dataframe(app.topic(TOPIC, value_deserializer="json", key_deserializer="str")).apply(count, stateful=True)
app.run()
