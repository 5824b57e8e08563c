"""Two workers share the partitions; one dies, and the other goes on as if nothing had happened."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.integration.stack import Stack, wait_for
from tests.integration.test_crash import ATTACKERS, assert_routed_once
from tests.integration.test_loop import LIMIT, event
from tests.rig.broker import create_topic

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.kafka
def test_a_second_worker_takes_over_from_one_that_dies_in_mid_attack(tmp_path: Path, kafka: str, prefix: str):
    create_topic(kafka, f"{prefix}gate", 3)
    stack = Stack(tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix)
    try:
        done = stack.run("init", "--from", "earliest")
        assert done.returncode == 0, done.stderr
        first = stack.worker()
        second = stack.worker()
        # Both have their share only when the group has settled.
        wait_for(lambda: 'topic="' in second.metrics() and _partitions(second.metrics()) > 0, second)
        for begin in range(0, LIMIT + 10, 10):
            stack.ship(event(who, patient) for patient in range(begin, begin + 10) for who in ATTACKERS)
            if begin == 20:
                first.kill()
        wait_for(lambda: len(stack.decisions("requested")) >= len(ATTACKERS), second)
        wait_for(lambda: "enforcer active" in second.said, second)
        assert second.terminate() == 0
        expected = {finding["id"]: finding for finding in stack.fold()}
        assert {finding["id"]: finding for finding in stack.findings()} == expected
        assert Counter(entry["id"] for entry in stack.decisions("requested")) == dict.fromkeys(ATTACKERS, 1)
        sequence = [entry["sequence"] for entry in stack.entries("decisions")]
        assert sequence == list(range(len(sequence)))
        assert_routed_once(stack)
    finally:
        stack.close()


def _partitions(metrics: str) -> float:
    """Return how many partitions a worker reads."""
    lines = [line for line in metrics.splitlines() if line.startswith("access_monitor_partitions{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)
