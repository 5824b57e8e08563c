"""What live found under everything that happens to workers is what the log implies, byte for byte."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.integration.stack import Stack, wait_for
from tests.integration.test_loop import event
from tests.integration.test_rules_change import BASE, PER_CREDENTIAL, PER_TENANT, gauge, reads_sources
from tests.rig.broker import create_topic

if TYPE_CHECKING:
    from pathlib import Path

READERS = [f"partner-{number}" for number in range(12)]
STEP = 12


@pytest.mark.kafka
def test_two_workers_a_rebalance_a_kill_and_a_published_rule_set(tmp_path: Path, kafka: str, prefix: str):
    # With `status` and `replay` six partitions: whatever the assignor does, each of two workers has one of `gate`.
    create_topic(kafka, f"{prefix}gate", 4)
    rules = tmp_path / "rules.yml"
    rules.write_text(BASE + PER_CREDENTIAL, encoding="utf-8")
    stack = Stack(tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix, rules={"paths": ["rules.yml"]})
    try:
        assert stack.run("init", "--from", "earliest").returncode == 0
        first, second = stack.worker(), stack.worker()
        wait_for(lambda: reads_sources(second), second)

        def read(begin: int) -> None:
            stack.ship(event(who, patient) for patient in range(begin, begin + STEP) for who in READERS)

        read(0)
        rules.write_text(
            BASE + PER_CREDENTIAL.replace("gte: 50", "gte: 40") + PER_TENANT.replace("gte: 8", "gte: 11"),
            encoding="utf-8",
        )
        published = stack.run("rules", "publish", "--yes")
        assert published.returncode == 0, published.stderr
        read(STEP)
        first.kill()
        read(2 * STEP)
        wait_for(lambda: gauge(second, "rules_version") == 2, second)
        third = stack.worker()
        read(3 * STEP)
        read(4 * STEP)
        wait_for(lambda: len(stack.decisions("requested")) >= len(READERS), second)
        # The axis of tenants is new with the second set: it counts what came after it.
        wait_for(lambda: {finding["axis"] for finding in stack.findings()} == {"principal", "tenant"}, second)
        assert [worker.terminate() for worker in (second, third)] == [0, 0]
        live = {record.value for record in stack.records("findings") if b'"kind":"finding"' in record.value}
        done = stack.run("backtest", "--topic", "routed", "--since", "24h")
        assert done.returncode == 0, done.stderr
        assert {line.encode() for line in done.stdout.splitlines()} == live
        revisions = {json.loads(value)["rule"]["revision"] for value in live}
        assert len(live) >= len(READERS) + 7
        assert len(revisions) >= 2
    finally:
        stack.close()
