"""A receiver that answered 410 is called again when a person says so: told all it missed, once, for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monitor.response.adapters import Endpoint
from monitor.response.adapters.protocol import Accepted, Disabled
from monitor.wire import acts
from tests.response.desk import SUBJECT, Book, Desk, Scripted, desk_of
from tests.response.stage import Receiver, decisions, finding, found, now_ms, until, webhook

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from monitor.response.enforcer import Enforcer
    from monitor.response.states import Step
    from tests.response.conftest import Install


def enable(number: int, endpoint: str = "webhook-0") -> acts.EnableDelivery:
    """Return the act of a person."""
    asked: dict[str, Any] = {"by": "ann", "reason": "the receiver is back", "at_ms": now_ms()}
    return acts.EnableDelivery(act=f"act-{number}", endpoint=endpoint, **asked)


def shown(enforcer: Enforcer) -> tuple[bool, int, int]:
    """Return whether the one receiver is disabled, what waits for it, and its dead letters."""
    (view,) = enforcer.people.endpoints()
    assert (view.endpoint, view.type, view.breaker) == ("webhook-0", "webhook", "closed")
    assert ("410" in view.reason) is view.disabled
    return view.disabled, view.waiting, view.dead_letters


async def test_a_person_has_a_receiver_called_again_that_answered_410(
    install: Install, tmp_path: Path, receiver: Receiver
):
    """With the ids that it would have been told by; neither a restart before nor one after changes that."""
    receiver.answers = [410]
    cast = install(webhooks=[webhook(tmp_path, receiver.url)])
    async with cast.enforcer() as enforcer:
        await enforcer.apply_findings(await found(cast.settings, finding(1), finding(2, "partner-2")))
        await until(lambda: shown(enforcer) == (True, 0, 2))
        assert (await enforcer.people.act(enable(1, "webhook-9"))).outcome == "refused"
        assert shown(enforcer) == (True, 0, 2)
    gone = list(receiver.ids)
    receiver.answers = [204]
    async with cast.enforcer() as enforcer:
        await until(lambda: shown(enforcer) == (True, 0, 2))
        assert receiver.ids == gone, "what waits for a person does not try by itself"
        receipt = await enforcer.people.act(enable(2))
        assert receipt.outcome == "done"
        await until(lambda: shown(enforcer) == (False, 0, 0))
        assert {view.state for view in enforcer.people.incidents()} == {"accepted"}
        told = receiver.ids[len(gone) :]
        assert len(told) == len(set(told)) == 2, "each was told once"
        assert set(gone) <= set(told)
        assert cast.metric("adapter_disabled", adapter="webhook-0") == 0
        assert (await enforcer.people.act(enable(2))) == receipt
        assert (await enforcer.people.act(enable(3))).outcome == "unchanged"
    async with cast.enforcer() as enforcer:
        await enforcer.apply_findings(await found(cast.settings, finding(3, "partner-3")))
        await until(lambda: len(receiver.ids) == len(gone) + 3)
        assert shown(enforcer)[0] is False
    (entry,) = await decisions(cast.settings, "adapter_enabled")
    assert (entry["adapter"], entry["by"], entry["why"]) == ("webhook-0", "ann", "the receiver is back")
    answers = [entry["outcome"] for entry in await decisions(cast.settings, "act")]
    assert answers == ["refused", "done", "unchanged"]
    assert cast.fatal == []


async def test_a_receiver_that_says_410_again_is_disabled_again():
    adapter = Scripted(Disabled("410"), Disabled("410"), Accepted())
    async with desk_of(Endpoint(adapter, fingerprint="a")) as desk:
        desk.tell()
        await desk.reaches("failed")
        desk.book.disabled.clear()
        desk.desk.enable("scripted")
        await until(lambda: len(adapter.told) == 2 and not desk.desk.under_way)
        assert desk.book.disabled == {"scripted": "a"}
        desk.desk.enable("scripted")
        await until(lambda: not desk.desk.under_way)
        assert len(adapter.told) == 2, "the book still has it disabled"
        desk.book.disabled.clear()
        desk.desk.enable("another")
        assert not desk.desk.under_way
        desk.desk.enable("scripted")
        await desk.reaches("accepted")
    assert len({wanted.message for wanted in adapter.told}) == 1


async def test_whom_the_receiver_accepted_before_is_not_told_again():
    adapter = Scripted(Accepted(), Disabled("410"), Accepted())
    async with desk_of(Endpoint(adapter, fingerprint="a")) as desk:
        desk.tell(1, "partner-1")
        await desk.reaches("accepted")
        desk.tell(2, "partner-2")
        await desk.reaches("failed", "gate/partner-2")
        desk.book.disabled.clear()
        desk.desk.enable("scripted")
        await desk.reaches("accepted", "gate/partner-2")
    assert [wanted.id for wanted in adapter.told] == ["partner-1", "partner-2", "partner-2"]


async def test_what_a_410_is_about_is_told_where_it_is_enabled_before_that_is_noted():
    """Of several calls under way each may answer 410: a person may be faster than the last of them."""

    class Hasty(Book):
        desk: Desk

        async def put(self, change: Callable[[], Step]) -> None:
            await super().put(change)
            if self.disabled:
                self.disabled.clear()
                self.desk.desk.enable("scripted")

    adapter, book = Scripted(Disabled("410"), Accepted()), Hasty()
    async with desk_of(Endpoint(adapter, fingerprint="a"), book=book) as desk:
        book.desk = desk
        desk.tell()
        await desk.reaches("accepted", SUBJECT)
    assert len(adapter.told) == 2
    assert "failed" not in book.kinds
