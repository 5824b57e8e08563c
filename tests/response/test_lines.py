"""Lines of gateways: who waits for whom, what a dead one costs the others, and what is told again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.events import CredentialStatus
from monitor.response import lifecycle, line
from monitor.response.adapters import Endpoint
from monitor.response.adapters.protocol import Accepted, Disabled, Refused, Retry
from monitor.response.breaker import Breaker, pause_seconds
from tests.response.desk import SUBJECT, Book, Scripted, desk_of
from tests.response.stage import metric, now_ms, until

if TYPE_CHECKING:
    from monitor.response.adapters.protocol import DesiredState, Outcome
    from tests.response.desk import Desk


async def test_a_credential_whose_calls_hang_delays_no_other():
    """Not even where there is but one place more."""
    adapter = Scripted()
    adapter.hangs["partner-1"] = asyncio.Event()
    async with desk_of(Endpoint(adapter, concurrency=2)) as desk:
        desk.tell(1, "partner-1")
        await until(lambda: adapter.told)
        for number in range(2, 30):
            desk.tell(number, f"partner-{number}")
        await until(lambda: len(adapter.refused) == 28)
        assert desk.state() == "requested"
        adapter.hangs["partner-1"].set()
        await desk.reaches("accepted")


async def test_a_gateway_that_hangs_has_no_more_calls_than_it_may():
    adapter = Scripted()
    adapter.hangs = {f"partner-{number}": asyncio.Event() for number in range(20)}
    async with desk_of(Endpoint(adapter, concurrency=3)) as desk:
        for number in range(20):
            desk.tell(number, f"partner-{number}")
        await until(lambda: len(adapter.told) == 3)
        await asyncio.sleep(0.05)
        assert len(adapter.told) == 3
        for event in adapter.hangs.values():
            event.set()
        await until(lambda: not desk.desk.under_way)


async def test_a_dead_gateway_is_asked_for_one_and_not_for_all():
    """Once it is known to be dead, 200 credentials do not make 200 calls per pause."""
    adapter = Scripted(Retry("refused"))
    async with desk_of(Endpoint(adapter), ceiling=0.05) as desk:
        for number in range(200):
            desk.tell(number, f"partner-{number}")
        await until(lambda: _gauge(desk, "adapter_breaker_open") == 1)
        before = len(adapter.told)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await until(lambda: len(adapter.told) >= before + 10)
        # One at a time, with a pause before each.
        assert loop.time() - began > 9 * 0.05 * 0.75
        adapter.outcomes = [Accepted()]
        await until(lambda: len(adapter.refused) == 200)
        assert _gauge(desk, "adapter_breaker_open") == 0
        await until(lambda: not desk.desk.under_way)
        assert {record.state for record in desk.book.records.values()} == {"accepted"}


async def test_one_credential_that_always_fails_does_not_make_a_gateway_dead():
    class OfOne(Scripted):
        async def tell(self, wanted: DesiredState) -> Outcome:
            outcome = await super().tell(wanted)
            return Retry("500") if wanted.id == "partner-1" else outcome

    adapter = OfOne()
    async with desk_of(Endpoint(adapter)) as desk:
        desk.tell(1, "partner-1")
        await until(lambda: desk.count("retried", "scripted") >= 8)
        assert _gauge(desk, "adapter_breaker_open") == 0
        desk.tell(2, "partner-2")
        await until(lambda: desk.state("gate/partner-2") == "accepted")


async def test_retry_after_holds_back_the_whole_line():
    """It is the receiver that is busy, not the credential."""
    adapter = Scripted(Retry("429", 0.4), Accepted())
    async with desk_of(Endpoint(adapter, concurrency=1)) as desk:
        desk.tell(1, "partner-1")
        await until(lambda: adapter.told)
        desk.tell(2, "partner-2")
        await until(lambda: len(adapter.refused) == 2)
    assert adapter.at[1] - adapter.at[0] >= 0.4


async def test_a_newer_version_does_not_wait_for_the_retry_of_the_one_before():
    adapter = Scripted(Retry("503", None), Accepted())
    async with desk_of(Endpoint(adapter), ceiling=60.0) as desk:
        desk.desk._lines[0]._policy = type(desk.desk._lines[0]._policy)(ceiling=60.0, give_up=600.0)
        desk.tell(ttl_ms=1)
        await until(lambda: desk.count("retried", "scripted") == 1)
        desk.book.take(lifecycle.on_tick(desk.book.cases, desk.book.records[SUBJECT], now_ms() + 1000))
        desk.desk.deliver(SUBJECT)
        await until(lambda: desk.book.records[SUBJECT].accepted_ms is not None)
    assert [wanted.version for wanted in adapter.told] == [1, 2]


async def test_what_can_never_be_taken_is_a_dead_letter_at_once():
    adapter = Scripted(Refused("Kong runs without a database"), Accepted())
    async with desk_of(Endpoint(adapter)) as desk:
        desk.tell()
        await desk.reaches("failed")
        assert len(adapter.told) == 1
        assert _gauge(desk, "dead_letters") == 1
        # The schedule tries it once more.
        await desk.desk.reconcile()
        await desk.reaches("accepted")
        assert _gauge(desk, "dead_letters") == 0


async def test_a_receiver_that_answered_410_is_not_called_after_a_restart_either():
    book = Book()
    async with desk_of(Endpoint(Scripted(Disabled("410")), fingerprint="a"), book=book) as desk:
        desk.tell()
        await desk.reaches("failed")
        assert _gauge(desk, "adapter_disabled") == 1
    again = Scripted()
    async with desk_of(Endpoint(again, fingerprint="a"), book=book) as desk:
        desk.desk.resume()
        await until(lambda: not desk.desk.under_way)
        assert again.told == []
        assert _gauge(desk, "adapter_disabled") == 1
    # Another address, or a raised revision.
    async with desk_of(Endpoint(again, fingerprint="b"), book=book) as desk:
        desk.desk.resume()
        await desk.reaches("accepted")
        assert _gauge(desk, "adapter_disabled") == 0
    assert len(again.told) == 1


async def test_a_gateway_that_was_added_is_told_of_whoever_is_refused_now():
    """And not of what is over."""
    book = Book()
    first = Scripted(name="first")
    async with desk_of(Endpoint(first), book=book) as desk:
        for number in range(3):
            desk.tell(number, f"partner-{number}", ttl_ms=1 if number == 0 else None)
            await desk.reaches("accepted", f"gate/partner-{number}")
        book.take(lifecycle.on_tick(book.cases, book.records["gate/partner-0"], now_ms() + 1000))
        desk.desk.deliver("gate/partner-0")
        await until(lambda: not desk.desk.under_way)
    second = Scripted(name="second")
    async with desk_of(Endpoint(first), Endpoint(second), book=book) as desk:
        told = len(first.told)
        desk.desk.resume()
        await until(lambda: not desk.desk.under_way)
        assert second.refused == {"partner-1", "partner-2"}
        assert sorted(wanted.id for wanted in second.told) == ["partner-1", "partner-2"]
        assert len(first.told) == told
        # What comes from now on waits for both.
        desk.tell(9, "partner-9")
        await desk.reaches("accepted", "gate/partner-9")
    assert set(book.records["gate/partner-9"].told) == {"first", "second"}


async def test_a_gateway_that_lost_what_it_was_told_is_told_again():
    adapter = Scripted()
    async with desk_of(Endpoint(adapter)) as desk:
        for number in range(1, 6):
            desk.tell(number, f"partner-{number}")
        await until(lambda: len(adapter.refused) == 5 and not desk.desk.under_way)
        told = len(adapter.told)
        await desk.desk.reconcile()
        assert len(adapter.told) == told
        # Its own word is proof that it refuses.
        assert {record.state for record in desk.book.records.values()} == {"enforced"}
        assert {record.proof for record in desk.book.records.values()} == {"read_back"}
        adapter.refused -= {"partner-2", "partner-4"}
        await desk.desk.reconcile()
        await until(lambda: len(adapter.refused) == 5 and not desk.desk.under_way)
        assert len(adapter.told) == told + 2
        assert metric(desk.metrics, "drifts_total", adapter="scripted") == 2


async def test_a_gateway_that_still_refuses_whom_it_was_to_let_in_is_told_again():
    adapter = Scripted()
    async with desk_of(Endpoint(adapter)) as desk:
        desk.tell(ttl_ms=1)
        await desk.reaches("accepted")
        desk.book.take(lifecycle.on_tick(desk.book.cases, desk.book.records[SUBJECT], now_ms() + 1000))
        desk.desk.deliver(SUBJECT)
        await until(lambda: not adapter.refused and not desk.desk.under_way)
        adapter.refused.add("partner-1")  # it was restored from last night
        await desk.desk.reconcile()
        await until(lambda: not adapter.refused)
        assert desk.book.records[SUBJECT].status is CredentialStatus.ACTIVE


async def test_a_late_call_of_the_enforcer_before_does_not_have_the_last_word(
    monkeypatch: pytest.MonkeyPatch,
):
    """Whom the takeover found refused lately, on the way, or reinstated since: all are as they should be."""
    monkeypatch.setattr(line, "STOOD_STILL_SECONDS", 0.1)
    monkeypatch.setattr(line, "_HUNG_UP_SECONDS", 0.1)
    adapter, book = Scripted(), Book()
    long_ago = book.found(1, "partner-1")
    taken = {"accepted_ms": now_ms() - 60_000, "told": {"scripted": 1}, "state": "accepted"}
    book.records[long_ago.subject] = msgspec.structs.replace(long_ago, **taken)
    lately = book.found(2, "partner-2")
    book.records[lately.subject] = msgspec.structs.replace(lately, **{**taken, "accepted_ms": now_ms()})
    book.found(3, "partner-3", ttl_ms=1)
    async with desk_of(Endpoint(adapter, timeout_seconds=0.3), book=book) as desk:
        desk.desk.resume()
        outlast = asyncio.create_task(desk.desk.outlast())
        await until(lambda: "partner-3" in adapter.refused)
        book.take(lifecycle.on_tick(book.cases, book.records["gate/partner-3"], now_ms() + 1000))
        desk.desk.deliver("gate/partner-3")
        await until(lambda: "partner-3" not in adapter.refused and not desk.desk.under_way)
        # What the one before had begun arrives now.
        adapter.refused |= {"partner-3"}
        adapter.refused -= {"partner-2"}
        assert not outlast.done()
        await outlast
        await until(lambda: not desk.desk.under_way)
        assert adapter.refused == {"partner-2"}, "nobody asks about partner-1, whom it was told of long ago"
        told = len(adapter.told)
        desk.desk.deliver("gate/partner-3")
        await until(lambda: not desk.desk.under_way)
        assert len(adapter.told) == told, "that was all"


async def test_what_is_to_be_told_again_during_a_call_is_told_again_after_it():
    adapter = Scripted()
    adapter.hangs["partner-1"] = asyncio.Event()
    async with desk_of(Endpoint(adapter)) as desk:
        desk.tell()
        await until(lambda: adapter.told)
        desk.desk._lines[0].put(SUBJECT, forced=True)
        adapter.hangs["partner-1"].set()
        await desk.reaches("accepted")
    assert [wanted.version for wanted in adapter.told] == [1, 1]


async def test_a_gateway_is_told_of_its_own_realms_and_kinds_alone():
    """Equal ids of two realms are two credentials; whom nobody serves, the decision service refuses."""
    mine, other = Scripted(name="mine"), Scripted(name="other")
    endpoints = (
        Endpoint(mine, realms=frozenset({"gate"})),
        Endpoint(other, realms=frozenset({"elsewhere"})),
        Endpoint(Scripted(name="people"), kinds=frozenset({"session"})),
    )
    async with desk_of(*endpoints) as desk:
        desk.tell()
        await desk.reaches("accepted")
        assert mine.refused == {"partner-1"}
        assert other.told == []
        assert set(desk.book.records[SUBJECT].told) == {"mine"}
    async with desk_of(endpoints[1]) as desk:
        desk.tell()
        await desk.reaches("accepted")
        assert set(desk.book.records[SUBJECT].told) == {"authz"}


async def test_ten_thousand_pending_at_once_are_all_told_once():
    adapter = Scripted()
    async with desk_of(Endpoint(adapter, concurrency=32)) as desk:
        one = desk.book.found()
        for number in range(10_000):
            changed = {"id": f"partner-{number}", "webhook_id": f"msg_{number}"}
            record = msgspec.structs.replace(one, **changed)
            desk.book.records[record.subject] = record
            desk.desk.deliver(record.subject)
        await until(lambda: len(adapter.refused) == 10_000 and not desk.desk.under_way)
        assert len(adapter.told) == 10_000
        assert len({wanted.message for wanted in adapter.told}) == 10_000


@given(st.integers(0, 5_000), st.floats(0, 60))
def test_a_pause_is_never_longer_than_its_ceiling_and_a_quarter(retry: int, ceiling: float):
    assert 0 <= pause_seconds(retry, ceiling) <= ceiling * 1.25
    if ceiling >= 0.2:
        assert pause_seconds(retry, ceiling) >= 0.15


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=40))
def test_the_breaker_opens_on_several_credentials_in_a_row(calls: list[tuple[str, bool]]):
    """As a plain look at the calls since the last success says."""
    breaker = Breaker()
    since: list[str] = []
    for subject, taken in calls:
        if taken:
            breaker.succeeded()
            since.clear()
        else:
            breaker.failed(subject)
            since.append(subject)
        assert breaker.is_open == (len(since) >= 5 and len(set(since)) >= 3)


def _gauge(desk: Desk, name: str) -> float:
    return metric(desk.metrics, name, adapter="scripted")


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Ten thousand warnings are not what a test is about."""
    caplog.set_level("CRITICAL")
