"""Events in, a refused credential out: through the commands, on both brokers."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from tests.integration.stack import wait_for

if TYPE_CHECKING:
    from tests.integration.stack import Stack

LIMIT = 50  # different patients in 10 minutes, see rules.yml


def event(principal: str | None, patient: int, **fields: Any) -> dict[str, Any]:
    """Return one read of one patient's appointment, now."""
    return {
        "time": int(time.time() * 1000),
        "principal": principal,
        "principal_kind": "api_key",
        "authenticated": principal is not None,
        "status": 200,
        "method": "GET",
        "route": "/appointments/{id}",
        "object": f"appointment-{patient}",
        "patient": f"patient-{patient}",
        "tenant": f"practice-{patient % 7}",
        **fields,
    }


def test_a_breach_suspends_the_credential_and_no_other(stack: Stack):
    worker = stack.worker()
    stack.ship(
        [event("partner-17", patient) for patient in range(LIMIT)]
        + [event("partner-2", patient) for patient in range(LIMIT - 1)]
    )
    record = wait_for(lambda: stack.credential("gate/partner-17"), worker)
    assert record["status"] == "suspended"
    assert record["patients"] == LIMIT
    (finding,) = stack.findings()
    assert (finding["value"], finding["threshold"], finding["tenants"]) == (LIMIT, LIMIT, 7)
    assert "partner-17 read 50 different patients of 7 practices" in finding["summary"]
    assert stack.credential("gate/partner-2") is None
    assert [entry["id"] for entry in stack.decisions("requested")] == ["partner-17"]
    assert 'access_monitor_findings_total{action="suspend"' in worker.metrics()
    assert worker.terminate() == 0


def test_a_refusal_in_the_events_is_the_proof(stack: Stack):
    worker = stack.worker()
    stack.ship(event("partner-17", patient) for patient in range(LIMIT))
    wait_for(lambda: stack.credential("gate/partner-17"), worker)
    # Detect must have heard of the suspension before the refusal means anything.
    wait_for(lambda: b"partner-17" in _routed(stack), worker)
    stack.ship([event("partner-17", 999, status=403)])
    record = wait_for(
        lambda: (found := stack.credential("gate/partner-17")) and found["state"] == "enforced" and found,
        worker,
    )
    assert record["enforced_ms"] >= record["requested_ms"]
    assert len(stack.decisions("enforced")) == 1


def test_shadow_mode_records_and_refuses_nobody(new_stack: Any):
    stack = new_stack(response={"mode": "shadow"})
    assert stack.run("init", "--from", "earliest").returncode == 0
    worker = stack.worker()
    stack.ship(event("partner-17", patient) for patient in range(LIMIT))
    (suppressed,) = wait_for(lambda: stack.decisions("suppressed"), worker)
    assert suppressed["reason"] == "shadow"
    assert stack.credential("gate/partner-17") is None


def test_what_cannot_be_read_goes_to_the_dead_letters_and_stops_nothing(stack: Stack):
    worker = stack.worker()
    stack.ship(
        [
            "{broken",
            json.dumps(event("partner-17", 0, status="200")),
            json.dumps({"time": "yesterday", "status": 200}),
            json.dumps({**event("partner-17", 0), "surprise": "secret-value"}),
            json.dumps(event("partner-17", 0, path="x" * 990_000)),
            "",
        ]
    )
    stack.ship(event("partner-17", patient) for patient in range(LIMIT))
    wait_for(lambda: stack.credential("gate/partner-17"), worker)
    letters = stack.entries("rejected")
    assert sorted(letter["reason"] for letter in letters) == [
        "bad_value",
        "empty",
        "not_json",
        "unknown_field",
        "wrong_type",
    ]
    assert all("payload" not in letter for letter in letters)
    assert "secret-value" not in json.dumps(letters)
    assert "secret-value" not in worker.said


def test_a_forged_client_header_counts_for_nobody(stack: Stack):
    worker = stack.worker()
    # Envoy logs a key-less request under the name that it claims; its 401 takes that away.
    stack.ship(event("hospital", patient, status=401) for patient in range(3 * LIMIT))
    stack.ship(event("hospital", patient, authenticated=False) for patient in range(3 * LIMIT))
    stack.ship(event(None, patient) for patient in range(3 * LIMIT))
    stack.ship(event("partner-17", patient) for patient in range(LIMIT))
    wait_for(lambda: stack.credential("gate/partner-17"), worker)
    assert stack.credential("gate/hospital") is None
    assert [finding["principal"] for finding in stack.findings()] == ["partner-17"]


def test_raw_patients_and_objects_stay_at_intake(stack: Stack):
    worker = stack.worker()
    stack.ship(event("partner-17", 70_000_000 + patient) for patient in range(LIMIT))
    wait_for(lambda: stack.credential("gate/partner-17"), worker)
    assert worker.terminate() == 0  # the state is flushed
    topics = ["findings", "decisions", "credentials", "status", "control", "rejected"]
    everything = b"".join(record.value or b"" for topic in topics for record in stack.records(topic))
    for topic in ("routed", "state"):
        for partition in range(stack.settings.kafka.partitions):
            everything += b"".join(record.value or b"" for record in stack.records(topic, partition))
    assert b"partner-17" in everything
    for raw in (b"patient-7000", b"appointment-7000"):
        assert raw not in everything
        assert raw.decode() not in worker.said


def _routed(stack: Stack, status: bytes = b"suspended") -> bytes:
    """Return the records of the routed log that hold a status."""
    found = b""
    for partition in range(stack.settings.kafka.partitions):
        for record in stack.records("routed", partition):
            if status in record.value:
                found += record.value
    return found


def test_history_cuts_nobody_off_and_an_attack_that_goes_on_is_stopped(stack: Stack):
    worker = stack.worker()
    # Twenty minutes old: a gateway's backlog, or a broker that was away.
    then = int(time.time() * 1000) - 20 * 60_000
    stack.ship(event("partner-17", patient, time=then + patient) for patient in range(LIMIT))
    (held,) = wait_for(lambda: stack.decisions("held"), worker)
    assert (held["id"], held["reason"]) == ("partner-17", "stale")
    record = stack.credential("gate/partner-17")
    assert record is not None
    assert (record["status"], record["state"]) == ("active", "held")
    assert "NOT REFUSED" in stack.run("status").stdout
    # Detect has been told to look again: what happens now is judged anew.
    wait_for(lambda: b"active" in _routed(stack, b"active"), worker)
    stack.ship(event("partner-17", patient) for patient in range(LIMIT))
    suspended = wait_for(
        lambda: (now := stack.credential("gate/partner-17")) and now["status"] == "suspended" and now, worker
    )
    assert suspended["version"] == record["version"] + 1
