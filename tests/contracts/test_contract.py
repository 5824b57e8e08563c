"""What every adapter does, whatever its gateway: one suite, run with each."""

from __future__ import annotations

import asyncio
import copy
import os
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from monitor.core.events import CredentialStatus
from monitor.response.adapters.protocol import Accepted, Retry, Seen
from monitor.response.in_time import send_no_later_than
from tests.contracts.servers import TOKEN
from tests.response.stage import until

if TYPE_CHECKING:
    from tests.contracts.conftest import Told

ACTIVE, SUSPENDED, REVOKED = CredentialStatus.ACTIVE, CredentialStatus.SUSPENDED, CredentialStatus.REVOKED
#: They do what they are told about anybody: they have no list of credentials.
WITHOUT_A_LIST = {"webhook", "haproxy"}


async def refuses(told: Told, id_: str | None = None) -> bool:
    return not await told.gateway.lets_in(told.ids[0] if id_ is None else id_)


async def lets_in(told: Told, id_: str | None = None) -> bool:
    return await told.gateway.lets_in(told.ids[0] if id_ is None else id_)


@pytest.mark.parametrize("status", [SUSPENDED, REVOKED])
async def test_refused_and_let_in_again(told: Told, status: CredentialStatus):
    """The one that is meant and no other, and afterwards the gateway is as it was before."""
    assert await lets_in(told)
    before = copy.deepcopy(told.server.state) if told.server else None
    assert await told.adapter.tell(told.wanted(status)) == Accepted()
    await until(lambda: refuses(told))
    assert await lets_in(told, told.ids[1])
    assert await told.adapter.tell(told.wanted(ACTIVE, 2)) == Accepted()
    await until(lambda: lets_in(told))
    if told.kind == "apisix":
        told.server.state[told.ids[0]]["update_time"] = 1
    if told.kind not in WITHOUT_A_LIST:
        after = copy.deepcopy(told.server.state)
        if told.kind == "tyk":
            assert not after[told.ids[0]].pop("meta_data")
        assert after == before


async def test_a_repeat_is_harmless(told: Told):
    for version, status in enumerate((SUSPENDED, ACTIVE, REVOKED), 1):
        for _ in range(3):
            assert isinstance(await told.adapter.tell(told.wanted(status, version)), Accepted)
        await until(partial(lets_in if status is ACTIVE else refuses, told))


async def test_a_call_whose_time_is_over_does_not_leave(told: Told):
    """An enforcer that stood still sends nothing of what it began before; a new connection or an old one."""
    for version in (1, 3):
        with send_no_later_than(time.monotonic() - 0.001):
            assert isinstance(await told.adapter.tell(told.wanted(SUSPENDED, version)), Retry)
        assert await lets_in(told)
        assert isinstance(await told.adapter.tell(told.wanted(ACTIVE, version + 1)), Accepted)
    with send_no_later_than(time.monotonic() + 60):
        assert await told.adapter.tell(told.wanted(SUSPENDED, 5)) == Accepted()
    await until(lambda: refuses(told))


async def test_a_suspension_becomes_a_revocation(told: Told):
    assert await told.adapter.tell(told.wanted(SUSPENDED)) == Accepted()
    assert await told.adapter.tell(told.wanted(REVOKED, 2)) == Accepted()
    await until(lambda: refuses(told))
    assert await told.adapter.tell(told.wanted(ACTIVE, 3)) == Accepted()
    await until(lambda: lets_in(told))


async def test_a_reinstatement_of_one_that_was_never_refused_changes_nothing(told: Told):
    before = copy.deepcopy(told.server.state) if told.server else None
    assert isinstance(await told.adapter.tell(told.wanted(ACTIVE)), Accepted)
    assert await lets_in(told)
    if told.kind not in WITHOUT_A_LIST:
        assert told.server.state == before


async def test_many_at_once(told: Told):
    """Calls side by side lose none of each other's changes."""
    outcomes = await asyncio.gather(
        *(told.adapter.tell(told.wanted(SUSPENDED, id_=id_)) for id_ in told.ids[:20])
    )
    assert outcomes == [Accepted()] * 20
    for id_ in told.ids[:20]:
        await until(partial(refuses, told, id_))
    for id_ in told.ids[20:]:
        assert await lets_in(told, id_)


