"""What somebody reads at three in the morning: contained or not, whose, how many, what to do."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from monitor.cli import cli
from monitor.cli.incident_page import verdict
from monitor.core.events import CredentialStatus
from monitor.response.ledger import Ledger
from monitor.response.operators.timeline import read_timeline
from monitor.response.states import Decision
from monitor.stream.read import read_to_end
from monitor.stream.topics import create_embedded
from monitor.wire.credentials import EnforcerRecord
from monitor.wire.views import Person
from tests.operator.stage import ANNA, SINCE_MS, credential, incident
from tests.rig.configuration import settings_for

if TYPE_CHECKING:
    from pathlib import Path

    from monitor.stream.embedded import EmbeddedBroker
    from tests.operator.service import Service

ACTIVE = CredentialStatus.ACTIVE
HELD: dict[str, Any] = {"state": "held", "status": ACTIVE, "leaked": 0, "enforced_ms": None, "until_ms": None}


@pytest.mark.parametrize(
    ("changes", "name", "proof"),
    [
        ({}, "CONTAINED", "a refusal was seen"),
        ({"proof": "read_back"}, "CONTAINED", "own state was read back"),
        ({"state": "quiet", "quiet_ms": SINCE_MS}, "QUIET", "no refusal was seen"),
        ({"state": "accepted"}, "NOT PROVEN", "the gateways accepted it at 2026-"),
        ({"state": "requested"}, "NOT YET", "not accepted by every gateway"),
        ({"state": "failed"}, "NOT CONTAINED", "a gateway did not accept it"),
        ({**HELD, "held_for": "protected"}, "NOT REFUSED", "two different people must approve"),
        ({**HELD, "held_for": "fuse"}, "NOT REFUSED", "a person resets the fuse"),
        ({**HELD, "held_for": "stale"}, "NOT REFUSED", "response.max_age"),
        ({**HELD, "held_for": "paused"}, "NOT REFUSED", "automation is paused"),
        ({"state": "expired", "status": ACTIVE, "ended_ms": SINCE_MS}, "OVER", "expired at 2026-"),
        ({"state": "reinstated", "status": ACTIVE}, "OVER", "reinstated"),
    ],
)
def test_contained_or_not_and_by_what_proof(changes: dict[str, Any], name: str, proof: str):
    said = verdict(incident(**changes))
    assert said.name == name
    assert proof in said.proof


def test_the_page_of_an_incident(service: Service):
    service.book.add(
        credential(incident="INC-0142", klass="bulk-sync", protected=True, tenants_served=12), incident()
    )
    said = service.monitor("incidents", "show", "142").out
    for text in (
        "INC-0142  CONTAINED: a refusal was seen at 2026-",
        "sync-1 read 50 different patients in 1 s",
        "Whose         Integration team, Agenda sync-1, phone +49 30 1234",
        "bulk-sync, PROTECTED",
        "53 patients of 4 practice(s)",
        "2 requests answered after the decision",
        "NOBODY YET",
        "The ledger cannot be read now.",
    ):
        assert text in said, said
    assert service.book.acts == []


@pytest.mark.parametrize(
    ("changes", "wanted", "unwanted"),
    [
        (
            {},
            ["incidents ack", "credentials reinstate", "credentials revoke", "qualify"],
            ["approve", "fuse"],
        ),
        ({"acknowledged": Person(by=ANNA, at_ms=1)}, ["credentials reinstate"], ["incidents ack"]),
        (
            {**HELD, "held_for": "fuse"},
            ["fuse status", "credentials approve", "dismiss"],
            ["reinstate", "close"],
        ),
        ({**HELD, "held_for": "protected"}, ["credentials approve", "dismiss"], ["fuse", "reinstate"]),
        ({"state": "failed"}, ["credentials show", "credentials reinstate"], ["approve"]),
        ({"state": "expired", "status": ACTIVE, "open": False}, ["incidents close"], ["reinstate", "revoke"]),
        (
            {"state": "expired", "status": ACTIVE, "open": False, "closed": Person(by=ANNA, at_ms=1)},
            [],
            ["ack", "close", "reinstate"],
        ),
    ],
)
def test_what_to_do_next_are_commands_that_are_there(
    service: Service, changes: dict[str, Any], wanted: list[str], unwanted: list[str]
):
    service.book.add(credential(incident="INC-0142"), incident(**changes))
    page = json.loads(service.monitor("incidents", "show", "INC-0142", "--json").out)
    commands = "\n".join(page["next"])
    assert all(command in commands for command in wanted), commands
    assert not [command for command in unwanted if command in commands], commands
    printed = service.monitor("incidents", "show", "INC-0142").out
    for command in page["next"]:
        assert f"\n  {command}\n" in printed + "\n"
        name, *arguments = shlex.split(command)
        assert name == "monitor"
        assert f"-c {service.config}" in command, "it reaches the same installation"
        with cli.make_context("monitor", [*arguments, "--help"], resilient_parsing=True):
            pass
        done = service.monitor(*arguments, *(["--yes"] if asks(arguments) else []))
        assert done.code == 0, done


def asks(arguments: list[str]) -> bool:
    """Return whether a command asks before it acts."""
    return arguments[1] in {"approve", "dismiss", "reinstate", "revoke"}


def test_the_page_of_a_credential(service: Service):
    service.book.add(
        credential(
            status=CredentialStatus.REVOKED,
            state="enforced",
            version=2,
            by=ANNA,
            reason="leaked",
            exempt_until_ms=SINCE_MS * 2,
            exempt_by=ANNA,
        ),
        incident(),
    )
    said = service.monitor("credentials", "show", "sync-1").out
    for text in ("gate/sync-1  REVOKED, enforced", "leaked", "Exempt", "INC-0142 (CONTAINED)", "+49 30 1234"):
        assert text in said, said


def test_a_persons_own_credential_is_shown_by_its_beginning(service: Service):
    service.book.add(credential("session-0123456789", kind="session", status=CredentialStatus.SUSPENDED))
    said = service.monitor("credentials", "list").out
    assert "gate/session-…" in said
    assert "0123456789" not in said


async def test_the_timeline_is_what_the_ledger_says_of_it(
    tmp_path: Path, embedded: EmbeddedBroker, prefix: str
):
    settings = settings_for(tmp_path, broker="embedded", bootstrap=embedded.bootstrap_servers, prefix=prefix)
    create_embedded(settings, embedded)
    ledger = Ledger(settings)
    await ledger.take_over()
    about = {"realm": "gate", "id": "sync-1"}
    entries = [
        Decision("requested", {"incident": "INC-0001", **about}),
        Decision("requested", {"incident": "INC-0002", "realm": "gate", "id": "sync-10"}),
        Decision("rules_activated", {"incident": "INC-0001", "document": {}}),
        Decision("enforced", {"incident": "INC-0001", **about}),
        Decision("act", {"act": "a", "what": "allow", **about, "reason": "INC-0001"}),
    ]
    for entry in entries:
        await ledger.commit([entry], {}, EnforcerRecord() if entry is entries[0] else ledger.position)
    await ledger.close()

    async def kinds(**of: Any) -> list[str]:
        return [entry["kind"] for entry in await read_timeline(settings, **of)]

    assert await kinds(since_ms=0, incident="INC-0001") == ["requested", "enforced"]
    assert await kinds(since_ms=0, credential=("gate", "sync-1")) == ["requested", "enforced", "act"]
    assert await kinds(since_ms=0, credential=("other", "sync-1")) == []
    assert await kinds(since_ms=0, incident="INC-0009") == []
    assert await kinds(since_ms=10**15, incident="INC-0001") == []
    at = []
    async for records, _, _ in read_to_end(settings.kafka, settings.topic("decisions"), 0):
        at += [orjson.loads(record.value)["at_ms"] for record in records]
    assert await kinds(since_ms=at[0] - 60_000, incident="INC-0001") == ["requested", "enforced"]
