"""Places of a gateway: held for calls alone, however long the ledger takes, and never by more than may."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from monitor.response import line, places
from monitor.response.adapters import Endpoint
from monitor.response.adapters.protocol import Accepted, Retry
from monitor.response.places import Places, Turn
from tests.response.desk import Book, Desk, Scripted, desk_of
from tests.response.stage import until

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from monitor.response.adapters.protocol import DesiredState, Outcome
    from monitor.response.states import Step


class SlowBook(Book):
    """A book whose notes of a kind are held back while its event is not set."""

    def __init__(self, *held: str) -> None:
        super().__init__()
        self.free = {kind: asyncio.Event() for kind in held}
        self.waiting = Counter[str]()

    async def put(self, change: Callable[[], Step]) -> None:
        kinds = {decision.kind for decision in change().decisions}
        for kind, free in self.free.items():
            if kind in kinds:
                self.waiting[kind] += 1
                await free.wait()
                self.waiting[kind] -= 1
        await super().put(change)


def tell(desk: Desk, count: int) -> None:
    """Decide about some credentials, partner-1 first."""
    for number in range(1, count + 1):
        desk.tell(number, f"partner-{number}")


async def test_a_place_is_free_while_the_answer_is_being_noted():
    """With one place, all are called before the ledger has taken a single answer."""
    adapter, book = Scripted(), SlowBook("accepted")
    async with desk_of(Endpoint(adapter, concurrency=1), book=book) as desk:
        tell(desk, 5)
        await until(lambda: len(adapter.told) == 5)
        assert {record.state for record in book.records.values()} == {"requested"}
        book.free["accepted"].set()
        await until(lambda: not desk.desk.under_way)
        assert {record.state for record in book.records.values()} == {"accepted"}


async def test_a_place_is_free_while_an_attempt_is_being_noted():
    """Attempts wait for the ledger together: as many as there are places, whatever is being called."""
    adapter, book = Scripted(), SlowBook("attempted")
    async with desk_of(Endpoint(adapter, concurrency=3), book=book) as desk:
        tell(desk, 5)
        await until(lambda: book.waiting["attempted"] == 3)
        assert adapter.told == [], "nobody is called before that is durable"
        book.free["attempted"].set()
        await until(lambda: len(adapter.refused) == 5 and not desk.desk.under_way)


async def test_the_next_attempts_are_noted_while_calls_are_under_way():
    adapter, book = Scripted(), Book()
    adapter.hangs["partner-1"] = asyncio.Event()
    async with desk_of(Endpoint(adapter, concurrency=1), book=book) as desk:
        tell(desk, 4)
        await until(lambda: book.kinds.count("attempted") == 2)
        assert [wanted.id for wanted in adapter.told] == ["partner-1"]
        adapter.hangs["partner-1"].set()
        await until(lambda: len(adapter.refused) == 4 and not desk.desk.under_way)
        assert [wanted.id for wanted in adapter.told] == [f"partner-{n}" for n in range(1, 5)], (
            "in their order"
        )
        assert book.kinds.count("attempted") == 4


async def test_nothing_is_noted_ahead_of_calls_that_take_long(monkeypatch: pytest.MonkeyPatch):
    """Else each would have to be noted again, as long as the gateway hangs."""
    monkeypatch.setattr(places, "LONG_CALL_SECONDS", -1.0)
    adapter, book = Scripted(), Book()
    adapter.hangs = {f"partner-{number}": asyncio.Event() for number in (1, 2)}
    async with desk_of(Endpoint(adapter, concurrency=2), book=book) as desk:
        tell(desk, 2)
        await until(lambda: len(adapter.told) == 2)
        desk.tell(3, "partner-3")
        adapter.hangs["partner-1"].set()
        await until(lambda: "partner-3" in adapter.refused)
        desk.tell(4, "partner-4")
        await until(lambda: "partner-4" in adapter.refused)
        assert book.kinds.count("attempted") == len(adapter.told) == 4
        adapter.hangs["partner-2"].set()
        await until(lambda: not desk.desk.under_way)


async def test_a_note_that_waited_too_long_for_a_place_leads_to_no_call(monkeypatch: pytest.MonkeyPatch):
    """Another enforcer may be active by then; it is noted anew before it is called."""
    monkeypatch.setattr(line, "STOOD_STILL_SECONDS", 0.05)
    adapter, book = Scripted(), Book()
    adapter.hangs["partner-1"] = asyncio.Event()
    async with desk_of(Endpoint(adapter, concurrency=1), book=book) as desk:
        tell(desk, 2)
        await until(lambda: book.kinds.count("attempted") == 2)
        loop = asyncio.get_running_loop()
        noted = loop.time()
        await until(lambda: loop.time() > noted + 0.06)
        adapter.hangs["partner-1"].set()
        await until(lambda: len(adapter.refused) == 2 and not desk.desk.under_way)
        assert book.kinds.count("attempted") == 3
        assert [wanted.id for wanted in adapter.told] == ["partner-1", "partner-2"]


async def test_what_is_noted_when_the_gateway_is_busy_is_not_called_before_it_wants():
    """Retry-After holds for those too whose attempts stand in the ledger already."""
    adapter = Scripted(Retry("429", 0.3), Accepted())
    adapter.hangs["partner-1"] = asyncio.Event()
    async with desk_of(Endpoint(adapter, concurrency=1)) as desk:
        tell(desk, 2)
        await until(lambda: desk.book.kinds.count("attempted") == 2)
        adapter.hangs["partner-1"].set()
        await until(lambda: len(adapter.refused) == 2 and not desk.desk.under_way)
        answered = adapter.at[0]
        assert all(at - answered >= 0.3 for at in adapter.at[1:])


async def test_a_newer_version_is_told_in_the_place_of_the_one_that_was_noted():
    adapter, book = Scripted(), Book()
    adapter.hangs["partner-1"] = asyncio.Event()
    async with desk_of(Endpoint(adapter, concurrency=1), book=book) as desk:
        tell(desk, 2)
        await until(lambda: book.kinds.count("attempted") == 2)
        desk.tell(3, "partner-2", action="revoke")
        adapter.hangs["partner-1"].set()
        await until(lambda: not desk.desk.under_way)
    assert [(wanted.id, wanted.version) for wanted in adapter.told] == [("partner-1", 1), ("partner-2", 2)]


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12),
)
def test_never_more_calls_than_places_and_one_at_a_time_of_each(count: int, ways: list[tuple[int, int, int]]):
    """Whatever takes how long: the note before a call, the call, and the note after it."""

    class Counting(Scripted):
        most = 0

        async def tell(self, wanted: DesiredState) -> Outcome:
            running.append(wanted.id)
            assert running.count(wanted.id) == 1
            Counting.most = max(Counting.most, len(running))
            await turns(ways[int(wanted.id.removeprefix("partner-")) - 1][1])
            running.remove(wanted.id)
            return await super().tell(wanted)

    class Slow(Book):
        async def put(self, change: Callable[[], Step]) -> None:
            step = change()
            if step.record is not None:
                before, _, after = ways[int(step.record.id.removeprefix("partner-")) - 1]
                await turns(before if step.decisions[0].kind == "attempted" else after)
            await super().put(change)

    async def turns(number: int) -> None:
        for _ in range(number):
            await asyncio.sleep(0)

    async def run() -> None:
        adapter = Counting()
        async with desk_of(Endpoint(adapter, concurrency=count), book=Slow()) as desk:
            tell(desk, len(ways))
            await until(lambda: not desk.desk.under_way)
            assert desk.fatal == []
            assert len(adapter.told) == len(adapter.refused) == len(ways)
            assert Counting.most <= count

    running: list[str] = []
    asyncio.run(run())


async def test_while_a_gateway_is_taken_for_dead_one_turn_is_all():
    many = Places(4, lambda: None)
    now = asyncio.get_running_loop().time()
    assert many.room(now, alone=True)
    turn = Turn(retry=True, alone=True)
    many.begin(turn)
    assert not many.room(now, alone=True)
    assert not many.room_for_retry(alone=True)
    async with many.hold(turn):
        assert not many.room(now, alone=True)
    assert many.room(now, alone=True)
    assert many.room_for_retry(alone=True)
