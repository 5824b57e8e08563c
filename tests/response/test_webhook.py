"""Calls to a real receiver on loopback: what each of its faults leads to, and what never changes."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook

from monitor.core.events import CredentialStatus
from monitor.errors import ConfigurationError
from monitor.response import lifecycle
from monitor.response.adapters import Endpoint, build_endpoints
from monitor.response.adapters.protocol import Accepted, Retry, desired_state
from monitor.response.observing import on_observation
from monitor.settings import WebhookSettings
from tests.response.desk import SUBJECT, Book, Scripted, desk_of
from tests.response.stage import SECRET, Receiver, now_ms, observation, until, webhook

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def adapters(tmp_path: Path) -> Callable[..., list[Endpoint]]:
    """Return what makes an adapter for each address, with a short timeout."""

    def make(*urls: str, **changes: Any) -> list[Endpoint]:
        options = {"timeout": "200ms", **changes}
        return build_endpoints(
            [
                WebhookSettings.model_validate(webhook(tmp_path, url, name=f"webhook-{index}", **options))
                for index, url in enumerate(urls)
            ]
        )

    return make


async def drop(request: web.Request) -> web.Response:
    """End the connection without an answer: the receiver may well have done it."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def hang(_request: web.Request) -> web.Response:
    """Never answer."""
    await asyncio.Event().wait()
    return web.Response()


async def slow_body(request: web.Request) -> web.Response:
    """Accept, but never come to the end of the body."""
    response = web.StreamResponse(status=200, headers={"content-length": "10"})
    await response.prepare(request)
    await asyncio.Event().wait()
    return web.Response()


async def moved(_request: web.Request) -> web.Response:
    """Point somewhere else."""
    return web.Response(status=307, headers={"location": "/elsewhere"})


async def busy(_request: web.Request) -> web.Response:
    """Ask for a pause that is shorter than ours."""
    return web.Response(status=429, headers={"retry-after": "0"})


async def test_a_call_is_signed_and_says_what_must_be(receiver: Receiver, adapters: Any):
    """A receiver that knows the secret can verify it with the public library."""
    async with desk_of(*adapters(receiver.url)) as desk:
        record = desk.tell()
        await desk.reaches("accepted")
    [(headers, body)] = receiver.calls
    told = Webhook(SECRET).verify(body, headers)
    assert told["type"] == "credential.suspended"
    assert (told["data"]["realm"], told["data"]["id"]) == ("gate", "partner-1")
    assert (told["data"]["status"], told["data"]["version"]) == ("suspended", 1)
    assert (told["data"]["incident"], told["data"]["finding"]) == ("INC-0001", record.finding)
    assert datetime.fromisoformat(told["data"]["until"]).timestamp() * 1000 == record.until_ms
    assert headers["webhook-id"] == record.webhook_id
    assert headers["content-type"] == "application/json"
    assert desk.book.kinds == ["requested", "attempted", "accepted"]


@pytest.mark.parametrize("fault", [500, 503, 302, 404, drop, hang, moved, busy])
async def test_a_fault_is_answered_by_the_same_call_again(receiver: Receiver, adapters: Any, fault: Any):
    """Same id, equal body, and the gateway hears of it until it accepts; a redirect is not followed."""
    receiver.answers = [fault, fault, 204]
    async with desk_of(*adapters(receiver.url)) as desk:
        desk.tell()
        await desk.reaches("accepted")
    assert len(receiver.calls) == 3
    assert len(set(receiver.ids)) == 1
    assert len({body for _, body in receiver.calls}) == 1
    for headers, body in receiver.calls:
        Webhook(SECRET).verify(body, headers)
    assert (desk.count("retried"), desk.count("accepted")) == (2, 1)
    assert desk.book.kinds == ["requested", "attempted", "attempted", "attempted", "accepted"]


async def test_what_is_seen_meanwhile_does_not_change_the_call(receiver: Receiver, adapters: Any):
    """Leaks and the first refusal change the record between two attempts, not what is sent."""
    receiver.answers = [500]
    async with desk_of(*adapters(receiver.url)) as desk:
        desk.tell()
        await until(lambda: receiver.calls)
        for seen in (observation("leaked", 1, leaked=4), observation("refused", 1, leaked=4)):
            desk.book.take(on_observation(desk.book.records[SUBJECT], seen, now_ms()))
        before = len(receiver.calls)
        await until(lambda: len(receiver.calls) > before + 1)
        receiver.answers = [204]
        await until(lambda: desk.book.records[SUBJECT].accepted_ms is not None)
        assert desk.state() == "enforced"
    assert len({body for _, body in receiver.calls}) == 1


