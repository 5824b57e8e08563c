"""Counting as Faust's documentation shows it, for the control: a table, one increment per event."""

from __future__ import annotations

import os

import faust

app = faust.App(
    os.environ["NAIVE_ID"],
    broker=f"kafka://{os.environ['NAIVE_BROKER']}",
    topic_allow_declare=False,
    topic_disable_leader=True,
    topic_partitions=4,
    store="memory://",
    datadir=os.environ["NAIVE_FOLDER"],
    web_enabled=False,
    consumer_auto_offset_reset="earliest",
    table_standby_replicas=0,
    broker_session_timeout=3.0,
    broker_heartbeat_interval=1.0,
    broker_request_timeout=30.0,
)
counts = app.Table("counts", default=int, partitions=4, key_type=str)


@app.agent(
    app.topic("access", key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
)
async def count(stream: faust.StreamT[bytes]) -> None:
    """Count the events of each key."""
    async for event in stream.events():
        counts[event.key.decode()] += 1
