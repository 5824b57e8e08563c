"""What queues up while a transaction is made durable goes into the next one together: all of it, or nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from monitor.response import ledger as ledger_module
from monitor.response import line
from monitor.response.enforcer import Enforcer
from monitor.response.ledger import Ledger
from monitor.response.operators.duty import Duty
from monitor.response.role import FindingsPartition
from monitor.stream.chunks import Chunk
from monitor.stream.producers import plain_producer
from monitor.stream.topics import create_topics
from tests.response.stage import Cast, Receiver, decisions, finding, found, until, webhook
from tests.response.test_enforcer import FINDINGS
from tests.rig.configuration import settings_for

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from monitor.settings import Settings
    from tests.response.conftest import Install

COUNT = 6


class Held:
    """Keeps the ledger's first write with entries from going on, and counts those that are made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        #: The number of entries of each write.
        self.writes: list[int] = []
        write = Ledger._write

        async def slow(ledger: Ledger, entries: Any, written: Any) -> None:
            if entries:
                self.begun.set()
                await self.go_on.wait()
                self.writes.append(len(entries))
            await write(ledger, entries, written)

        monkeypatch.setattr(Ledger, "_write", slow)


async def test_chunks_that_come_during_a_commit_are_decided_in_the_next_one(
    install: Install, monkeypatch: pytest.MonkeyPatch
):
    """A finding waits for two transactions at most, not for one of each finding before it."""
    cast, held = install(), Held(monkeypatch)
    async with cast.enforcer() as enforcer:
        partition = FindingsPartition(FINDINGS, 0, enforcer, Duty())
        log = await found(cast.settings, *(finding(n, f"partner-{n}") for n in range(COUNT)))
        for offset, record in enumerate(log):
            await partition.take(partition.continuity.admit(Chunk(offset, offset + 1, [record])))
            await held.begun.wait()
        assert await partition.flush(final=False) == 0, "none of them is durable"
        held.go_on.set()
        assert await partition.flush(final=True) == COUNT
    assert held.writes == [2, 2 * (COUNT - 1)], "requested and accepted: nobody is to be told"
    requested = await decisions(cast.settings, "requested")
    assert [entry["id"] for entry in requested] == [f"partner-{n}" for n in range(COUNT)]


async def test_no_more_is_taken_than_may_wait(install: Install, monkeypatch: pytest.MonkeyPatch):
    """A ledger that takes long must not fill the memory."""
    monkeypatch.setattr("monitor.response.enforcer._MOST_UNDECIDED", 2)
    cast, held = install(), Held(monkeypatch)
    async with cast.enforcer() as enforcer:
        log = await found(cast.settings, *(finding(n, f"partner-{n}") for n in range(COUNT)))
        await enforcer.take_findings(log[:2])
        more = asyncio.create_task(enforcer.take_findings(log[2:]))
        await held.begun.wait()
        assert not more.done()
        held.go_on.set()
        await more
        await enforcer.decided()
        assert enforcer.findings_offset == COUNT


async def test_a_fault_in_the_middle_of_a_batch_leaves_nothing_of_it(
    kafka: str, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
):
    """Everything is sent and the commit never comes; the next enforcer decides each once, in order.

    On a real Kafka: the embedded broker shows what is not committed.
    """
    settings = settings_for(
        tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix, response={"mode": "enforce"}
    )
    create_topics(settings)
    cast = Cast(settings)
    # aiokafka leaves the errors of a dropped producer's batches to nobody.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    sent = asyncio.Event()

    def fail(step: str) -> None:
        if step == "enforce.in-transaction":
            sent.set()
            raise OSError("in the middle")

    log = await found(settings, *(finding(n, f"partner-{n}") for n in range(COUNT)))
    producer = plain_producer(settings.kafka)
    await producer.start()
    dying = Enforcer(settings, cast.metrics, producer, cast.fatal.append)
    await dying.start()
    monkeypatch.setattr(ledger_module, "reached", fail)
    await dying.take_findings(log)
    await sent.wait()
    await until(lambda: cast.fatal)
    assert dying.findings_offset == 0
    await dying.drop()
    await producer.stop()
    monkeypatch.undo()
    assert await decisions(settings) == []
    cast.fatal.clear()
    async with cast.enforcer() as enforcer:
        assert enforcer.findings_offset == 0
        await enforcer.apply_findings(log)
    ledger = await decisions(settings)
    requested = [entry["id"] for entry in ledger if entry["kind"] == "requested"]
    assert requested == [f"partner-{n}" for n in range(COUNT)]
    assert [entry["sequence"] for entry in ledger] == list(range(2 * COUNT))
    assert cast.fatal == []


async def test_an_end_between_the_attempts_and_their_calls_loses_none(
    install: Install, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    """The attempts are durable and nobody was called: the next enforcer calls, each under its one id."""
    cast = install(webhooks=[webhook(tmp_path, receiver.url)])
    noted = Counter[str]()

    class DiedError(Exception):
        pass

    def die(step: str) -> None:
        if step == "enforce.before-call":
            noted[step] += 1
            raise DiedError

    producer = plain_producer(cast.settings.kafka)
    await producer.start()
    dying = Enforcer(cast.settings, cast.metrics, producer, cast.fatal.append)
    await dying.start()
    monkeypatch.setattr(line, "reached", die)
    log = await found(cast.settings, *(finding(n, f"partner-{n}") for n in range(COUNT)))
    await dying.apply_findings(log)
    await until(lambda: noted.total() == COUNT)
    await dying.drop()
    await producer.stop()
    monkeypatch.undo()
    assert {type(error) for error in cast.fatal} == {DiedError}
    cast.fatal.clear()
    assert receiver.calls == []
    before = await decisions(cast.settings)
    assert Counter(entry["kind"] for entry in before) == {"requested": COUNT, "attempted": COUNT}
    async with cast.enforcer() as enforcer:
        await enforcer.apply_findings(log)
        await until(lambda: _kinds(cast.settings, requested=COUNT, attempted=2 * COUNT, accepted=COUNT))
        # A take-over tells again what the one before may have had on its way; that is under the same ids.
    assert {body["data"]["id"] for body in receiver.bodies} == {f"partner-{n}" for n in range(COUNT)}
    assert len(set(receiver.ids)) == COUNT
    assert cast.fatal == []


async def _kinds(settings: Settings, **wanted: int) -> bool:
    kinds = Counter(entry["kind"] for entry in await decisions(settings))
    return all(kinds[kind] >= count for kind, count in wanted.items())
