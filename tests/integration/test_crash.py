"""A worker dies in mid-attack; what is found and refused is what the log implies."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from monitor.core.coverage import Marks
from monitor.core.events import AXIS, AXIS_PRINCIPAL, KIND, OFFSET, RowKind, RowsRecord
from monitor.wire import routed
from tests.integration.stack import wait_for
from tests.integration.test_loop import LIMIT, event

if TYPE_CHECKING:
    from tests.integration.stack import Stack

ATTACKERS = [f"attacker-{number}" for number in range(6)]


def test_a_worker_killed_in_mid_attack_finds_and_refuses_the_same(stack: Stack):
    worker = stack.worker()
    for first in range(0, LIMIT + 10, 12):
        stack.ship(event(who, patient) for patient in range(first, first + 12) for who in ATTACKERS)
        if first in {24, 48}:
            worker.kill()
            worker = stack.worker()
    wait_for(lambda: len(stack.decisions("requested")) >= len(ATTACKERS), worker)
    assert worker.terminate() == 0
    expected = {finding["id"]: finding for finding in stack.fold()}
    assert {finding["id"]: finding for finding in stack.findings()} == expected
    assert Counter(entry["id"] for entry in stack.decisions("requested")) == dict.fromkeys(ATTACKERS, 1)
    for who in ATTACKERS:
        record = stack.credential(f"gate/{who}")
        assert record is not None
        assert (record["status"], record["version"]) == ("suspended", 1)
    assert_routed_once(stack)


def assert_routed_once(stack: Stack) -> None:
    """Every source record of an authenticated credential is in `routed` once in effect, in order."""
    effective: dict[tuple[int, int], int] = Counter()
    for partition in range(stack.settings.kafka.partitions):
        marks = Marks()
        for record in stack.records("routed", partition):
            entry = routed.decode(record.value, "routed")
            if not isinstance(entry, RowsRecord) or entry.source.topic != stack.settings.sources[0].topic:
                continue
            prior = marks.admit(entry)
            if prior is None:
                continue
            offsets = [row[OFFSET] for row in entry.rows]
            assert offsets == sorted(offsets)
            for row in entry.rows:
                if row[OFFSET] > prior and row[KIND] == RowKind.EVENT and row[AXIS] == AXIS_PRINCIPAL:
                    effective[entry.source.partition, row[OFFSET]] += 1
    assert set(effective.values()) == {1}
    source = stack.settings.sources[0].topic.removeprefix(stack.settings.kafka.topic_prefix)
    sent = 0
    for partition in range(3):
        sent += sum(json.loads(record.value)["authenticated"] for record in stack.records(source, partition))
    assert len(effective) == sent
