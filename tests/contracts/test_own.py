"""What is one gateway's own: whose blocks are left alone, and what it says where it cannot be told."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from monitor.core.events import CredentialStatus
from monitor.errors import ConfigurationError
from monitor.response.adapters.protocol import Accepted, Refused, Retry, Seen
from tests.contracts import servers
from tests.contracts.conftest import Told, endpoint_of, open_gateway, settings_of
from tests.response.stage import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Open = Callable[[str], Awaitable[Told]]

ACTIVE, SUSPENDED = CredentialStatus.ACTIVE, CredentialStatus.SUSPENDED


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Open]:
    """Return what starts a gateway with its adapter."""
    async with AsyncExitStack() as exits:

        async def make(kind: str) -> Told:
            told = await open_gateway(kind, tmp_path, exits)
            exits.push_async_callback(told.adapter.close)
            return told

        yield make


async def test_kong_without_a_database_is_refused_in_words(gateway: Open):
    told = await gateway("kong")
    told.server.db_less = True
    outcome = await told.adapter.tell(told.wanted(SUSPENDED))
    assert isinstance(outcome, Refused)
    assert "DB-less" in outcome.reason
    [problem] = await told.adapter.probe()
    assert "DB-less" in problem


async def test_kong_keeps_a_plugin_that_somebody_else_has_put_there(gateway: Open):
    told = await gateway("kong")
    theirs = {"name": "request-termination", "consumer": {"id": "uuid-of-partner-0"}, "tags": ["ops"]}
    told.server.state["plugins"]["theirs"] = theirs
    outcome = await told.adapter.tell(told.wanted(SUSPENDED))
    assert isinstance(outcome, Refused)
    assert await told.adapter.tell(told.wanted(ACTIVE, 2)) == Accepted()
    assert told.server.state["plugins"] == {"theirs": theirs}


async def test_kong_tags_what_is_ours_so_that_deck_spares_it(gateway: Open):
    told = await gateway("kong")
    await told.adapter.tell(told.wanted(SUSPENDED))
    [plugin] = told.server.state["plugins"].values()
    assert "access-monitor" in plugin["tags"]
    assert plugin["config"]["status_code"] == 403
    assert told.ids[0] not in str(plugin["tags"])


async def test_kong_lets_a_consumer_in_when_the_last_of_its_keys_is_reinstated(gateway: Open):
    told = await gateway("kong-by-key")
    told.server.state["keys"]["second-key"] = "partner-0"
    for id_ in (told.ids[0], "second-key"):
        assert await told.adapter.tell(told.wanted(SUSPENDED, id_=id_)) == Accepted()
    await until(lambda: _refuses(told))
    assert await told.adapter.tell(told.wanted(ACTIVE, 2)) == Accepted()
    await asyncio.sleep(2 * servers.LAG_SECONDS)
    assert not await told.gateway.lets_in("second-key")
    assert await told.adapter.read_back(told.wanted(ACTIVE, 2)) is Seen.ACTIVE
    assert await told.adapter.read_back(told.wanted(SUSPENDED, id_="second-key")) is Seen.REFUSED
    assert await told.adapter.tell(told.wanted(ACTIVE, 2, id_="second-key")) == Accepted()
    await until(lambda: told.gateway.lets_in("second-key"))
    assert told.server.state["plugins"] == {}


async def test_kong_puts_a_plugin_that_somebody_switched_off_back_on(gateway: Open):
    told = await gateway("kong")
    await told.adapter.tell(told.wanted(SUSPENDED))
    [plugin] = told.server.state["plugins"].values()
    plugin["enabled"] = False
    assert await told.adapter.read_back(told.wanted(SUSPENDED)) is Seen.ACTIVE
    await told.adapter.tell(told.wanted(SUSPENDED))
    assert await told.adapter.read_back(told.wanted(SUSPENDED)) is Seen.REFUSED


async def test_apisix_keeps_a_restriction_that_is_not_ours(gateway: Open):
    told = await gateway("apisix")
    theirs = {"type": "route_id", "blacklist": ["9"]}
    told.server.state["partner-0"]["plugins"]["consumer-restriction"] = theirs
    assert isinstance(await told.adapter.tell(told.wanted(SUSPENDED)), Refused)
    assert await told.adapter.tell(told.wanted(ACTIVE, 2)) == Accepted()
    assert told.server.state["partner-0"]["plugins"]["consumer-restriction"] == theirs


@pytest.mark.parametrize("kind", ["tyk", "keycloak"])
async def test_what_somebody_else_switched_off_stays_off(gateway: Open, kind: str):
    told = await gateway(kind)
    field, off = ("is_inactive", True) if kind == "tyk" else ("enabled", False)
    told.server.state[told.ids[0]][field] = off
    for status, version in ((SUSPENDED, 1), (ACTIVE, 2)):
        outcome = await told.adapter.tell(told.wanted(status, version))
        assert isinstance(outcome, Accepted)
        assert outcome.note is not None
        assert told.server.state[told.ids[0]][field] is off
    assert await told.adapter.read_back(told.wanted(SUSPENDED)) is Seen.REFUSED
    assert await told.adapter.read_back(told.wanted(ACTIVE, 2)) is Seen.ACTIVE


async def test_tyk_keeps_the_quota_of_a_key(gateway: Open):
    told = await gateway("tyk")
    await told.adapter.tell(told.wanted(SUSPENDED))
    await told.adapter.tell(told.wanted(ACTIVE, 2))
    assert told.server.state[told.ids[0]]["quota_remaining"] == 7


async def test_keycloak_signs_users_out_only_where_the_configuration_accepts_it(
    gateway: Open, tmp_path: Path
):
    told = await gateway("keycloak")
    plain = settings_of("keycloak", tmp_path, url=told.server.url, sign_out_users=True)
    with pytest.raises(ConfigurationError, match="accept_irreversible"):
        endpoint_of(plain)
    endpoint = endpoint_of({**plain, "accept_irreversible": True})
    assert not endpoint.adapter.traits.reversible
    assert endpoint.serves("gate", "session")
    assert not told.endpoint.serves("gate", "session")
    user = told.wanted(SUSPENDED, id_="user-partner-0", kind="session")
    assert await endpoint.adapter.tell(user) == Accepted()
    assert told.server.logged_out == ["user-partner-0"]
    assert not told.server.lets_in("user-partner-0")
    assert await endpoint.adapter.read_back(user) is Seen.REFUSED
    back = told.wanted(ACTIVE, 2, id_="user-partner-0", kind="session")
    assert await endpoint.adapter.tell(back) == Accepted()
    assert told.server.lets_in("user-partner-0")
    assert told.server.logged_out == ["user-partner-0"]
    await endpoint.adapter.close()


async def test_keycloak_asks_for_a_token_once_for_many_calls(gateway: Open):
    told = await gateway("keycloak")
    await asyncio.gather(*(told.adapter.tell(told.wanted(SUSPENDED, id_=id_)) for id_ in told.ids))
    assert sum(path.endswith("/token") for _, path in told.server.calls) == 1
    told.server.tokens.clear()  # Keycloak was restarted
    assert await told.adapter.tell(told.wanted(ACTIVE, 2)) == Accepted()


async def test_haproxy_keeps_what_is_not_ours_in_the_file(gateway: Open, tmp_path: Path):
    file = tmp_path / "refused.map"
    told = await gateway("haproxy")
    file.write_text("# by hand\nstranger blocked\n\n", encoding="utf-8")
    file.chmod(0o640)
    await told.adapter.tell(told.wanted(SUSPENDED))
    assert file.read_text() == "# by hand\nstranger blocked\n\npartner-0 suspended:INC-0142\n"
    assert file.stat().st_mode & 0o777 == 0o640
    await told.adapter.tell(told.wanted(ACTIVE, 2))
    assert file.read_text() == "# by hand\nstranger blocked\n\n"


async def test_haproxy_refuses_after_it_was_started_again(gateway: Open):
    """The file is what it starts from; what the runtime API alone knew would be gone."""
    told = await gateway("haproxy")
    await told.adapter.tell(told.wanted(SUSPENDED))
    await told.gateway.down()
    outcome = await told.adapter.tell(told.wanted(SUSPENDED, id_="partner-1"))
    assert isinstance(outcome, Retry)  # and yet it stands in the file already
    await told.gateway.up()
    assert not await told.gateway.lets_in("partner-0")
    assert not await told.gateway.lets_in("partner-1")
    assert await told.gateway.lets_in("partner-2")


async def test_haproxy_that_does_not_know_the_map_says_so(gateway: Open, tmp_path: Path):
    told = await gateway("haproxy")
    other = tmp_path / "other.map"
    other.touch()
    endpoint = endpoint_of(settings_of("haproxy", tmp_path, map_file=str(other)))
    [problem] = await endpoint.adapter.probe()
    assert "same path" in problem
    assert isinstance(await endpoint.adapter.tell(told.wanted(SUSPENDED)), Retry)


def test_kinds_that_a_gateway_cannot_refuse_are_named(tmp_path: Path):
    plain: dict[str, Any] = settings_of("kong", tmp_path, url="https://kong.example", kinds=["session"])
    with pytest.raises(ConfigurationError, match="cannot refuse session"):
        endpoint_of(plain)


async def _refuses(told: Told) -> bool:
    return not await told.gateway.lets_in(told.ids[0])
