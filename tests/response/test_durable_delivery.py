"""What of a delivery is durable: the attempt before the call, its end, and the call that a restart repeats."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from aiohttp import web

from tests.response.stage import Receiver, decisions, finding, found, observation, until, webhook

if TYPE_CHECKING:
    from pathlib import Path

    from tests.response.conftest import Install


async def test_a_restart_goes_on_with_the_same_call(install: Install, tmp_path: Path, receiver: Receiver):
    """The next enforcer retries with the same id and an equal body; it is accepted once."""
    receiver.answers = [500]
    cast = install(webhooks=[webhook(tmp_path, receiver.url)])
    async with cast.enforcer() as enforcer:
        await enforcer.apply_findings(await found(cast.settings, finding(1)))
        await until(lambda: len(receiver.calls) >= 2)
    async with cast.enforcer():
        before = len(receiver.calls)
        await until(lambda: len(receiver.calls) >= before + 2)
        assert cast.metric("oldest_undelivered_seconds") > 0
        receiver.answers = [204]
        await until(lambda: decisions(cast.settings, "accepted"))
        assert cast.metric("oldest_undelivered_seconds") == 0
    async with cast.enforcer():
        pass  # nothing is left to be told
    assert len(set(receiver.ids)) == 1
    assert len({body for _, body in receiver.calls}) == 1
    ledger = await decisions(cast.settings)
    kinds = Counter(entry["kind"] for entry in ledger)
    assert (kinds["requested"], kinds["accepted"], kinds["failed"]) == (1, 1, 0)
    # Each call has an entry from before it was made; the last enforcer of all made none.
    assert kinds["attempted"] >= len(receiver.calls)
    assert ledger[-1]["kind"] == "accepted"
    assert cast.fatal == []


async def test_no_call_is_made_before_its_attempt_is_durable(
    install: Install, tmp_path: Path, receiver: Receiver
):
    """A receiver that looks into the ledger finds the attempt that it is called by."""
    cast = install(webhooks=[webhook(tmp_path, receiver.url)])
    seen: list[list[str]] = []

    async def look(request: web.Request) -> web.Response:
        seen.append([entry["kind"] for entry in await decisions(cast.settings)])
        return web.Response(status=204)

    receiver.answers = [look]
    async with cast.enforcer() as enforcer:
        await enforcer.apply_findings(await found(cast.settings, finding(1)))
        await until(lambda: decisions(cast.settings, "accepted"))
    assert seen == [["requested", "attempted"]]


async def test_given_up_stands_in_the_ledger_and_the_metrics(
    install: Install, tmp_path: Path, receiver: Receiver
):
    """The credential stays refused by the decision service; the next enforcer tries again."""
    receiver.answers = [500]
    cast = install(webhooks=[webhook(tmp_path, receiver.url)], give_up_after="1s")
    async with cast.enforcer() as enforcer:
        await enforcer.apply_findings(await found(cast.settings, finding(1)))
        await until(lambda: decisions(cast.settings, "failed"))
        assert cast.metric("open_incidents", state="failed") == 1
        assert cast.metric("decisions_total", kind="failed") == 1
        await until(lambda: cast.metric("oldest_undelivered_seconds") > 0)
        assert cast.metric("dead_letters", adapter="webhook-0") == 1
    assert cast.metric("open_incidents", state="failed") == 0, (
        "whoever follows knows; this one would page for ever"
    )
    assert cast.metric("oldest_undelivered_seconds") == 0
    assert cast.metric("dead_letters", adapter="webhook-0") == 0
    called = len(receiver.calls)
    async with cast.enforcer() as enforcer:
        seen = await found(cast.settings, observation("refused", 1))
        await enforcer.apply_findings(seen)
        assert cast.metric("open_incidents", state="enforced") == 1
        assert cast.metric("oldest_undelivered_seconds") > 0
        await until(lambda: len(receiver.calls) > called)
        receiver.answers = [204]
        await until(lambda: decisions(cast.settings, "accepted"))
    assert len(set(receiver.ids)) == 1
    assert json.loads(receiver.calls[0][1])["data"]["status"] == "suspended"
