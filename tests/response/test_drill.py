"""The drill: what it finds, that it leaves nobody refused, and what it tells of itself."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from monitor.cli.drill import command
from monitor.response.adapters import Endpoint
from monitor.response.adapters.protocol import Accepted, Refused, Retry
from monitor.response.drill import drill
from tests.contracts.conftest import told  # noqa: F401 - a fixture
from tests.response.desk import Scripted
from tests.response.stage import Receiver, decisions, until, webhook
from tests.rig.configuration import write_settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.contracts.conftest import Told
    from tests.response.conftest import Install

WHO = ("gate", "drill-me", "api_key")


async def test_a_gateway_that_can_be_told_holds(told: Told):  # noqa: F811 - the fixture
    """Every gateway, the real HAProxy too; and the credential is as it was."""
    who = ("gate", told.ids[3], min(told.adapter.traits.kinds))
    [found] = await drill([Endpoint(told.adapter, drill=who)])
    assert found.holds, found.problems
    assert found.proven is (told.kind != "webhook")
    await until(partial(told.gateway.lets_in, told.ids[3]))
    assert await told.gateway.lets_in(told.ids[0])


async def test_a_gateway_that_cannot_be_told_is_named_with_the_reason():
    healthy, lame = Scripted(name="healthy"), Scripted(Retry("the gateway answered 401"), name="lame")
    found = await drill([Endpoint(healthy, drill=WHO), Endpoint(lame, drill=WHO), Endpoint(Scripted())])
    assert [one.holds for one in found] == [True, False, False]
    assert found[1].problems == (
        "suspend: the gateway answered 401",
        "reinstate: the gateway answered 401",
    )
    assert "set drill_credential" in found[2].problems[0]
    assert [wanted.drill for wanted in healthy.told] == [True, True]
    assert healthy.refused == set()


async def test_a_gateway_that_accepts_and_does_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch):
    class Liar(Scripted):
        async def tell(self, wanted: Any) -> Any:
            self.told.append(wanted)
            return Accepted()

    monkeypatch.setattr("monitor.response.drill._PATIENCE_SECONDS", 0.2)
    [found] = await drill([Endpoint(Liar(), drill=WHO)])
    assert found.problems == ("suspend: accepted, but the gateway says active",)


async def test_what_fails_first_is_reinstated_all_the_same():
    adapter = Scripted(Refused("no"), Accepted())
    adapter.refused.add("drill-me")
    await drill([Endpoint(adapter, drill=WHO)])
    assert adapter.refused == set()


async def test_a_probe_alone_changes_nothing():
    adapter = Scripted()
    [found] = await drill([Endpoint(adapter)], act=False)
    assert found.holds
    assert adapter.told == []


async def test_the_active_enforcer_drills_on_its_schedule(
    install: Install, tmp_path: Path, receiver: Receiver
):
    """And says so in the ledger and the metrics."""
    cast = install(
        webhooks=[webhook(tmp_path, receiver.url, drill_credential="drill-me")], drill_interval="1h"
    )
    async with cast.enforcer():
        [entry] = await until(lambda: decisions(cast.settings, "drilled"))
        assert (entry["adapter"], entry["holds"], entry["problems"]) == ("webhook-0", True, [])
        assert cast.metric("drill_last_successful", adapter="webhook-0") == 1
        assert cast.metric("drill_timestamp_seconds", adapter="webhook-0") > 0
    assert [body["type"] for body in receiver.bodies] == ["credential.suspended", "credential.reinstated"]
    assert all(body["data"]["drill"] for body in receiver.bodies)


@pytest.mark.parametrize("option", [[], ["--probe"]])
def test_the_command_says_which_gateway_could_not_be_told(tmp_path: Path, option: list[str]):
    path = write_settings(
        tmp_path,
        broker="cluster",
        bootstrap="127.0.0.1:1",
        prefix="x.",
        response={"adapters": [webhook(tmp_path, "http://127.0.0.1:1/hook", drill_credential="d")]},
    )
    done = CliRunner().invoke(command, ["-c", str(path), "--json", *option])
    assert done.exit_code == 1
    [found] = json.loads(done.output)
    assert (found["adapter"], found["holds"]) == ("webhook-0", False)
    assert found["problems"] == ["ClientConnectorError"]
    shown = CliRunner().invoke(command, ["-c", str(path), *option])
    assert "webhook-0  NO" in shown.output
