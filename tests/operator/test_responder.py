"""What every responder holds to: the enforcer, and the stand-in that other tests deal with."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from monitor.core.events import CredentialStatus
from monitor.stream.read import read_to_end
from monitor.stream.topics import create_embedded
from monitor.wire.acts import (
    Acknowledge,
    Allow,
    AllowAll,
    Approve,
    Close,
    EndAllowAll,
    PauseAutomation,
    Qualify,
    Reinstate,
    ResumeAutomation,
    Revoke,
    Suspend,
)
from tests.operator.stage import ANNA, BEN, StandIn, now_ms
from tests.response.stage import Cast
from tests.rig.configuration import settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from monitor.response.responder import Responder
    from monitor.stream.embedded import EmbeddedBroker
    from monitor.wire.acts import Receipt
    from monitor.wire.views import CredentialView, IncidentView

PROTECTED = "hospital"
NUMBERS = iter(range(10**6))


def asked(by: str = ANNA, **fields: Any) -> dict[str, Any]:
    """Return what every act has, with an id of its own."""
    return {"act": f"act_{next(NUMBERS)}", "by": by, "reason": "ticket 4711", "at_ms": now_ms(), **fields}


def of(name: str = "sync-1", by: str = ANNA, **fields: Any) -> dict[str, Any]:
    """Return what every act on a credential has."""
    return asked(by, realm="gate", id=name, **fields)


@pytest.fixture
def cast(tmp_path: Path, embedded: EmbeddedBroker, prefix: str) -> Cast:
    """Return enforcers of an installation whose directory has a protected credential."""
    directory = tmp_path / "credentials.yaml"
    entry = f"{{realm: gate, id: {PROTECTED}, class: partner, owner: Klinik, phone: '1', protected: true}}"
    directory.write_text(f"credentials: [{entry}]")
    settings = settings_for(
        tmp_path,
        broker="embedded",
        bootstrap=embedded.bootstrap_servers,
        prefix=prefix,
        response={"mode": "enforce"},
        credentials={"directory_file": str(directory)},
    )
    create_embedded(settings, embedded)
    return Cast(settings)


@pytest.fixture(params=["stand-in", "enforcer"])
async def responder(request: pytest.FixtureRequest) -> AsyncIterator[Responder]:
    """Return each responder."""
    if request.param == "stand-in":
        yield StandIn()
        return
    async with request.getfixturevalue("cast").enforcer() as enforcer:
        yield enforcer.people


def credential_of(responder: Responder, name: str = "sync-1") -> CredentialView:
    (view,) = [view for view in responder.credentials() if view.id == name]
    return view


def incident_of(responder: Responder, receipt: Receipt) -> IncidentView:
    (view,) = [view for view in responder.incidents() if view.incident == receipt.incident]
    return view


async def test_a_person_refuses_a_credential_and_lets_it_in_again(responder: Responder):
    receipt = await responder.act(Suspend(**of(), ttl_ms=60_000))
    assert receipt.outcome == "done"
    view = credential_of(responder)
    assert (view.status, view.version) == (CredentialStatus.SUSPENDED, receipt.version)
    assert incident_of(responder, receipt).id == "sync-1"
    assert (await responder.act(Revoke(**of()))).outcome == "done"
    assert credential_of(responder).status is CredentialStatus.REVOKED
    receipt = await responder.act(Reinstate(**of()))
    view = credential_of(responder)
    assert (view.status, view.version) == (CredentialStatus.ACTIVE, receipt.version)
    assert view.accepted_ms is not None, "nobody is to be told: it is in effect at once"
    assert (await responder.act(Reinstate(**of()))).outcome == "unchanged"


async def test_the_same_act_again_is_answered_with_the_first_receipt(responder: Responder):
    act = Suspend(**of())
    first = await responder.act(act)
    await responder.act(Reinstate(**of()))
    assert await responder.act(act) == first
    assert credential_of(responder).status is CredentialStatus.ACTIVE


async def test_receipts_are_numbered_as_the_ledger_is(responder: Responder):
    numbers = [(await responder.act(Suspend(**of(f"sync-{number}")))).sequence for number in range(3)]
    assert numbers == sorted(set(numbers))


async def test_an_allowance_shows_until_when(responder: Responder):
    act = Allow(**of(), for_ms=3_600_000)
    assert (await responder.act(act)).outcome == "done"
    until = credential_of(responder).exempt_until_ms
    assert until is not None
    assert abs(until - act.at_ms - 3_600_000) < 60_000
    assert credential_of(responder).exempt_by == ANNA


async def test_what_people_say_of_an_incident_is_kept_with_who_and_when(responder: Responder):
    receipt = await responder.act(Suspend(**of()))
    name = receipt.incident
    assert name is not None
    await responder.act(Acknowledge(**asked(BEN), incident=name))
    await responder.act(Qualify(**asked(BEN), incident=name, qualified="notifiable"))
    assert (
        await responder.act(Close(**asked(BEN), incident=name, verdict="true_positive"))
    ).outcome == "done"
    view = incident_of(responder, receipt)
    assert view.acknowledged is not None
    assert view.qualified is not None
    assert view.closed is not None
    assert (view.qualified.by, view.closed.by) == (BEN, BEN)
    assert (view.qualified_as, view.verdict) == ("notifiable", "true_positive")
    assert view.status is CredentialStatus.SUSPENDED, "closing changes nothing of the credential"


async def test_break_glass_is_on_until_its_end_or_until_somebody_ends_it(responder: Responder):
    await responder.act(PauseAutomation(**asked(), for_ms=3_600_000))
    await responder.act(AllowAll(**asked(BEN), for_ms=600_000))
    view = responder.automation()
    assert view.mode == "enforce"
    assert view.paused is not None
    assert view.allow_all is not None
    assert (view.paused.by, view.allow_all.by, view.paused.reason) == (ANNA, BEN, "ticket 4711")
    assert view.paused.until_ms - view.paused.since_ms == 3_600_000
    await responder.act(ResumeAutomation(**asked()))
    await responder.act(EndAllowAll(**asked()))
    assert (responder.automation().paused, responder.automation().allow_all) == (None, None)


# Of the enforcer alone


@asynccontextmanager
async def taken_over(cast: Cast) -> AsyncIterator[Responder]:
    """Return the enforcer that takes over, as the API sees it."""
    async with cast.enforcer() as enforcer:
        yield enforcer.people


async def test_a_protected_credential_takes_two_people(cast: Cast):
    async with taken_over(cast) as responder:
        receipt = await responder.act(Suspend(**of(PROTECTED)))
        assert receipt.outcome == "held"
        assert credential_of(responder, PROTECTED).status is CredentialStatus.ACTIVE
        assert credential_of(responder, PROTECTED).phone == "1"
        view = incident_of(responder, receipt)
        assert (view.held_for, view.approvals_needed) == ("protected", 2)
        name = view.incident
        again = await responder.act(Approve(**of(PROTECTED), incident=name))
        assert again.outcome == "unchanged", "the same person twice is one person"
        other = await responder.act(Approve(**of(PROTECTED, BEN), incident="INC-9999"))
        assert other.outcome == "refused", "an approval is of one incident"
        receipt = await responder.act(Approve(**of(PROTECTED, BEN), incident=name))
        assert receipt.outcome == "done"
        view = incident_of(responder, receipt)
        assert [one.by for one in view.approvals] == [ANNA, BEN]
        assert credential_of(responder, PROTECTED).status is CredentialStatus.SUSPENDED


async def test_who_takes_over_knows_what_was_asked_before(cast: Cast):
    act, other = Suspend(**of()), AllowAll(**asked(), for_ms=3_600_000)
    async with taken_over(cast) as responder:
        first = await responder.act(act)
        await responder.act(other)
    async with taken_over(cast) as responder:
        assert await responder.act(act) == first
        assert credential_of(responder).status is CredentialStatus.SUSPENDED
        assert responder.automation().allow_all is not None
        assert (await responder.act(Reinstate(**of()))).outcome == "done"
    entries = []
    async for records, _, _ in read_to_end(cast.settings.kafka, cast.settings.topic("decisions"), 0):
        entries += [orjson.loads(record.value) for record in records]
    acts = [entry for entry in entries if entry["kind"] == "act"]
    assert [entry["what"] for entry in acts] == ["suspend", "allow_all", "reinstate"]
    assert {(entry["by"], entry["reason"], entry["outcome"]) for entry in acts} == {
        (ANNA, "ticket 4711", "done")
    }
    assert [entry["act"] for entry in entries if entry["kind"] == "requested"] == [act.act]
