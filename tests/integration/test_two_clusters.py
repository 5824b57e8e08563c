"""The sources may be on a cluster that is not ours, and that we only read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.stack import Stack, wait_for
from tests.integration.test_loop import LIMIT, event

if TYPE_CHECKING:
    from pathlib import Path

    from monitor.stream.embedded import EmbeddedBroker


@pytest.mark.kafka
def test_a_source_on_another_cluster_is_counted_on_ours(
    tmp_path: Path, kafka: str, embedded: EmbeddedBroker, prefix: str
):
    topic = f"{prefix}gate"
    embedded.create_topic(topic, 2)
    theirs = {
        "broker": "embedded",
        "bootstrap_servers": embedded.bootstrap_servers,
        "group_prefix": prefix,
        "session_timeout_seconds": 2,
        "replication_factor": 1,
        "min_insync_replicas": 1,
    }
    source = {"name": "gate", "topic": topic, "realm": "gate", "kafka": theirs}
    stack = Stack(tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix, sources=[source])
    try:
        done = stack.run("init", "--from", "earliest")
        assert done.returncode == 0, done.stderr
        worker = stack.worker()
        stack.ship(event("partner-17", patient) for patient in range(LIMIT))
        record = wait_for(lambda: stack.credential("gate/partner-17"), worker)
        assert record["status"] == "suspended"
        (finding,) = stack.findings()
        assert finding["event"]["topic_id"] == f"embedded:{topic}"

        def refused() -> bool:
            # Sent again until detect has heard of the suspension, whose way is the longer one.
            stack.ship([event("partner-17", 999, status=403)])
            return bool(stack.decisions("enforced"))

        # The way back works too: a status of our cluster reaches detect beside events of theirs.
        wait_for(refused, worker)
        assert worker.terminate() == 0
    finally:
        stack.close()
