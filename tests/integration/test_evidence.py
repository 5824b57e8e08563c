"""The evidence of an incident equals a recount from the source, beyond any cap, through a kill."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from monitor.core.incident import REMEMBERED_PATIENTS
from monitor.intake.keys import load_keys
from monitor.intake.pseudonym import Pseudonyms
from monitor.response.evidence import read_evidence
from monitor.stream.read import read_to_end
from tests.integration.conftest import SOURCE_PARTITIONS
from tests.integration.stack import wait_for
from tests.integration.test_loop import LIMIT, event

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.stack import Stack

WHO = "partner-17"
MANY = REMEMBERED_PATIENTS + 200
ROUTES = 'routes: [{template: "/appointments/{object}", name: "/appointments/{id}", category: appointments}]'


@pytest.fixture
def routed_stack(new_stack: Callable[..., Stack], prefix: str, tmp_path: Path) -> Stack:
    """Return an installation whose source knows by its routes what kind of data is read."""
    (tmp_path / "routes.yaml").write_text(ROUTES, encoding="utf-8")
    source = {"name": "gate", "topic": f"{prefix}gate", "realm": "gate"}
    stack = new_stack(sources=[{**source, "routes": [str(tmp_path / "routes.yaml")]}])
    done = stack.run("init", "--from", "earliest")
    assert done.returncode == 0, done.stderr
    return stack


def test_whom_a_credential_read_is_known_to_the_last_one(routed_stack: Stack):
    """The window, and every success after it; others' events and refused ones are in neither.

    Each read says what kind of data it was.
    """
    stack = routed_stack
    worker = stack.worker()
    stack.ship(event(who, n) for n in range(LIMIT - 1) for who in (WHO, "partner-2"))
    stack.ship([event(WHO, 5_000, status=404)])
    stack.ship([event(WHO, LIMIT), event(WHO, LIMIT + 1)])
    record = wait_for(lambda: stack.credential(f"gate/{WHO}"), worker)
    stack.ship(event(WHO, n) for n in range(LIMIT + 2, MANY))
    finding = record["finding"]
    expected = asyncio.run(recount(stack))
    assert len(expected) == MANY - 1

    def gathered() -> bool:
        rows, complete = asyncio.run(read_evidence(stack.settings, {finding}))
        return finding in complete and len(rows) >= len(expected)

    wait_for(gathered, worker)
    worker.kill()
    again = stack.worker()  # it repeats what it had not flushed
    stack.ship([event(WHO, MANY)])
    expected = asyncio.run(recount(stack))
    wait_for(lambda: len(asyncio.run(read_evidence(stack.settings, {finding}))[0]) >= len(expected), again)
    rows, _ = asyncio.run(read_evidence(stack.settings, {finding}))
    shown = Counter(
        (partition, offset, patient, tenant)
        for (_, partition, offset), (*_, read) in rows.items()
        for patient, tenant, _ in read
    )
    assert shown == expected
    assert {category for *_, read in rows.values() for *_, category in read} == {"appointments"}
    patients = {patient for _, _, patient, _ in shown}
    assert len(patients) > REMEMBERED_PATIENTS, "beyond what a credential remembers"
    text = b"".join(record.value for record in stack.records("evidence"))
    assert b"patient-7" not in text, "pseudonyms throughout"
    assert again.terminate() == 0


async def recount(stack: Stack) -> Counter[tuple[int, int, str, str]]:
    """Count what the credential read from the source itself, with the keys of this installation."""
    pseudonyms = Pseudonyms.newest(load_keys(stack.settings.privacy.key_file))
    found: Counter[tuple[int, int, str, str]] = Counter()
    [source] = stack.settings.sources
    for partition in range(SOURCE_PARTITIONS):
        async for records, _, _ in read_to_end(stack.settings.kafka, source.topic, partition):
            for record in records:
                entry: dict[str, Any] = json.loads(record.value)
                if entry["principal"] == WHO and 200 <= entry["status"] < 300:
                    patient = pseudonyms.patient(entry["patient"])
                    found[partition, record.offset, patient, entry["tenant"]] += 1
    return found
