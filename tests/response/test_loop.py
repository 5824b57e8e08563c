"""What becomes of attacks in the whole loop: late, long ago, interrupted, ended by a person."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from monitor.core.events import CredentialStatus
from monitor.wire import acts
from tests.core.samples import SUCCESS, rule
from tests.response.loop import HOUR_MS, MINUTE_MS, START_MS, Loop

if TYPE_CHECKING:
    from monitor.core.rules import Rule

LIMIT = 20
DAY_MS = 24 * HOUR_MS


def limit(**changes: Any) -> Rule:
    """Return the rule of these tests: one credential reads so many patients in ten minutes."""
    made = rule("many", counted="patient", timespan_ms=10 * MINUTE_MS, threshold=LIMIT, condition=SUCCESS)
    return replace(made, **{"action": "suspend", "mode": "enforce", "ttl_ms": None, **changes})


def asked(kind: type[acts.Act], number: int = 1, by: str = "ann", **fields: Any) -> acts.Act:
    """Return an act of a person."""
    return kind(act=f"act-{number}", by=by, reason="because", at_ms=START_MS, **fields)


def attack(loop: Loop, count: int, *, first: int = 0, step_ms: int = 1000, **options: Any) -> list[int]:
    """Read so many patients, one after the other; return the answers."""
    answers = []
    for number in range(first, first + count):
        loop.now_ms += step_ms
        answers.append(loop.request(f"patient-{number}", **options))
    return answers


def test_an_attack_is_stopped_at_the_limit_and_the_refusal_is_the_proof():
    loop = Loop(limit())
    answers = attack(loop, 60)
    assert answers.count(200) == LIMIT
    record = loop.record()
    assert record is not None
    assert (record.state, record.proof, record.leaked) == ("enforced", "refused", 0)


def test_a_week_of_history_refuses_nobody_and_makes_one_incident_for_each_credential():
    """The first start reads all of it within a minute; then each goes on as always."""
    loop = Loop(limit())
    for day in range(7):
        for number in range(3 * LIMIT):
            for who in ("p", "q"):
                at = START_MS - (7 - day) * DAY_MS + number * 1000
                loop.request(f"{day}-{number}", who, at_ms=at, append_ms=loop.now_ms + 1)
    assert {loop.record(who).status for who in "pq"} == {CredentialStatus.ACTIVE}  # type: ignore[union-attr]
    assert loop.book.position.incidents == 2
    assert "requested" not in loop.kinds
    assert set(attack(loop, LIMIT - 1, first=10_000)) == {200}, "nobody is cut off for what was long ago"


def test_an_attack_that_outlived_an_outage_of_kafka_is_stopped_by_its_first_fresh_events():
    """For 20 minutes nothing arrives; then all of it does, and the attack still goes on."""
    loop = Loop(limit())
    outage_ms = 20 * MINUTE_MS
    at = loop.now_ms
    for number in range(120):
        loop.request(f"early-{number}", at_ms=at + number * 2000, append_ms=at + outage_ms + number)
    held = loop.record()
    assert held is not None
    assert (held.state, held.held) == ("held", "stale")
    assert loop.book.position.incidents == 1
    # What was read within max_age when it arrived is fresh, and the attack goes on.
    answers = attack(loop, 3 * LIMIT, first=1000)
    assert answers.count(200) <= LIMIT
    assert answers[-1] == 403
    record = loop.record()
    assert record is not None
    assert (record.status, record.incident) == (CredentialStatus.SUSPENDED, "INC-0001")


def test_a_credential_already_over_its_limit_is_stopped_by_one_fresh_event():
    """The window reaches over the outage: no new limit has to be reached."""
    loop = Loop(limit(timespan_ms=HOUR_MS))
    at = loop.now_ms
    for number in range(2 * LIMIT):
        loop.request(f"early-{number}", at_ms=at + number, append_ms=at + 20 * MINUTE_MS + number)
    assert loop.count("held") >= 1
    assert attack(loop, 3, first=1000) == [200, 403, 403]


def test_a_gateway_that_is_always_late_has_nobody_refused_and_a_person_told_at_each_doubling():
    """Its log comes 20 minutes late: whoever is found then may be long gone, so a person decides."""
    loop = Loop(limit())
    for number in range(16 * LIMIT):
        loop.now_ms += 1000
        loop.request(f"patient-{number}", at_ms=loop.now_ms - 20 * MINUTE_MS, append_ms=loop.now_ms)
    record = loop.record()
    assert record is not None
    assert (record.state, record.status) == ("held", CredentialStatus.ACTIVE)
    assert loop.book.position.incidents == 1
    pages = [entry["patients"] for entry in loop.decisions if entry["kind"] == "exposed" and entry["page"]]
    assert pages[0] <= LIMIT + 1
    assert all(after >= 2 * before for before, after in pairwise(pages))
    assert pages[-1] >= 8 * LIMIT


@pytest.mark.parametrize("restarts", [False, True])
def test_what_was_read_before_a_reinstatement_never_counts_again(restarts: bool):
    """Neither events that came before it, nor those whose log comes after it; nor after a restart."""
    loop = Loop(limit())
    attack(loop, 2 * LIMIT)
    before = loop.now_ms
    loop.now_ms += 1000
    assert loop.act(asked(acts.Reinstate, realm="gw", id="p")).outcome == "done"
    if restarts:
        loop.restart()
    # The gateway ships what it still had of before.
    for number in range(LIMIT):
        loop.request(f"late-{number}", at_ms=before - number, append_ms=loop.now_ms + 1)
    assert set(attack(loop, LIMIT - 1, first=500)) == {200}
    if restarts:
        loop.restart()
    assert loop.count("requested") == 1, "nobody is banned again for what a person has looked at"
    assert attack(loop, 3, first=900) == [200, 403, 403], "a new limit is a new limit"
    assert loop.count("requested") == 2
    assert loop.book.position.incidents == 2


def test_a_suspension_that_ends_is_not_renewed_for_what_it_answered():
    """With a window of a day and a suspension of an hour: it ends by itself, and that stands."""
    loop = Loop(limit(timespan_ms=DAY_MS, ttl_ms=HOUR_MS))
    attack(loop, 2 * LIMIT)
    loop.now_ms += HOUR_MS + 1
    loop.tick()
    assert loop.record().state == "expired"  # type: ignore[union-attr]
    loop.restart()
    assert set(attack(loop, LIMIT - 1, first=500)) == {200}
    assert attack(loop, 2, first=900) == [200, 403]


def test_what_is_dismissed_counts_no_more_and_what_is_approved_is_refused():
    loop = Loop(limit(), max_age_ms=-1)  # everything is held
    attack(loop, 2 * LIMIT)
    assert loop.act(asked(acts.Dismiss, 1, incident="INC-0001")).outcome == "done"
    attack(loop, LIMIT - 1, first=500)
    assert loop.book.position.incidents == 1
    attack(loop, 5, first=900)
    held = loop.record()
    assert held is not None
    assert (held.state, held.incident) == ("held", "INC-0002")
    approve = asked(acts.Approve, 2, realm="gw", id="p", incident="INC-0002")
    assert loop.act(approve).outcome == "done"
    assert set(attack(loop, 3, first=990)) == {403}


def test_an_allowance_lets_a_migration_through_and_ends():
    loop = Loop(limit())
    loop.act(asked(acts.Allow, realm="gw", id="p", for_ms=5 * MINUTE_MS))
    assert set(attack(loop, 3 * LIMIT)) == {200}
    assert set(loop.kinds) == {"act", "allowed", "suppressed"}
    loop.now_ms += 30 * MINUTE_MS
    assert attack(loop, 2 * LIMIT, first=500).count(200) == LIMIT


def test_silence_is_told_only_while_others_of_the_realm_are_heard():
    loop = Loop(limit())
    attack(loop, LIMIT)
    assert loop.record().state == "requested"  # type: ignore[union-attr]
    loop.now_ms += HOUR_MS
    assert loop.record().state == "requested", "nothing at all was heard: it may be the feed"  # type: ignore[union-attr]
    loop.restart()
    loop.request("x", "another")
    record = loop.record()
    assert record is not None
    assert (record.state, record.quiet_ms, record.proof) == ("quiet", loop.now_ms, None)
    assert loop.count("quiet") == 1
    assert attack(loop, 1, first=900) == [403]
    assert loop.record().state == "enforced"  # type: ignore[union-attr]


def test_everything_read_after_a_finding_is_evidence_until_the_case_ends():
    """Also what leaks before the refusal takes effect, and beyond what a credential remembers."""
    loop = Loop(limit(action="alert"))
    attack(loop, 40)
    shown = [(entry.time_ms, entry.patients[0][0]) for entry in loop.evidence]
    served = [(at, patient) for _, at, patient in loop.served]
    assert shown == served[LIMIT:], "the window itself is gathered from the log"
    assert {entry.finding for entry in loop.evidence} == {loop.decisions[0]["finding"]}
    loop.now_ms += HOUR_MS
    attack(loop, 5, first=500)
    assert len(loop.evidence) == 40 - LIMIT, "nobody answers an alert: its case ends with its timespan"
