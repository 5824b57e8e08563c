"""A worker of the version before and one of this version, side by side: nothing is lost or counted twice."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from monitor.errors import ExitCode
from tests.integration.stack import Stack, wait_for
from tests.integration.test_crash import ATTACKERS, assert_routed_once
from tests.integration.test_loop import LIMIT, event
from tests.rig.broker import create_topic

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.kafka
def test_workers_are_upgraded_one_by_one_in_mid_attack(tmp_path: Path, kafka: str, prefix: str):
    """The older one ends where it meets a record that it cannot read; the newer one reads all of its."""
    create_topic(kafka, f"{prefix}gate", 3)
    stack = Stack(tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix)
    try:
        assert stack.run("init", "--from", "earliest").returncode == 0
        older = stack.spawn("worker", module="tests.integration.older_worker")
        older.wait_ready()
        stack.ship(event(who, patient) for patient in range(LIMIT - 10) for who in ATTACKERS)
        wait_for(lambda: _state_bytes(older.metrics()) > 0, older)
        newer = stack.worker()
        stack.ship(event(who, patient) for patient in range(LIMIT - 10, LIMIT + 10) for who in ATTACKERS)
        assert (
            wait_for(lambda: older.process.poll() is not None and older.process.returncode)
            == ExitCode.SOFTWARE
        )
        assert "was it downgraded?" in older.said
        wait_for(lambda: len(stack.decisions("requested")) >= len(ATTACKERS), newer)
        assert newer.terminate() == 0
        expected = {finding["id"]: finding for finding in stack.fold()}
        assert {finding["id"]: finding for finding in stack.findings()} == expected
        assert Counter(entry["id"] for entry in stack.decisions("requested")) == dict.fromkeys(ATTACKERS, 1)
        assert_routed_once(stack)
    finally:
        stack.close()


def _state_bytes(metrics: str) -> float:
    """Return how much state a worker has written."""
    lines = [line for line in metrics.splitlines() if line.startswith("access_monitor_state_bytes_total ")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)
