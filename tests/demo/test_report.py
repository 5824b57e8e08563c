"""The figures and verdicts of the report, from what was seen."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import orjson
import pytest
from rich.console import Console

from monitor.core.events import CredentialStatus
from monitor.demo.follow import Finding
from monitor.demo.receiver import Call
from monitor.demo.report import (
    Latency,
    Link,
    Observed,
    Report,
    breaching_answer,
    exposure,
    latency,
    leaked,
    loop_links,
    partners_link,
)
from monitor.demo.tell import print_report
from monitor.demo.traffic import Answer, Tally
from monitor.wire.credentials import CredentialRecord, RuleName

START = 1_750_000_000_000.0
LIMIT = 3


def tally(client: str, *answers: Answer) -> Tally:
    made = Tally(client)
    for answer in answers:
        made.add(answer)
    return made


def read(at: float, patient: int) -> Answer:
    return Answer(START + at, START + at + 5, 200, patient, f"p-{patient}")


def refused(at: float, status: int = 403) -> Answer:
    return Answer(START + at, START + at + 2, status)


FINDING = Finding(
    int(START) + 65, "f" * 32, "Many", "suspend", "thief", LIMIT, int(START) + 41, "read 3 patients"
)
CREDENTIAL = CredentialRecord(
    realm="clinic-api",
    id="thief",
    kind="api_key",
    status=CredentialStatus.SUSPENDED,
    version=1,
    state="enforced",
    since_ms=int(START) + 70,
    until_ms=None,
    incident="INC-0001",
    finding="f" * 32,
    rule=RuleName("r", "Many"),
    level="high",
    summary="read 3 patients",
    patients=3,
    patients_capped=False,
    leaked=0,
    webhook_id="msg_1",
    attempts=1,
    detected_ms=int(START) + 65,
    requested_ms=int(START) + 70,
    accepted_ms=int(START) + 80,
    enforced_ms=int(START) + 120,
)
CALL = Call(START + 75, "msg_1", "credential.suspended", "thief", "INC-0001")
ATTACKER = tally(
    "thief",
    read(0, 1),
    read(20, 2),
    read(30, 2),
    read(40, 3),
    read(60, 4),
    read(71, 5),
    refused(90),
    refused(110),
)
OBSERVED = Observed(ATTACKER, LIMIT, FINDING, CREDENTIAL, [CALL], [refused(110)])


def test_the_breaching_request_brings_the_patient_that_reaches_the_limit():
    assert breaching_answer(ATTACKER, LIMIT) == read(40, 3)
    assert breaching_answer(ATTACKER, 6) is None


def test_requests_count_in_the_order_in_which_they_were_sent():
    late = replace(read(10, 7), answered_ms=START + 500)
    overtaken = tally("thief", read(0, 1), read(20, 2), read(40, 3), late)
    assert breaching_answer(overtaken, LIMIT) == read(20, 2)


def test_times_run_from_the_breaching_request():
    assert latency(OBSERVED) == Latency(finding=25.0, decision=30.0, webhook=35.0, first_refusal=52.0)


def test_what_did_not_happen_has_no_time():
    nothing = Observed(tally("thief", read(0, 1)), LIMIT, None, None, [], [])
    assert latency(nothing) == Latency(None, None, None, None)


def test_a_request_that_was_sent_after_the_decision_and_answered_has_leaked():
    assert leaked(OBSERVED) == 1  # sent at 71, decided at 70
    assert leaked(replace(OBSERVED, credential=None)) == 0


def test_every_link_holds_where_everything_was_seen():
    assert [link.name for link in loop_links(OBSERVED) if not link.held] == []


@pytest.mark.parametrize(
    ("missing", "broken"),
    [
        ({"finding": None}, {"finding"}),
        ({"credential": None}, {"decision", "webhook", "proof"}),
        ({"calls": []}, {"webhook"}),
        ({"calls": [replace(CALL, credential="somebody-else")]}, {"webhook"}),
        ({"attacker": tally("thief", read(0, 1))}, {"refusal"}),
        ({"retries": []}, {"stays refused"}),
        ({"retries": [refused(110), read(130, 8)]}, {"stays refused"}),
    ],
)
def test_a_link_that_was_not_seen_did_not_hold(missing: dict[str, Any], broken: set[str]):
    links = loop_links(replace(OBSERVED, **missing))
    assert {link.name for link in links if not link.held} == broken


def test_one_refused_or_failed_partner_breaks_the_link():
    good = tally("agenda", read(0, 1))
    assert partners_link([good, tally("lab", read(0, 2))]).held
    assert not partners_link([good, tally("lab", read(0, 2), refused(9))]).held
    assert not partners_link([good, tally("lab", read(0, 2), refused(9, status=0))]).held
    assert not partners_link([good, tally("lab")]).held


def report(*links: Link) -> Report:
    return Report(
        with_monitor=True,
        rate=50.0,
        exposure=exposure(
            ATTACKER, appointments=6_128, patients=4_871, threshold=LIMIT, timespan_seconds=600
        ),
        latency_ms=latency(OBSERVED),
        leaked_after_decision=1,
        partner_requests=9,
        partner_refused=0,
        partner_failed=0,
        incident="INC-0001",
        rule="Many",
        summary="read 3 patients",
        state="enforced",
        start_seconds=5.0,
        attack_seconds=1.0,
        run_seconds=8.0,
        links=links,
    )


def test_the_report_is_plain_data():
    plain = orjson.loads(orjson.dumps(report(Link("finding", True, "seen")).as_json()))
    assert plain["held"] is True
    assert plain["exposure"]["patients"] == 5
    assert plain["latency_ms"]["first_refusal"] == 52.0
    assert plain["links"] == [{"name": "finding", "held": True, "detail": "seen"}]


def test_a_person_reads_which_link_did_not_hold():
    out = io.StringIO()
    print_report(Console(file=out), report(Link("finding", True, "seen"), Link("webhook", False, "no call")))
    text = out.getvalue()
    assert "The loop did not hold: webhook." in text
    assert "52 ms" in text
    assert "5 of 4,871" in text