async def test_headers_without_a_body_are_an_answer(receiver: Receiver, adapters: Any):
    """A receiver that trickles its body has accepted; nobody waits for the rest."""
    receiver.answers = [slow_body]
    async with desk_of(*adapters(receiver.url, timeout="10s")) as desk:
        desk.tell()
        await desk.reaches("accepted")
    assert len(receiver.calls) == 1


async def test_a_receiver_that_was_down_is_told_when_it_is_up(receiver: Receiver, adapters: Any):
    """Connection refused is a fault like any other."""
    await receiver.down()
    async with desk_of(*adapters(receiver.url)) as desk:
        desk.tell()
        await until(lambda: desk.count("retried") >= 3)
        assert desk.state() == "requested"
        await receiver.up()
        await desk.reaches("accepted")
    assert len(receiver.calls) == 1


async def test_a_host_name_that_cannot_be_is_a_fault_and_not_the_end(adapters: Any):
    """A typing error in one address must not end the enforcer."""
    async with desk_of(*adapters("http://gate..example/hook")) as desk:
        desk.tell()
        await until(lambda: desk.count("retried") >= 2)
        assert desk.fatal == []


async def test_410_disables_the_receiver(receiver: Receiver, adapters: Any):
    """It is called once, whatever comes after; each status that it misses counts as failed."""
    receiver.answers = [410]
    async with desk_of(*adapters(receiver.url)) as desk:
        desk.tell()
        await desk.reaches("failed")
        desk.tell(2, "partner-2")
        await desk.reaches("failed", "gate/partner-2")
    assert len(receiver.calls) == 1
    assert desk.count("disabled") == 2


async def test_it_is_given_up_at_the_end_of_the_policy(receiver: Receiver, adapters: Any):
    """Then it has failed: in the ledger once, and never accepted."""
    receiver.answers = [500]
    async with desk_of(*adapters(receiver.url), give_up=0.1) as desk:
        # Decided long ago, by an enforcer that died: the time runs from our first attempt.
        desk.book.records[SUBJECT] = msgspec.structs.replace(desk.book.found(), requested_ms=1)
        desk.desk.deliver(SUBJECT)
        await desk.reaches("failed")
        assert len(receiver.calls) > 1
        assert Counter(desk.book.kinds)["failed"] == 1
        assert desk.book.records[SUBJECT].accepted_ms is None
        # A newer version is a new call with a time of its own.
        receiver.answers = [204]
        desk.tell(2, action="revoke")
        await desk.reaches("accepted")
    assert len(set(receiver.ids)) == 2


async def test_one_dead_receiver_does_not_delay_another(receiver: Receiver, other: Receiver, adapters: Any):
    """Hundreds wait for the dead one, and the living one has them all."""
    receiver.answers = [hang]
    async with desk_of(*adapters(receiver.url, other.url, timeout="30s")) as desk:
        for number in range(100):
            desk.tell(number, f"partner-{number}")
        await until(lambda: len(other.calls) == 100)
        assert len(set(other.ids)) == 100
        # Some of the dead one's, and no more at a time than one adapter may have under way.
        assert 1 <= len(receiver.calls) <= 8
        # Accepted is what *every* gateway has accepted.
        assert {record.state for record in desk.book.records.values()} == {"requested"}


@pytest.mark.parametrize("first", [0, 1])
async def test_accepted_by_one_and_given_up_by_another_is_failed(
    receiver: Receiver, other: Receiver, adapters: Any, first: int
):
    """In whichever order they come to their ends."""
    receivers = [receiver, other]
    receivers[first].answers = [410]
    receivers[1 - first].answers = [503, 503, 204]
    async with desk_of(*adapters(receiver.url, other.url)) as desk:
        desk.tell()
        await desk.reaches("failed")
    assert desk.book.records[SUBJECT].accepted_ms is None
    assert "accepted" not in desk.book.kinds


