"""Faust's documented way: windowed tables (BENCH_TABLES: plain, hopping, w1). At least once.

plain: requests per credential, for ever. hopping: requests per credential in 60 s, by 10 s. w1: that, and
the different patients per credential in 10 min, by 60 s, as a list in a table. Time is that of the records.

It does not do: exact sliding windows (hopping ones are up to a step off), out of order beyond its expiry,
a count that is right after a crash (docs/reliability.md has the control).
"""

from __future__ import annotations

import os
import sys
from typing import Any

import faust

from peers.telling import BOOTSTRAP, PARTITIONS, TOPIC, Progress

TABLES = os.environ["BENCH_TABLES"]
app = faust.App(
    os.environ["BENCH_GROUP"],
    broker=f"kafka://{BOOTSTRAP}",
    store="memory://",
    topic_partitions=PARTITIONS,
    topic_replication_factor=1,
    consumer_auto_offset_reset="earliest",
    table_standby_replicas=0,
    web_enabled=False,
    datadir=os.environ["BENCH_FOLDER"],
)


class Access(faust.Record, serializer="json"):
    """What the tables need of an event."""

    principal: str
    patient: str | None = None


events = app.topic(TOPIC, key_type=str, key_serializer="raw", value_type=Access)
progress = Progress()
requests: Any = app.Table("requests", default=int, partitions=PARTITIONS)
patients: Any = None
if TABLES != "plain":
    requests = requests.hopping(60, 10, expires=3600)
if TABLES == "w1":
    patients = app.Table("patients", default=list, partitions=PARTITIONS)
    patients = patients.hopping(600, 60, expires=3600)


@app.agent(events)
async def count(stream: Any) -> None:
    """Count each event."""
    async for event in stream:
        requests[event.principal] += 1
        if patients is not None and event.patient is not None:
            known = patients[event.principal].current()
            if event.patient not in known:
                patients[event.principal] = [*known, event.patient]
        if progress.add():
            progress.end()


if __name__ == "__main__":
    sys.argv = ["faust", "worker", "-l", "error", "--without-web"]
    app.main()
