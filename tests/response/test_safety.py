"""What keeps automation in bounds, through a real enforcer: the fuse, two people, a pause, allowances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from monitor.wire import acts
from monitor.wire.credentials import encode
from monitor.wire.safety import BREAK_GLASS_KEY, decode_break_glass
from tests.response.stage import (
    Cast,
    decisions,
    entries,
    finding,
    found,
    metric,
    now_ms,
    observation,
    records,
    until,
)

if TYPE_CHECKING:
    from pathlib import Path

    from monitor.response.enforcer import Enforcer
    from monitor.wire.acts import Receipt
    from tests.response.conftest import Install

_numbers = iter(range(1_000_000))


def asked(kind: type[acts.Act], by: str = "ann", **fields: Any) -> acts.Act:
    """Return an act of a person."""
    return kind(act=f"act-{next(_numbers)}", by=by, reason="because", at_ms=now_ms(), **fields)


def on(kind: type[acts.Act], principal: str = "partner-1", by: str = "ann", **fields: Any) -> acts.Act:
    """Return an act on a credential."""
    return asked(kind, by, realm="gate", id=principal, **fields)


async def find(cast: Cast, enforcer: Enforcer, *findings: dict[str, Any]) -> None:
    """Let the enforcer decide about findings."""
    await enforcer.apply_findings(await found(cast.settings, *findings))


def states(enforcer: Enforcer) -> dict[str, str]:
    """Return the state of each incident, by credential."""
    return {view.id: view.state for view in enforcer.people.incidents() if view.open}


async def test_a_storm_refuses_at_most_the_ceiling_and_forgets_nobody(install: Install):
    """A thousand credentials exceed in one second; after the reset they go on."""
    cast = install()
    async with cast.enforcer() as enforcer:
        await find(cast, enforcer, *(finding(n, f"partner-{n}", action="revoke") for n in range(1000)))
        state = states(enforcer)
        assert len(state) == 1000
        assert sum(now == "accepted" for now in state.values()) == 20
        assert sum(now == "held" for now in state.values()) == 980
        assert cast.metric("held", reason="fuse") == 980
        [blown] = [fuse for fuse in enforcer.people.fuses() if fuse.tripped_ms is not None]
        assert (blown.name, blown.ceiling, blown.used, blown.held) == ("class/partner", 20, 20, 980)
    # It holds over a take-over.
    async with cast.enforcer() as enforcer:
        await find(cast, enforcer, finding(2000, "partner-2000", action="revoke"))
        assert states(enforcer)["partner-2000"] == "held"
        receipt = await enforcer.people.act(asked(acts.ResetFuse, then="resume"))
        assert receipt.outcome == "done"
        assert "981 held responses are going on" in receipt.text
        assert set(states(enforcer).values()) == {"accepted"}
        await find(cast, enforcer, finding(2001, "partner-2001", action="revoke"))
        assert states(enforcer)["partner-2001"] == "accepted"
    [reset] = await decisions(cast.settings, "fuse_reset")
    assert (reset["by"], reset["why"], reset["fuses"]) == ("ann", "because", ["class/partner"])
    assert len({entry["id"] for entry in await decisions(cast.settings, "requested")}) == 1002
    assert cast.fatal == []


async def test_what_the_fuse_held_can_be_dismissed_and_detect_begins_anew(install: Install):
    cast = install(fuse={"ceiling": 1})
    async with cast.enforcer() as enforcer:
        await find(cast, enforcer, *(finding(n, f"partner-{n}") for n in range(5)))
        assert sorted(states(enforcer).values()) == ["accepted", *["held"] * 4]
        await enforcer.people.act(asked(acts.ResetFuse, then="dismiss"))
        assert list(states(enforcer).values()) == ["accepted"]

        async def told() -> list[dict[str, Any]]:
            said = await entries(cast.settings, "status")
            return [entry for entry in said if entry["restart_ms"] is not None]

        await until(told)
        assert {(entry["status"], entry["watch"]) for entry in await told()} == {("active", None)}


async def test_throwaway_accounts_do_not_use_up_what_protects_partners(install: Install):
    """500 made-up accounts exceed; then a partner key does, and is refused."""
    cast = install()
    async with cast.enforcer() as enforcer:
        accounts = [
            finding(n, f"account-{n}", principal_kind="account", principal_class="account")
            for n in range(500)
        ]
        await find(cast, enforcer, *accounts)
        assert sum(now == "held" for now in states(enforcer).values()) == 451
        await find(cast, enforcer, finding(900, "partner-1"))
        assert states(enforcer)["partner-1"] == "accepted"


async def test_a_protected_credential_needs_two_people_and_pages_at_each_doubling(
    install: Install, tmp_path: Path
):
    path = tmp_path / "credentials.yaml"
    path.write_text(
        "credentials: [{realm: gate, id: partner-1, class: hospital, owner: St. Mary, protected: true}]\n",
        encoding="utf-8",
    )
    cast = install()
    cast.settings = cast.settings.model_copy(
        update={"credentials": cast.settings.credentials.model_copy(update={"directory_file": path})}
    )
    async with cast.enforcer() as enforcer:
        await find(cast, enforcer, finding(1, action="revoke"))
        assert states(enforcer) == {"partner-1": "held"}
        for exposed in (1, 100, 200, 400, 800):
            await find(cast, enforcer, observation("exposed", 0, exposed=exposed))
        pages = [entry for entry in await decisions(cast.settings, "exposed") if entry["page"]]
        assert [entry["patients"] for entry in pages] == [201, 600]
        assert "monitor credentials approve INC-0001 --reason" in pages[-1]["summary"]
        assert cast.metric("held_pages_total") == 2
        assert cast.metric("held_patients") == 1000
        approve = partial_approve("INC-0001")
        assert (await enforcer.people.act(approve("ann"))).outcome == "held"
        assert (await enforcer.people.act(approve("ann"))).outcome == "unchanged", "the same person twice"
    async with cast.enforcer() as enforcer:  # what one has agreed to is remembered
        receipt = await enforcer.people.act(approve("bob"))
        assert (receipt.outcome, receipt.version) == ("done", 1)
        [view] = [view for view in enforcer.people.credentials() if view.id == "partner-1"]
        assert (view.status, view.by, view.owner) == ("revoked", "ann and bob", "St. Mary")
    assert [e["by"] for e in await decisions(cast.settings, "approved")] == ["ann", "bob"]


def partial_approve(incident: str) -> Any:
    """Return what makes an approval by a person."""
    return lambda by: on(acts.Approve, by=by, incident=incident)


async def test_a_pause_holds_what_is_found_keeps_who_is_refused_and_ends_by_itself(install: Install):
    cast = install()
    async with cast.enforcer() as enforcer:
        await find(cast, enforcer, finding(1))
        await enforcer.people.act(asked(acts.PauseAutomation, for_ms=1500))
        await find(cast, enforcer, finding(2, "partner-2"))
        assert states(enforcer) == {"partner-1": "accepted", "partner-2": "held"}
        assert enforcer.people.automation().paused is not None
        assert cast.metric("break_glass_until_timestamp_seconds", glass="pause") > 0
        await until(lambda: decisions(cast.settings, "automation_resumed"))
        await until(lambda: cast.metric("break_glass_until_timestamp_seconds", glass="pause") == 0)
        assert enforcer.people.automation().paused is None

        async def reopened() -> bool:
            said = await entries(cast.settings, "status")
            return any(entry["id"] == "partner-2" and entry["reopen_ms"] for entry in said)

        await until(reopened)
        await find(cast, enforcer, finding(3, "partner-2"))
        assert states(enforcer)["partner-2"] == "accepted"


async def test_everybody_can_be_let_through_for_a_time_and_the_decision_service_can_read_it(install: Install):
    cast = install()
    async with cast.enforcer() as enforcer:
        assert (await enforcer.people.act(asked(acts.AllowAll, for_ms=5 * 3_600_000))).outcome == "refused"
        await enforcer.people.act(asked(acts.AllowAll, for_ms=60_000))
        newest = [r for r in await records(cast.settings, "credentials") if r.key == BREAK_GLASS_KEY][-1]
        glass = decode_break_glass(newest.value, "here").allow_all
        assert glass is not None
        assert (glass.by, glass.reason) == ("ann", "because")
    async with cast.enforcer() as enforcer:
        assert enforcer.people.automation().allow_all is not None
        await enforcer.people.act(asked(acts.EndAllowAll))
        assert enforcer.people.automation().allow_all is None
    assert [e["what"] for e in await decisions(cast.settings, "act")] == [
        "allow_all",
        "allow_all",
        "end_allow_all",
    ]


async def test_a_reinstated_credential_is_left_alone_for_its_grace(install: Install):
    cast = install()
    async with cast.enforcer() as enforcer:
        await find(cast, enforcer, finding(1))
        receipt = await enforcer.people.act(on(acts.Reinstate, grace_ms=60_000))
        assert (receipt.outcome, receipt.version) == ("done", 2)
        await find(cast, enforcer, finding(2))
        assert [e["reason"] for e in await decisions(cast.settings, "suppressed")] == ["allowed"]
        said = await until(lambda: entries(cast.settings, "status"))
        assert said[-1]["restart_ms"] == said[-1]["at_ms"]
    async with cast.enforcer() as enforcer:
        await find(cast, enforcer, finding(3))
        assert [view.status for view in enforcer.people.credentials()] == ["active"]


async def test_an_act_is_done_once_and_answered_as_before_also_by_the_next_enforcer(install: Install):
    cast = install()
    act = on(acts.Suspend)
    async with cast.enforcer() as enforcer:
        first = await enforcer.people.act(act)
        assert (first.outcome, first.version, first.incident) == ("done", 1, "INC-0001")
        assert await enforcer.people.act(act) == first
    async with cast.enforcer() as enforcer:
        again: Receipt = await enforcer.people.act(act)
        assert msgspec.structs.replace(again, at_ms=0) == msgspec.structs.replace(first, at_ms=0)
    log = await decisions(cast.settings)
    assert [entry["kind"] for entry in log] == ["act", "requested", "accepted"]
    assert log[first.sequence]["act"] == act.act
    assert encode(act)  # what was signed stands for itself


async def test_what_ended_long_ago_is_forgotten_and_its_version_never_comes_again(install: Install):
    cast = install(keep_ended="0s")
    async with cast.enforcer() as enforcer:
        await enforcer.people.act(on(acts.Suspend))
        assert (await enforcer.people.act(on(acts.Reinstate))).version == 2
    async with cast.enforcer() as enforcer:
        await until(lambda: not enforcer.people.credentials())
    async with cast.enforcer() as enforcer:
        assert enforcer.people.credentials() == []
        receipt = await enforcer.people.act(on(acts.Suspend))
        assert (receipt.version, receipt.incident) == (3, "INC-0002")


async def test_where_shadow_has_ended_detect_finds_again_what_it_found(install: Install):
    """Its latches are shut by findings that led to nothing."""
    cast = install(mode="shadow")
    async with cast.enforcer() as enforcer:
        await find(cast, enforcer, finding(1), finding(2, "partner-2", mode="shadow"))
        assert enforcer.people.credentials() == []
    [entry, other] = await decisions(cast.settings, "suppressed")
    assert (entry["mode"], other["mode"], entry["reason"]) == ("shadow", "shadow", "shadow")
    cast.settings = cast.settings.model_copy(
        update={"response": cast.settings.response.model_copy(update={"mode": "enforce"})}
    )
    async with cast.enforcer() as enforcer:
        [said] = await until(lambda: entries(cast.settings, "status"))
        assert (said["id"], said["status"], said["version"]) == ("partner-1", "active", 0)
        assert said["reopen_ms"] is not None
        assert metric(cast.metrics, "open_incidents", state="held") == 0
