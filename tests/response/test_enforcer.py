"""The active enforcer: what findings, acts and time lead to, and what a take-over goes on with."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from monitor.errors import InvariantError
from monitor.response.ledger import Ledger
from monitor.response.operators.duty import Duty
from monitor.response.role import FindingsPartition
from monitor.stream.chunks import Chunk, Partition
from tests.response.stage import (
    Cast,
    Receiver,
    decisions,
    entries,
    finding,
    found,
    now_ms,
    observation,
    records,
    until,
    webhook,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.response.conftest import Install

FINDINGS = Partition("findings", 0)


async def statuses(cast: Cast) -> list[tuple[str, str, int]]:
    """Return (subject, status, version) of each status that was said."""
    said = await entries(cast.settings, "status")
    return [(f"{e['realm']}/{e['id']}", e["status"], e["version"]) for e in said if e["kind"] == "status"]


async def credential(cast: Cast, subject: str) -> dict[str, Any]:
    """Return the newest record of a credential, as the decision service reads it."""
    newest = {}
    read = zip(
        await records(cast.settings, "credentials"), await entries(cast.settings, "credentials"), strict=True
    )
    for record, entry in read:
        if record.key == subject.encode():
            newest = entry
    return newest


async def kinds(cast: Cast) -> list[str]:
    """Return the kinds of the ledger's entries."""
    return [entry["kind"] for entry in await decisions(cast.settings)]


async def test_a_finding_is_requested_and_accepted_where_nobody_is_told(install: Install):
    """Without a webhook the record itself is what refuses; detect hears of the status."""
    cast = install()
    async with cast.enforcer() as enforcer:
        await enforcer.apply_findings(await found(cast.settings, finding(1)))
        assert enforcer.findings_offset == 1
        assert await kinds(cast) == ["requested", "accepted"]
        record = await credential(cast, "gate/partner-1")
        assert (record["status"], record["state"], record["version"]) == ("suspended", "accepted", 1)
        await until(lambda: statuses(cast))
        assert await statuses(cast) == [("gate/partner-1", "suspended", 1)]
        seen = observation("refused", 1), observation("refused", 1), observation("leaked", 1, leaked=2)
        await enforcer.apply_findings(await found(cast.settings, *seen))
    assert await kinds(cast) == ["requested", "accepted", "enforced", "leaked"]
    record = await credential(cast, "gate/partner-1")
    assert (record["state"], record["leaked"]) == ("enforced", 2)
    assert cast.fatal == []


async def test_shadow_changes_nothing_and_tells_nobody(install: Install):
    """Only the ledger and the enforcer's position know of it."""
    cast = install(mode="shadow")
    async with cast.enforcer() as enforcer:
        await enforcer.apply_findings(await found(cast.settings, finding(1), finding(2)))
    assert [entry["reason"] for entry in await decisions(cast.settings)] == ["shadow", "shadow"]
    assert {record.key for record in await records(cast.settings, "credentials")} == {b"@enforcer"}
    assert await statuses(cast) == []


async def test_an_old_finding_refuses_nobody_and_reaches_no_gateway(
    install: Install, tmp_path: Path, receiver: Receiver
):
    """Detect hears that the credential is active and looks again; a fresh finding is acted on."""
    cast = install(webhooks=[webhook(tmp_path, receiver.url)], max_age="1m")
    old = finding(1, at_ms=now_ms() - 120_000)
    async with cast.enforcer() as enforcer:
        await enforcer.apply_findings(await found(cast.settings, old))
        await until(lambda: statuses(cast))
        assert await statuses(cast) == [("gate/partner-1", "active", 0)]
        assert cast.metric("oldest_undelivered_seconds") == 0
        await enforcer.apply_findings(await found(cast.settings, finding(2)))
        await until(lambda: decisions(cast.settings, "accepted"))
    assert await kinds(cast) == ["held", "requested", "attempted", "accepted"]
    assert [body["data"]["version"] for body in receiver.bodies] == [1]


async def test_findings_that_come_again_are_not_decided_twice(install: Install):
    """Neither the same records after a restart, nor the same finding that detect wrote again."""
    cast = install()
    async with cast.enforcer() as enforcer:
        await enforcer.apply_findings(await found(cast.settings, finding(1), finding(2, "partner-2")))
    async with cast.enforcer() as enforcer:
        assert enforcer.findings_offset == 2
        await enforcer.apply_findings(await found(cast.settings, finding(1)))
        assert enforcer.findings_offset == 3
        await enforcer.apply_findings(await found(cast.settings, finding(3, "partner-3")))
    requested = await decisions(cast.settings, "requested")
    assert [(entry["id"], entry["incident"]) for entry in requested] == [
        ("partner-1", "INC-0001"),
        ("partner-2", "INC-0002"),
        ("partner-3", "INC-0003"),
    ]


async def test_what_was_suppressed_is_not_suppressed_again(install: Install):
    """A worker that died repeats its last findings: before a take-over, and after it."""
    cast = install()
    alert = finding(1, action="alert"), finding(2, "partner-2", action="alert")
    async with cast.enforcer() as enforcer:
        await enforcer.apply_findings(await found(cast.settings, *alert, alert[0]))
        assert await kinds(cast) == ["suppressed", "suppressed"]
    async with cast.enforcer() as enforcer:
        await enforcer.apply_findings(await found(cast.settings, *alert, finding(3, action="alert")))
        assert enforcer.findings_offset == 6
    assert await kinds(cast) == ["suppressed"] * 3


