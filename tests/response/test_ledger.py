"""The ledger: one chain of decisions, all of a change or nothing, one writer."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from monitor.errors import InvariantError, SendError
from monitor.response import lifecycle
from monitor.response.casebook import Casebook
from monitor.response.ledger import Ledger
from monitor.response.states import Decision
from monitor.stream.topics import create_topics
from monitor.wire.credentials import CredentialRecord, EnforcerRecord, RulesInForce
from tests.response.stage import POLICY, decisions, finding, records, send
from tests.rig.configuration import settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from aiokafka.structs import ConsumerRecord

    from monitor.settings import Settings


@asynccontextmanager
async def active(settings: Settings) -> AsyncIterator[Ledger]:
    """Take over; close at the end."""
    ledger = Ledger(settings)
    try:
        await ledger.take_over()
        yield ledger
    finally:
        await ledger.close()


async def decide(ledger: Ledger, number: int, **changes: Any) -> CredentialRecord:
    """Decide about a finding of its own credential, durably."""
    found = finding(number, f"partner-{number}", **changes)
    book = Casebook(POLICY, position=ledger.position)
    step = lifecycle.on_finding(book, found, found["observed_ms"])
    assert step.record is not None
    await ledger.commit(step.decisions, {step.record.subject.encode(): step.record}, book.position)
    return step.record


def assert_chain(log: Sequence[ConsumerRecord]) -> str:
    """Recompute the chain from the bytes alone; return the hash of the last entry."""
    previous = ""
    for sequence, record in enumerate(log):
        entry = json.loads(record.value)
        assert (entry["sequence"], entry["previous"]) == (sequence, previous)
        previous = hashlib.sha256(record.value).hexdigest()
    return previous


async def test_decisions_form_one_chain_over_take_overs(settings: Settings):
    """Consecutive numbers, each with the hash of the one before, whoever wrote it."""
    last = EnforcerRecord()
    for first in (1, 4, 7):
        async with active(settings) as ledger:
            for number in range(first, first + 3):
                await decide(ledger, number)
            # Several in one transaction, and a sign of life without any.
            await ledger.commit([Decision("suppressed", {"n": n}) for n in range(3)], {}, ledger.position)
            await ledger.commit([], {}, ledger.position)
            last = ledger.position
    log = await records(settings, "decisions")
    assert len(log) == 18
    assert assert_chain(log) == last.hash
    assert last.sequence == 18


async def test_the_verifier_sees_a_changed_entry(settings: Settings):
    """Whoever changes a word of an old decision breaks every hash after it."""
    async with active(settings) as ledger:
        for number in (1, 2):
            await decide(ledger, number)
    log = await records(settings, "decisions")
    log[0].__dict__["value"] = log[0].value.replace(b"200 patients", b"100 patients")
    with pytest.raises(AssertionError):
        assert_chain(log)


async def test_a_take_over_reads_everything_back(settings: Settings):
    """Credentials in their newest version, the position, the rules, and nothing of a tombstone."""
    rules = RulesInForce(
        version=3,
        revision="abc",
        document={"version": 1, "rules": []},
        text={"a.yml": "x: 1"},
        published_ms=1,
        by="somebody",
    )
    async with active(settings) as ledger:
        assert (ledger.credentials, ledger.rules) == ({}, None)
        assert ledger.position == EnforcerRecord(mode="shadow")
        first = await decide(ledger, 1)
        second = await decide(ledger, 2)
        attempt = lifecycle.on_attempt(second, "webhook-0").record
        assert attempt is not None
        position = msgspec.structs.replace(ledger.position, control_offset=5)
        await ledger.commit(
            [Decision("rules_activated", {})], {attempt.subject.encode(): attempt}, position, rules
        )
        before = ledger.position
    async with active(settings) as ledger:
        assert ledger.credentials == {first.subject: first, attempt.subject: attempt}
        assert ledger.position == before
        assert ledger.rules == rules


async def test_a_change_that_fails_leaves_nothing(settings: Settings):
    """A credential that Kafka does not take takes its decision and the position with it."""
    async with active(settings) as ledger:
        kept = await decide(ledger, 1)
        before = ledger.position
        with pytest.raises(SendError, match="was not written"):
            await decide(ledger, 2, summary="x" * (5 << 20))
        assert ledger.position == before
    assert [entry["id"] for entry in await decisions(settings)] == ["partner-1"]
    async with active(settings) as ledger:
        assert ledger.credentials == {kept.subject: kept}
        assert ledger.position == before
        await decide(ledger, 3)
    assert_chain(await records(settings, "decisions"))


async def test_an_emptied_credentials_topic_is_not_everybody_allowed(settings: Settings):
    """Decisions without any sign of an enforcer: who was refused is lost, so nobody takes over."""
    await send(settings, "decisions", {"v": 1, "sequence": 0, "previous": "", "kind": "requested"})
    with pytest.raises(InvariantError, match="emptied or made again"):
        async with active(settings):
            pass


async def test_a_findings_topic_that_was_made_again_is_not_passed_over(settings: Settings):
    """The ledger has decided beyond its end: new findings would look as if decided already."""
    async with active(settings) as ledger:
        position = msgspec.structs.replace(ledger.position, findings_offset=7)
        await ledger.commit([], {}, position)
    with pytest.raises(InvariantError, match="made again"):
        async with active(settings):
            pass


async def test_a_record_of_somebody_else_stops_the_take_over_without_showing_it(settings: Settings):
    """The error names the place, and nothing of what stands there."""
    await send(settings, "credentials", b'{"v":1,"realm":"secret-looking"}', key=b"gate/a")
    with pytest.raises(InvariantError, match="credentials-0 offset 0") as caught:
        async with active(settings):
            pass
    assert "secret-looking" not in str(caught.value)


@pytest.mark.kafka
async def test_the_older_enforcer_is_fenced(kafka: str, tmp_path: Path, prefix: str):
    """Whoever takes over first shuts the one before out; what that one tries leaves no trace."""
    settings = settings_for(tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix)
    create_topics(settings)
    # aiokafka leaves the errors of a fenced producer's batches to nobody.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with active(settings) as older:
        await decide(older, 1)
        async with active(settings) as newer:
            assert set(newer.credentials) == {"gate/partner-1"}
            with pytest.raises(SendError, match="ProducerFenced"):
                await decide(older, 2)
            await decide(newer, 3)
    assert [entry["id"] for entry in await decisions(settings)] == ["partner-1", "partner-3"]
    assert_chain(await records(settings, "decisions"))
    gc.collect()
