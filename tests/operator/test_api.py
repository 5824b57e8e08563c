"""The operator API: nobody unknown, nothing twice, nothing without the right to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from monitor.errors import ConfigurationError
from monitor.response.operators.api import OperatorApi
from monitor.wire.acts import Acknowledge, AllowAll, encode_act
from monitor.wire.statements import VALID_MS, Order, encode_statement
from tests.operator.stage import (
    ANNA,
    BEN,
    EYE,
    credential,
    incident,
    make_key,
    now_ms,
    order,
    sign,
    sign_in,
    suspend,
)

if TYPE_CHECKING:
    from pathlib import Path

    from monitor.settings import Settings
    from tests.operator.conftest import Reached
    from tests.operator.stage import Staff


async def test_an_act_is_done_and_answered_with_a_receipt(reached: Reached, staff: Staff):
    status, answer = await reached.post("/v1/acts", order(suspend(), staff.keys[ANNA]))
    assert status == 200, answer
    assert answer["receipt"]["outcome"] == "done"
    assert [act.by for act in reached.responder.acts] == [ANNA]
    assert reached.responder.book["gate/sync-1"].status.value == "suspended"


async def test_a_statement_that_is_sent_again_does_nothing_again(reached: Reached, staff: Staff):
    signed = order(suspend(), staff.keys[ANNA])
    answers = [await reached.post("/v1/acts", signed) for _ in range(3)]
    assert [answer["repeated"] for _, answer in answers] == [False, True, True]
    assert len({str(answer["receipt"]) for _, answer in answers}) == 1
    assert len(reached.responder.acts) == 1


async def test_the_id_of_an_act_is_good_for_one_act(reached: Reached, staff: Staff):
    await reached.post("/v1/acts", order(suspend(), staff.keys[ANNA]))
    status, answer = await reached.post("/v1/acts", order(suspend(id="other"), staff.keys[ANNA]))
    assert (status, answer["error"]) == (409, "act_id")
    assert len(reached.responder.acts) == 1


@pytest.mark.parametrize("apart_ms", [-VALID_MS - 5_000, VALID_MS + 5_000])
async def test_an_old_statement_is_refused_and_says_so(reached: Reached, staff: Staff, apart_ms: int):
    act = suspend(at_ms=now_ms() - apart_ms)
    status, answer = await reached.post("/v1/acts", order(act, staff.keys[ANNA]))
    assert (status, answer["error"]) == (401, "time")
    assert "set the clock" in answer["detail"]
    assert not reached.responder.acts


async def test_what_was_signed_for_another_installation_is_refused(reached: Reached, staff: Staff):
    status, answer = await reached.post("/v1/acts", order(suspend(), staff.keys[ANNA], audience="staging"))
    assert (status, answer["error"]) == (401, "audience")
    assert not reached.responder.acts


async def test_nobody_acts_in_the_name_of_another(reached: Reached, staff: Staff, tmp_path: Path):
    stranger = make_key(tmp_path, "stranger")
    for by, key in ((ANNA, staff.keys[BEN]), (ANNA, stranger), ("stranger", stranger), ("*", stranger)):
        status, answer = await reached.post("/v1/acts", order(suspend(by=by), key))
        assert (status, answer["error"]) == (401, "signature")
    assert not reached.responder.acts


async def test_a_signature_covers_every_byte_and_one_purpose(reached: Reached, staff: Staff):
    signed = order(suspend(), staff.keys[ANNA])
    other = msgspec.structs.replace(signed, statement=signed.statement.replace("sync-1", "sync-2"))
    statement = encode_statement(Order(audience="access-monitor", act=suspend()))
    for_git = sign(statement, staff.keys[ANNA], namespace="git")
    not_one = msgspec.structs.replace(signed, signature="-----BEGIN SSH SIGNATURE-----\n")
    for wrong in (other, for_git, not_one):
        status, answer = await reached.post("/v1/acts", wrong)
        assert (status, answer["error"]) == (401, "signature")
    assert not reached.responder.acts


async def test_each_act_needs_its_right(reached: Reached, staff: Staff):
    asked: dict[str, Any] = {"reason": "why", "at_ms": now_ms()}
    everybody = AllowAll(act="act_2", by=BEN, for_ms=60_000, **asked)
    for act, key, right in (
        (suspend(by=EYE), staff.keys[EYE], "respond"),
        (everybody, staff.keys[BEN], "break-glass"),
    ):
        status, answer = await reached.post("/v1/acts", order(act, key))
        assert (status, answer["error"]) == (403, "no_right")
        assert right in answer["detail"]
    assert not reached.responder.acts


@pytest.mark.parametrize("changes", [{"reason": " "}, {"reason": "x" * 1001}, {"ttl_ms": 0}, {"ttl_ms": -1}])
async def test_an_act_that_makes_no_sense_is_refused(reached: Reached, staff: Staff, changes: dict[str, Any]):
    status, _ = await reached.post("/v1/acts", order(suspend(**changes), staff.keys[ANNA]))
    assert status == 422
    assert not reached.responder.acts


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'{"statement": "", "signature": ""}', b"\xff\xfe"])
async def test_what_is_no_statement_is_refused(reached: Reached, body: bytes):
    assert (await reached.post("/v1/acts", body))[0] == 422
    assert (await reached.post("/v1/session", body))[0] == 422


async def test_an_act_alone_is_no_statement(reached: Reached, staff: Staff):
    assert (await reached.post("/v1/acts", sign(encode_act(suspend()), staff.keys[ANNA])))[0] == 422


async def test_what_is_too_large_is_refused(reached: Reached):
    status, _ = await reached.post("/v1/acts", b"x" * 300_000)
    assert status == 413


READS = ["/v1/credentials", "/v1/incidents", "/v1/fuses", "/v1/automation", "/v1/timeline?incident=INC-0142"]


@pytest.mark.parametrize("path", READS)
async def test_nobody_reads_without_having_signed_in(reached: Reached, path: str):
    for token in (None, "", "made-up"):
        status, answer = await reached.get(path, token)
        assert (status, answer["error"]) == (401, "sign_in")


async def test_who_may_anything_may_read(reached: Reached, staff: Staff):
    reached.responder.add(credential(), incident())
    for person in (ANNA, BEN, EYE):
        token = await reached.token(staff.keys[person])
        assert [view["id"] for view in (await reached.get("/v1/credentials", token))[1]] == ["sync-1"]
        assert [view["incident"] for view in (await reached.get("/v1/incidents", token))[1]] == ["INC-0142"]


async def test_a_challenge_is_answered_once_and_by_somebody_listed(
    reached: Reached, staff: Staff, tmp_path: Path
):
    _, challenge = await reached.get("/v1/challenge")
    stranger = sign_in(challenge["challenge"], make_key(tmp_path, "stranger"))
    assert (await reached.post("/v1/session", stranger))[1]["error"] == "signature"
    signed = sign_in(challenge["challenge"], staff.keys[ANNA])
    answers = await asyncio.gather(*(reached.post("/v1/session", signed) for _ in range(3)))
    assert sorted(status for status, _ in answers) == [200, 401, 401]
    for wrong in ("made-up", "1.2.3", f"{now_ms() + 1000}.x.y", ""):
        status, answer = await reached.post("/v1/session", sign_in(wrong, staff.keys[ANNA]))
        assert (status, answer["error"]) == (401, "challenge")


async def test_who_is_struck_off_may_nothing_from_that_moment(
    reached: Reached, staff: Staff, server_settings: Settings
):
    token = await reached.token(staff.keys[EYE])
    assert (await reached.get("/v1/fuses", token))[0] == 200
    signers, rights = staff.allowed_signers.read_text(), staff.rights.read_text()
    try:
        staff.allowed_signers.write_text(
            "".join(line for line in signers.splitlines(True) if EYE not in line)
        )
        # One of the two files alone is a fault, and then nobody may do anything.
        status, answer = await reached.get("/v1/fuses", token)
        assert (status, answer["error"]) == (503, "operators_file")
        assert EYE in answer["detail"]
        staff.rights.write_text("".join(line for line in rights.splitlines(True) if EYE not in line))
        assert (await reached.get("/v1/fuses", token))[0] == 401
        assert (await reached.get("/v1/fuses", await reached.token(staff.keys[BEN])))[0] == 200
    finally:
        staff.allowed_signers.write_text(signers)
        staff.rights.write_text(rights)


async def test_a_standby_says_who_is_active(reached: Reached, staff: Staff):
    token = await reached.token(staff.keys[ANNA])
    reached.active = False
    reached.elsewhere = "http://127.0.0.1:9999"
    answers = [await reached.get(path, token) for path in [*READS, "/v1/challenge"]]
    answers.append(await reached.post("/v1/acts", order(suspend(), staff.keys[ANNA])))
    for status, answer in answers:
        assert (status, answer["error"], answer["active"]) == (503, "standby", "http://127.0.0.1:9999")
    assert not reached.responder.acts


async def test_an_act_on_an_incident_goes_the_same_way(reached: Reached, staff: Staff):
    reached.responder.add(incident())
    act = Acknowledge(act="act_3", by=BEN, reason="on it", at_ms=now_ms(), incident="INC-0142")
    status, answer = await reached.post("/v1/acts", order(act, staff.keys[BEN]))
    assert (status, answer["receipt"]["outcome"]) == (200, "done")
    acknowledged = reached.responder.cases["INC-0142"].acknowledged
    assert acknowledged is not None
    assert acknowledged.by == BEN


async def test_a_flood_of_signatures_is_checked_a_few_at_a_time_and_holds_up_nobody(
    reached: Reached, staff: Staff
):
    wrong = order(suspend(by=ANNA), staff.keys[BEN])
    flood = asyncio.gather(*(reached.post("/v1/acts", wrong) for _ in range(30)))
    while not flood.done():
        await asyncio.wait_for(reached.get("/v1/challenge"), 10)
    assert {status for status, _ in await flood} == {401}


async def test_a_machine_without_ssh_keygen_is_told_at_the_start(
    server_settings: Settings, monkeypatch: pytest.MonkeyPatch, reached: Reached
):
    monkeypatch.setenv("PATH", "/nowhere")

    async def nowhere() -> None:
        return None

    with pytest.raises(ConfigurationError, match="ssh-keygen: is not installed here"):
        OperatorApi(server_settings, reached.metrics, lambda: None, nowhere)


async def test_what_was_asked_is_counted(reached: Reached, staff: Staff):
    await reached.post("/v1/acts", order(suspend(), staff.keys[ANNA]))
    await reached.post("/v1/acts", order(suspend(by=EYE, act="act_9"), staff.keys[EYE]))
    value = reached.metrics.registry.get_sample_value
    done = {"kind": "suspend", "outcome": "done"}
    assert value("access_monitor_operator_acts_total", done) == 1
    assert value("access_monitor_operator_refused_total", {"reason": "no_right"}) == 1
