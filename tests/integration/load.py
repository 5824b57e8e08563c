"""A gateway that goes on sending, whatever happens to the brokers: one attacker after the other."""

from __future__ import annotations

import json
import threading
from collections import Counter
from typing import TYPE_CHECKING, Final

from confluent_kafka import Producer

from tests.integration.test_crash import assert_routed_once
from tests.integration.test_loop import LIMIT, event

if TYPE_CHECKING:
    from tests.integration.stack import Stack

#: Patients that each attacker reads: some more than the limit.
READS: Final = LIMIT + 6
_PARTITIONS: Final = 3
#: Far more credentials are refused than people would let happen.
RESPONSE: Final = {
    "mode": "enforce",
    "fuse": {"ceiling": 100_000, "rule_ceiling": 100_000, "many": 100_000},
}


class Load:
    """Sends about 60 events a second, from its start to `finish`."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._stop = threading.Event()
        self.attackers: list[str] = []
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def finish(self) -> list[str]:
        """Stop after the attack that is on; return all attackers, each of whom was over the limit."""
        self._stop.set()
        self._thread.join(120)
        assert not self._thread.is_alive(), "the load did not reach Kafka"
        return self.attackers

    def _send(self) -> None:
        kafka = self._stack.settings.kafka
        producer = Producer(
            {
                "bootstrap.servers": ",".join(kafka.bootstrap_servers),
                "enable.idempotence": True,
                "message.timeout.ms": 110_000,
                "log_level": 0,
            }
        )
        topic = self._stack.settings.sources[0].topic
        while not self._stop.is_set():
            who = f"attacker-{len(self.attackers)}"
            for patient in range(READS):
                value = json.dumps(event(who, 1000 * len(self.attackers) + patient))
                producer.produce(topic, value, partition=patient % _PARTITIONS)
                producer.poll(0)
                self._stop.wait(1 / 60) if not self._stop.is_set() else None
            self.attackers.append(who)
        assert producer.flush(110) == 0


def assert_nothing_wrong(stack: Stack, attackers: list[str]) -> None:
    """Every attacker was found, and refused once in effect; nothing else happened; one ledger."""
    expected = {finding["id"]: finding for finding in stack.fold()}
    assert {finding["id"]: finding for finding in stack.findings()} == expected
    assert {finding["principal"] for finding in expected.values()} == set(attackers)
    assert Counter(entry["id"] for entry in stack.decisions("requested")) == dict.fromkeys(attackers, 1)
    for who in attackers:
        record = stack.credential(f"gate/{who}")
        assert record is not None
        assert (record["status"], record["version"]) == ("suspended", 1)
    sequence = [entry["sequence"] for entry in stack.entries("decisions")]
    assert sequence == list(range(len(sequence)))
    assert_routed_once(stack)


def slowest_finding(stack: Stack) -> float:
    """Return the longest time from the event over the limit to its finding in Kafka, in seconds."""
    found = [(record.timestamp, json.loads(record.value)) for record in stack.records("findings")]
    slowest: float = max(
        (at - entry["event"]["time_ms"]) / 1000 for at, entry in found if entry["kind"] == "finding"
    )
    return slowest
