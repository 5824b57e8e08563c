"""One event that ends the process, each time it is read: a few starts later the monitor counts on without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.fragile_worker import FATAL_TO_DETECT, FATAL_TO_INTAKE
from tests.integration.stack import Stack, wait_for
from tests.integration.test_loop import LIMIT, event
from tests.rig.broker import create_topic

if TYPE_CHECKING:
    from pathlib import Path

MOST_ENDS = 24


@pytest.mark.kafka
@pytest.mark.timeout(500)
def test_an_event_that_ends_the_process_is_left_out_and_nothing_else(tmp_path: Path, kafka: str, prefix: str):
    create_topic(kafka, f"{prefix}gate", 1)
    # A name that stays: the next process has the partitions at once.
    named = {"instance": "worker-0"}
    stack = Stack(tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix, worker=named)
    try:
        done = stack.run("init", "--from", "earliest")
        assert done.returncode == 0, done.stderr
        half = [event("partner-17", patient) for patient in range(LIMIT // 2)]
        rest = [event("partner-17", patient) for patient in range(LIMIT // 2, LIMIT)]
        stack.ship([*half, event(FATAL_TO_INTAKE, 1), event(FATAL_TO_DETECT, 1), *rest])
        ends = 0
        while True:
            worker = stack.spawn("worker", module="tests.integration.fragile_worker")
            # Both: the credential's partition may be done while another one still ends processes.
            wait_for(
                lambda worker=worker: (
                    worker.process.poll() is not None  # type: ignore[misc]
                    or (stack.credential("gate/partner-17") and len(stack.entries("rejected")) >= 2)
                )
            )
            if worker.process.poll() is None:
                break
            assert worker.process.returncode == 139, worker.said[-2000:]
            ends += 1
            assert ends <= MOST_ENDS
        record = stack.credential("gate/partner-17")
        assert record is not None
        assert record["patients"] == LIMIT, "no event beside them is lost"
        letters = stack.entries("rejected")
        assert {(letter["reason"], letter["source"]["offset"]) for letter in letters} == {
            ("fatal", LIMIT // 2),
            ("fatal", LIMIT // 2 + 1),
        }
        assert worker.terminate() == 0, worker.said[-3000:]
        assert len(stack.decisions("requested")) == 1
    finally:
        stack.close()