async def test_a_credential_that_the_gateway_does_not_know_cannot_be_used_there(told: Told):
    if told.kind in WITHOUT_A_LIST:
        pytest.skip("it has no list of credentials")
    for status in (SUSPENDED, ACTIVE):
        outcome = await told.adapter.tell(told.wanted(status, id_="nobody"))
        assert isinstance(outcome, Accepted)
        assert outcome.note == "the gateway does not know this credential"
    assert await told.adapter.read_back(told.wanted(SUSPENDED, id_="nobody")) is Seen.UNKNOWN_CREDENTIAL
    await told.adapter.tell(told.wanted(SUSPENDED))
    told.server.remove(told.ids[0])
    assert isinstance(await told.adapter.tell(told.wanted(ACTIVE, 2)), Accepted)


async def test_an_id_is_never_more_than_an_id(told: Told):
    """Slashes, dots, queries and commands in an id lead nowhere else."""
    for id_ in (
        "../consumers",
        "a/b?c=d#e",
        "..",
        "partner-1%2F",
        "partner-1;del map #0 partner-2",
        "x y",
        "#a",
    ):
        outcome = await told.adapter.tell(told.wanted(SUSPENDED, id_=id_))
        assert not isinstance(outcome, Retry)
    for id_ in told.ids[:3]:
        assert await lets_in(told, id_)
    if told.server:
        assert all(".." not in path.partition("?")[0] for _, path in told.server.calls)


async def test_what_the_gateway_says_is_what_it_was_told(told: Told):
    if told.kind == "webhook":
        assert await told.adapter.read_back(told.wanted(SUSPENDED)) is None
        return
    assert await told.adapter.read_back(told.wanted(SUSPENDED)) is Seen.ACTIVE
    await told.adapter.tell(told.wanted(SUSPENDED))
    assert await told.adapter.read_back(told.wanted(SUSPENDED)) is Seen.REFUSED
    await told.gateway.forget(told.ids[0])
    assert await told.adapter.read_back(told.wanted(SUSPENDED)) is Seen.ACTIVE
    assert await told.adapter.tell(told.wanted(SUSPENDED)) == Accepted()
    await until(lambda: refuses(told))
    await told.adapter.tell(told.wanted(ACTIVE, 2))
    assert await told.adapter.read_back(told.wanted(ACTIVE, 2)) is Seen.ACTIVE


async def test_a_gateway_that_is_down_is_told_when_it_is_up(told: Told):
    await told.gateway.down()
    for status in (SUSPENDED, ACTIVE):
        outcome = await told.adapter.tell(told.wanted(status))
        assert isinstance(outcome, Retry)
        assert "127.0.0.1" not in outcome.reason
    assert await told.adapter.read_back(told.wanted(SUSPENDED)) is None
    assert len(await told.adapter.probe()) == 1
    await told.gateway.up()
    assert await told.adapter.tell(told.wanted(SUSPENDED)) == Accepted()
    await until(lambda: refuses(told))


async def test_a_probe_says_what_is_missing_and_changes_nothing(told: Told):
    before = copy.deepcopy(told.server.state) if told.server else None
    assert await told.adapter.probe() == []
    assert (told.server.state if told.server else None) == before
    if told.kind in WITHOUT_A_LIST:
        return
    told.server.token = "another"
    [problem] = await told.adapter.probe()
    assert "401" in problem or "403" in problem
    outcome = await told.adapter.tell(told.wanted(SUSPENDED))
    assert isinstance(outcome, Retry)
    assert await told.adapter.read_back(told.wanted(SUSPENDED)) is None
    assert await lets_in(told)


async def test_a_token_that_is_replaced_is_used_at_once(told: Told):
    if told.kind in WITHOUT_A_LIST or told.token_file is None:
        pytest.skip("it has no token")
    assert await told.adapter.probe() == []
    told.server.token = "a-new-token-of-the-test"
    if told.kind == "keycloak":
        told.server.tokens.clear()
    assert isinstance(await told.adapter.tell(told.wanted(SUSPENDED)), Retry)
    new = told.token_file.with_name("new")
    new.write_text("a-new-token-of-the-test")
    new.chmod(0o600)
    os.replace(new, told.token_file)  # noqa: PTH105 - as kubelet and vault agents do
    assert await told.adapter.tell(told.wanted(SUSPENDED)) == Accepted()


async def test_nothing_secret_is_in_a_repr(told: Told):
    shown = repr(told.adapter) + repr(vars(told.adapter)) + repr(told.endpoint) + repr(told.wanted(SUSPENDED))
    assert TOKEN not in shown
    assert told.ids[0] not in repr(told.wanted(SUSPENDED))


async def test_it_says_what_it_can(told: Told):
    traits = told.adapter.traits
    assert traits.kinds
    assert traits.reversible
    assert traits.scope
    assert 0 <= traits.time_to_effect_seconds <= 300
    assert told.endpoint.serves("gate", min(traits.kinds))
    assert not told.endpoint.serves("elsewhere", min(traits.kinds))