async def test_a_newer_version_takes_the_place_of_one_that_is_retried(receiver: Receiver, adapters: Any):
    """What is retried is always the newest: a late "suspend" never undoes what came after it."""
    receiver.answers = [500]
    async with desk_of(*adapters(receiver.url)) as desk:
        desk.tell(ttl_ms=1)
        await until(lambda: len(receiver.calls) >= 2)
        ended = lifecycle.on_tick(desk.book.cases, desk.book.records[SUBJECT], now_ms() + 1000)
        desk.book.take(ended)
        desk.desk.deliver(SUBJECT)
        await until(lambda: receiver.bodies[-1]["type"] == "credential.reinstated")
        receiver.answers = [204]
        await until(lambda: desk.book.records[SUBJECT].accepted_ms is not None)
    versions = [body["data"]["version"] for body in receiver.bodies]
    assert versions == sorted(versions)
    assert set(versions) == {1, 2}
    assert len(set(receiver.ids)) == 2
    assert desk.book.records[SUBJECT].status is CredentialStatus.ACTIVE


async def test_the_receiver_may_ask_for_a_longer_pause_but_not_for_none():
    """Retry-After is kept; one of 0 does not make the enforcer run hot."""
    adapter = Scripted(Retry("429", 0.3), Retry("429", 0.0), Accepted())
    async with desk_of(Endpoint(adapter)) as desk:
        desk.tell()
        await desk.reaches("accepted")
    assert adapter.at[1] - adapter.at[0] >= 0.3
    assert adapter.at[2] - adapter.at[1] >= 0.01


async def test_very_many_retries_are_no_end_of_it():
    """The pause stays at its ceiling, however often it was doubled."""
    adapter = Scripted(*[Retry("500")] * 1100, Accepted())
    async with desk_of(Endpoint(adapter), ceiling=0.0) as desk:
        desk.tell()
        await desk.reaches("accepted")
    assert len(adapter.at) == 1101


@pytest.mark.parametrize(
    ("after", "least", "most"),
    [
        ("7", 7, 7),
        ("3600", 60, 60),
        ("0", 0, 0),
        (timedelta(hours=1), 60, 60),
        (timedelta(minutes=-1), 0, 0),
        ("soon", None, None),
        ("-5", None, None),
        (None, None, None),
    ],
)
async def test_retry_after_in_both_forms(
    receiver: Receiver, adapters: Any, after: str | timedelta | None, least: float | None, most: float | None
):
    """Seconds or a date, at most a minute; what cannot be read counts as not said."""
    if isinstance(after, timedelta):
        after = format_datetime(datetime.now(UTC) + after, usegmt=True)
    said = after

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=429, headers={} if said is None else {"retry-after": said})

    receiver.answers = [answer]
    [endpoint] = adapters(receiver.url)
    adapter = endpoint.adapter
    outcome = await adapter.tell(desired_state(Book().found()))
    await adapter.close()
    assert isinstance(outcome, Retry)
    if least is None or most is None:
        assert outcome.seconds is None
    else:
        assert outcome.seconds is not None
        assert least <= outcome.seconds <= most


async def test_the_reason_of_a_fault_shows_no_address(adapters: Any):
    """Errors of HTTP clients like to quote addresses, which may hold passwords."""
    [endpoint] = adapters("http://user:password@127.0.0.1:1/hook?token=secret")
    adapter = endpoint.adapter
    outcome = await adapter.tell(desired_state(Book().found()))
    await adapter.close()
    assert isinstance(outcome, Retry)
    assert outcome.reason == "ClientConnectorError"
    assert "127.0.0.1" not in repr(adapter)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "not base64 at all, only words!", "\xff"])
def test_bad_secrets_are_named_all_at_once_and_not_shown(tmp_path: Path, secret: str):
    """A short or broken secret would sign nothing worth verifying."""
    path = tmp_path / "bad"
    path.write_bytes(secret.encode("latin-1"))
    path.chmod(0o600)
    bad = WebhookSettings.model_validate({**webhook(tmp_path, "http://127.0.0.1/"), "secret_file": str(path)})
    gone = bad.model_copy(update={"secret_file": tmp_path / "gone"})
    with pytest.raises(ConfigurationError) as caught:
        build_endpoints([bad, gone])
    assert [fault.where for fault in caught.value.faults] == [
        "response.adapters[0].secret_file",
        "response.adapters[1].secret_file",
    ]
    assert len(secret) < 8 or secret not in str(caught.value)