async def test_a_take_over_says_the_statuses_again(install: Install):
    """The one before may have died between the decision and the way back."""
    cast = install()
    async with cast.enforcer() as enforcer:
        await enforcer.apply_findings(await found(cast.settings, finding(1)))
        await until(lambda: statuses(cast))
    async with cast.enforcer():

        async def twice() -> bool:
            return len(await statuses(cast)) == 2

        await until(twice)
    assert set(await statuses(cast)) == {("gate/partner-1", "suspended", 1)}


async def test_a_suspension_ends_by_itself_also_where_its_enforcer_is_gone(install: Install):
    """The next enforcer ends what is due, once, and says so to detect."""
    cast = install()
    async with cast.enforcer() as enforcer:
        await enforcer.apply_findings(await found(cast.settings, finding(1, ttl_ms=1)))
    async with cast.enforcer():

        async def ended() -> bool:
            return ("gate/partner-1", "active", 2) in await statuses(cast)

        await until(ended)
    assert await kinds(cast) == ["requested", "accepted", "expired"]
    record = await credential(cast, "gate/partner-1")
    assert (record["status"], record["state"], record["until_ms"]) == ("active", "expired", None)
    async with cast.enforcer() as enforcer:
        # Nobody is to be told, so nothing is outstanding, however long ago that was.
        assert cast.metric("oldest_undelivered_seconds") == 0
        # The finding that detect writes again does not undo the end; a new one does.
        await enforcer.apply_findings(await found(cast.settings, finding(1), finding(2)))
    assert (await credential(cast, "gate/partner-1"))["version"] == 3


async def test_a_storm_is_decided_in_few_transactions(install: Install, monkeypatch: pytest.MonkeyPatch):
    """A thousand credentials at once cost a handful of transactions, and none is forgotten."""
    cast = install(fuse={"ceiling": 2000, "rule_ceiling": 2000, "many": 2000})
    commits = Counter[str]()
    commit = Ledger.commit

    async def counted(self: Ledger, *arguments: Any) -> None:
        commits["made"] += 1
        await commit(self, *arguments)

    monkeypatch.setattr(Ledger, "commit", counted)
    async with cast.enforcer() as enforcer:
        storm = await found(cast.settings, *(finding(n, f"partner-{n}") for n in range(1000)))
        commits.clear()
        await enforcer.apply_findings(storm)
        assert commits["made"] < 20
    requested = await decisions(cast.settings, "requested")
    assert [entry["id"] for entry in requested] == [f"partner-{n}" for n in range(1000)]
    assert len({entry["incident"] for entry in requested}) == 1000


@pytest.mark.parametrize(
    "garbage",
    [
        b"not json",
        b"[]",
        {"v": 1, "kind": "finding", "subject": "gate/a"},
        {**finding(2), "v": 2},
        {**finding(2), "event": None},
    ],
)
async def test_what_is_no_finding_ends_the_enforcer(install: Install, garbage: Any):
    """It names the place, and decides nothing of what came with it."""
    cast = install()
    with contextlib.suppress(InvariantError):
        async with cast.enforcer() as enforcer:
            log = await found(cast.settings, finding(1), garbage)
            with pytest.raises(InvariantError, match="findings-0 offset 1: not a finding"):
                await enforcer.apply_findings(log)
            assert enforcer.findings_offset == 0
    assert [type(error) for error in cast.fatal] == [InvariantError]
    assert await kinds(cast) == []


async def test_the_group_goes_no_further_than_the_ledger(install: Install, monkeypatch: pytest.MonkeyPatch):
    """A position that is committed before the decision is durable would lose the finding."""
    cast = install()
    begun, go_on = asyncio.Event(), asyncio.Event()
    write = Ledger._write

    async def slow(self: Ledger, entries: Any, written: Any) -> None:
        if entries:
            begun.set()
            await go_on.wait()
        await write(self, entries, written)

    monkeypatch.setattr(Ledger, "_write", slow)
    async with cast.enforcer() as enforcer:
        partition = FindingsPartition(FINDINGS, 0, enforcer, Duty())
        log = await found(cast.settings, finding(1))
        await partition.take(partition.continuity.admit(Chunk(0, 1, log)))
        await begun.wait()
        assert await partition.flush(final=False) == 0
        last = asyncio.create_task(partition.flush(final=True))
        go_on.set()
        assert await last == 1, "giving up waits for what was taken"
        assert await partition.flush(final=False) == 1


async def test_standing_down_lets_nobody_wait_for_ever(install: Install, monkeypatch: pytest.MonkeyPatch):
    """Whoever handed findings over goes on, to take them again from the next enforcer."""
    cast = install()
    begun = asyncio.Event()
    write = Ledger._write

    async def stuck(self: Ledger, entries: Any, written: Any) -> None:
        if entries:
            begun.set()
            await asyncio.Event().wait()
        await write(self, entries, written)

    async with cast.enforcer() as enforcer:
        monkeypatch.setattr(Ledger, "_write", stuck)
        log = await found(cast.settings, finding(1))
        taking = asyncio.create_task(enforcer.apply_findings(log))
        await begun.wait()
    await asyncio.wait_for(taking, 5)
    assert enforcer.findings_offset == 0
    monkeypatch.setattr(Ledger, "_write", write)
    async with cast.enforcer() as enforcer:
        await enforcer.apply_findings(log)
    assert await kinds(cast) == ["requested", "accepted"]


async def test_a_group_ahead_of_the_ledger_stops(install: Install):
    """Findings in between would be left out."""
    cast = install()
    async with cast.enforcer() as enforcer:
        await enforcer.apply_findings(await found(cast.settings, finding(1), finding(2)))
    async with cast.enforcer() as enforcer:
        await enforcer.stop()
        with pytest.raises(InvariantError, match="would be left out"):
            await FindingsPartition(FINDINGS, 5, enforcer, Duty()).open()
