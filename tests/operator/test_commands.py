"""Operators' commands: whom they mean, what they ask, what they say, and their exit codes."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.cli.operator_words import plain
from monitor.core.events import CredentialStatus
from monitor.errors import ExitCode, MonitorError
from monitor.wire.acts import (
    Acknowledge,
    Allow,
    AllowAll,
    Approve,
    Close,
    Dismiss,
    EnableDelivery,
    PauseAutomation,
    Qualify,
    Reinstate,
    ResetFuse,
    Revoke,
    Suspend,
)
from monitor.wire.views import CredentialView, EndpointView, FuseView, IncidentView, Person
from tests.operator.stage import ANNA, BEN, EYE, SINCE_MS, credential, endpoint, incident

if TYPE_CHECKING:
    from tests.operator.service import Service

WHY = ("--reason", "ticket 4711")
YES = "--yes"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing of this machine's configuration into a test."""
    monkeypatch.delenv("MONITOR_CONFIG", raising=False)


def test_a_partner_who_phones_is_served_in_one_command(service: Service):
    service.book.add(credential("agenda-sync"), credential("call-centre"))
    said = service.monitor("credentials", "suspend", "agenda", "--for", "4h", YES, "--wait", *WHY)
    assert said.code == 0, said.err
    assert "done: gate/agenda-sync is suspended (ledger entry 1)" in said.out
    assert "in effect" in said.out
    (act,) = service.book.acts
    assert isinstance(act, Suspend)
    assert (act.id, act.ttl_ms, act.by, act.reason) == ("agenda-sync", 4 * 3_600_000, ANNA, "ticket 4711")


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (("credentials", "revoke", "gate/sync-1"), Revoke),
        (("credentials", "reinstate", "sync-1", "--grace", "1h"), Reinstate),
        (("credentials", "reinstate", "inc-0142"), Reinstate),
        (("credentials", "allow", "sync-1", "--for", "4h"), Allow),
        (("credentials", "approve", "sync-1"), Approve),
        (("credentials", "approve", "INC-0142"), Approve),
        (("incidents", "ack", "INC-0142"), Acknowledge),
        (("incidents", "ack", "142"), Acknowledge),
        (("incidents", "ack", "5e5a"), Acknowledge),
        (("incidents", "qualify", "INC-0142", "--as", "not-notifiable"), Qualify),
        (("incidents", "dismiss", "INC-0142"), Dismiss),
        (("incidents", "close", "INC-0142", "--verdict", "benign"), Close),
        (("fuse", "reset", "--then", "resume"), ResetFuse),
        (("deliveries", "enable", "webhook"), EnableDelivery),
        (("automation", "pause", "--for", "30m"), PauseAutomation),
        (("authz", "allow-all", "--for", "10m"), AllowAll),
    ],
)
def test_each_command_asks_for_its_act(service: Service, command: tuple[str, ...], kind: type):
    service.book.add(credential(incident="INC-0142"), incident())
    asks = command[1] in {"revoke", "reinstate", "allow", "approve", "dismiss", "reset", "pause", "allow-all"}
    if asks:
        said = service.monitor(*command, *WHY)
        assert said.code == ExitCode.USAGE
        assert "say --yes" in said.err
        assert not service.book.acts
    said = service.monitor(*command, *([YES] if asks else []), *WHY)
    assert said.code == 0, said.err
    (act,) = service.book.acts
    assert type(act) is kind
    assert (act.by, act.reason) == (ANNA, "ticket 4711")


def test_stale_holds_are_dismissed_together_each_by_an_act_of_its_own(service: Service):
    """Neither what is held for another reason nor what is younger."""
    now_ms = int(time.time() * 1000)
    for number, (held_for, hours) in enumerate(
        [("stale", 5), ("stale", 3), ("stale", 1), ("protected", 5)], 1
    ):
        old = incident(incident=f"INC-000{number}", held_for=held_for, detected_ms=now_ms - hours * 3_600_000)
        service.book.add(credential(incident=old.incident), old)
    command = ("incidents", "dismiss", "--stale", "--older-than", "2h")
    assert "2 stale incident(s)" in service.monitor(*command, *WHY).err
    assert not service.book.acts
    assert service.monitor(*command, YES, *WHY).code == 0
    dismissed = [act.incident for act in service.book.acts if isinstance(act, Dismiss)]
    assert dismissed == ["INC-0001", "INC-0002"]
    assert len(service.book.acts) == 2


@pytest.mark.parametrize("words", [(), ("--stale",), ("142", "--older-than", "2h"), ("142", "--stale")])
def test_what_is_to_be_dismissed_must_be_clear(service: Service, words: tuple[str, ...]):
    assert service.monitor("incidents", "dismiss", *words, YES, *WHY).code == ExitCode.USAGE
    assert not service.book.acts


def test_the_end_of_break_glass_is_not_asked_about(service: Service):
    for command in (("automation", "resume"), ("authz", "end-allow-all")):
        assert service.monitor(*command, *WHY).code == 0
    assert len(service.book.acts) == 2


def test_every_act_needs_a_reason(service: Service):
    service.book.add(credential())
    said = service.monitor("credentials", "suspend", "sync-1", YES)
    assert said.code == ExitCode.USAGE
    assert "--reason" in said.err


def test_who_is_meant_must_be_clear(service: Service):
    service.book.add(*(credential(f"sync-{number}") for number in range(1, 13)))
    said = service.monitor("credentials", "suspend", "sync", YES, *WHY)
    assert said.code == ExitCode.CONFIG
    assert "begins more than one credential: gate/sync-1, gate/sync-2" in said.err
    assert "and 2 more" in said.err
    assert service.monitor("credentials", "suspend", "sync-1", YES, *WHY).code == 0, "a whole id is clear"
    assert [getattr(act, "id", None) for act in service.book.acts] == ["sync-1"]


def test_a_credential_of_two_realms_is_not_clear_by_its_id(service: Service):
    service.book.add(credential(), credential(realm="other"))
    assert service.monitor("credentials", "show", "sync-1").code == ExitCode.CONFIG
    service.monitor("credentials", "suspend", "other/sync-1", YES, *WHY)
    assert [getattr(act, "realm", None) for act in service.book.acts] == ["other"]


def test_a_wrong_letter_does_not_look_like_a_success(service: Service):
    service.book.add(credential())
    for name in ("gate/snyc-1", "snyc-1"):
        said = service.monitor("credentials", "suspend", name, YES, *WHY)
        assert said.code == ExitCode.CONFIG
    assert not service.book.acts
    said = service.monitor("credentials", "suspend", "gate/never-seen", "--unseen", YES, *WHY)
    assert said.code == 0
    assert [getattr(act, "id", None) for act in service.book.acts] == ["never-seen"]


def test_no_incident_of_that_name(service: Service):
    service.book.add(incident("INC-0142"), incident("INC-0143", finding="5e5b"))
    assert "no incident or finding begins so" in service.monitor("incidents", "show", "INC-0999").err
    assert "INC-0142, INC-0143" in service.monitor("incidents", "ack", "5e5", *WHY).err


def test_a_second_person_is_waited_for(service: Service):
    held = incident(
        state="held", held_for="protected", status=CredentialStatus.ACTIVE, approvals_needed=2, exposed=7
    )
    service.book.add(credential(incident="INC-0142", state="held"), held)
    said = service.monitor("credentials", "approve", "sync-1", YES, *WHY)
    assert (said.code, said.out) == (ExitCode.NOT_YET, "held: 1 more must approve (ledger entry 1)\n")
    said = service.monitor("credentials", "approve", "sync-1", YES, "--wait", *WHY, by=BEN)
    assert said.code == 0, said
    assert [act.by for act in service.book.acts] == [ANNA, BEN]


def test_waiting_ends_at_its_deadline_with_a_code_of_its_own(service: Service):
    service.book.add(credential())
    said = service.monitor(
        "credentials", "suspend", "sync-1", YES, "--wait", "enforced", "--timeout", "1s", *WHY
    )
    assert said.code == ExitCode.NOT_YET
    assert "not enforced yet; it goes on" in said.out


def test_what_was_so_already_is_no_failure(service: Service):
    service.book.add(credential(status=CredentialStatus.REVOKED, version=3, accepted_ms=1, state="accepted"))
    said = service.monitor("credentials", "revoke", "sync-1", YES, "--wait", *WHY)
    assert said.code == 0
    assert said.out.startswith("unchanged: ")


def test_json_tells_machines_the_same(service: Service):
    service.book.add(credential(incident="INC-0142"), incident())
    done = json.loads(service.monitor("credentials", "suspend", "sync-1", YES, "--wait", "--json", *WHY).out)
    assert done["receipt"]["outcome"] == "done"
    assert done["in_effect"] is True
    (listed,) = json.loads(service.monitor("credentials", "list", "--json").out)
    assert msgspec.convert(listed, CredentialView) == service.book.book["gate/sync-1"]
    (listed,) = json.loads(service.monitor("incidents", "list", "--json").out)
    assert msgspec.convert(listed, IncidentView) == service.book.cases["INC-0142"]
    assert json.loads(service.monitor("automation", "status", "--json").out)["mode"] == "enforce"
    assert json.loads(service.monitor("fuse", "status", "--json").out)[0]["ceiling"] == 5


def test_lists_show_what_needs_somebody(service: Service):
    service.book.add(
        credential(
            "sync-1", status=CredentialStatus.SUSPENDED, state="enforced", version=1, incident="INC-0142"
        ),
        credential("calm-1"),
        incident(),
        incident("INC-0141", closed=Person(by=BEN, at_ms=1), verdict="benign"),
    )
    said = service.monitor("credentials", "list").out
    assert "gate/sync-1" in said
    assert "+49 30 1234" in said
    assert "calm-1" not in said
    assert "calm-1" in service.monitor("credentials", "list", "--all").out
    said = service.monitor("incidents", "list").out
    assert "CONTAINED" in said
    assert "INC-0141" not in said
    assert "INC-0141" in service.monitor("incidents", "list", "--all").out


def test_an_incident_is_finished_by_a_person_and_open_until_its_response_ends(service: Service):
    """Closed while the credential is refused, and over while nobody has closed it."""
    refused, over = incident("INC-0141"), incident("INC-0142", finding="5e5b", state="expired", open=False)
    service.book.add(refused, over)
    assert service.monitor("incidents", "close", "141", "--verdict", "benign", *WHY).code == 0
    (listed,) = json.loads(service.monitor("incidents", "list", "--json").out)
    assert (listed["incident"], listed["open"]) == ("INC-0142", False)
    assert service.monitor("incidents", "close", "142", "--verdict", "benign", *WHY).code == 0
    assert service.monitor("incidents", "list").out.startswith("No unfinished incidents")
    kept = json.loads(service.monitor("incidents", "list", "--all", "--json").out)
    assert {one["incident"]: one["open"] for one in kept} == {"INC-0141": True, "INC-0142": False}


def test_fuse_status_says_what_to_do_when_it_has_tripped(service: Service):
    assert "armed" in service.monitor("fuse", "status").out
    service.book.ceilings = [
        FuseView(
            name="class bulk-sync",
            ceiling=5,
            interval_ms=600_000,
            used=5,
            tripped_ms=SINCE_MS,
            why="full",
            held=3,
        )
    ]
    said = service.monitor("fuse", "status").out
    assert "TRIPPED" in said
    assert "5 of 5 in 10 min" in said
    assert "monitor fuse reset --then dismiss --reason TEXT" in said


def test_a_gateway_that_is_not_called_is_listed_with_the_way_to_call_it_again(service: Service):
    service.book.gateways["kong-1"] = endpoint("kong-1", type="kong", breaker="open", waiting=4)
    assert "monitor deliveries enable" not in service.monitor("deliveries", "list").out
    gone = endpoint("webhook-1", disabled=True, reason="it answered 410", dead_letters=3)
    service.book.gateways["webhook-1"] = gone
    said = service.monitor("deliveries", "list").out
    assert re.search(r"webhook-1 +webhook +DISABLED +closed +0 +3 +it answered 410", said)
    assert re.search(r"kong-1 +kong +called +OPEN +4 +0", said)
    assert "monitor deliveries enable ENDPOINT --reason TEXT" in said
    listed = json.loads(service.monitor("deliveries", "list", "--json").out)
    assert msgspec.convert(listed[0], EndpointView) == gone
    unclear = service.monitor("deliveries", "enable", "webhook", *WHY)
    assert unclear.code == ExitCode.CONFIG
    assert "begins more than one: webhook-0, webhook-1" in unclear.err
    assert service.monitor("deliveries", "enable", "nginx", *WHY).code == ExitCode.CONFIG
    assert not service.book.acts
    assert service.monitor("deliveries", "enable", "webhook-1", *WHY).code == 0
    assert [getattr(act, "endpoint", None) for act in service.book.acts] == ["webhook-1"]
    assert "DISABLED" not in service.monitor("deliveries", "list").out


def test_break_glass_is_loud_while_it_is_on(service: Service):
    assert "refuses as decided" in service.monitor("automation", "status").out
    service.monitor("automation", "pause", "--for", "1h", YES, *WHY)
    service.monitor("authz", "allow-all", "--for", "1h", YES, *WHY)
    said = service.monitor("automation", "status").out
    assert re.search(r"PAUSED: .* by anna@clinic.example: ticket 4711", said)
    assert re.search(r"LETS EVERYBODY THROUGH until .* \(in 59 min", said)
    service.monitor("authz", "end-allow-all", *WHY)
    assert "refuses as decided" in service.monitor("automation", "status").out


def test_without_the_right_or_the_key_it_says_so(service: Service, tmp_path: Any):
    service.book.add(credential())
    said = service.monitor("credentials", "suspend", "sync-1", YES, *WHY, by=EYE)
    assert said.code == ExitCode.NO_PERMISSION
    assert "has not the right 'respond'" in said.err
    from tests.operator.service import run
    from tests.operator.stage import make_key

    stranger = make_key(tmp_path, "stranger")
    said = run(
        "credentials", "list", "-c", str(service.config), "--server", service.url, "--identity", str(stranger)
    )
    assert said.code == ExitCode.NO_PERMISSION
    assert "allowed_signers" in said.err
    said = run("credentials", "list", "-c", str(service.config), "--identity", str(tmp_path / "none"))
    assert said.code == ExitCode.NO_PERMISSION


def test_a_server_that_is_not_there_or_stands_by_is_named(service: Service):
    said = service.monitor("credentials", "list", server="http://127.0.0.1:1")
    assert said.code == ExitCode.UNAVAILABLE
    assert "http://127.0.0.1:1: does not answer" in said.err
    service.responder, service.elsewhere = None, "https://active:9192"
    said = service.monitor("credentials", "list")
    assert said.code == ExitCode.UNAVAILABLE
    assert "stands by" in said.err
    assert "it is https://active:9192: add it to operator.servers" in said.err


def test_the_active_one_of_several_servers_is_found(service: Service):
    service.book.add(credential())
    service.config.write_text(json.dumps({"operator": {"servers": ["http://127.0.0.1:1", service.url]}}))
    from tests.operator.service import run

    said = run(
        "credentials", "list", "--all", "-c", str(service.config), "--identity", str(service.staff.keys[EYE])
    )
    assert said.code == 0, said.err
    assert "gate/sync-1" in said.out


@pytest.mark.parametrize(
    "server", ["http://monitor.internal:9192", "ftp://127.0.0.1", "http://a@127.0.0.1:1"]
)
def test_nothing_is_sent_where_others_could_read_along(service: Service, server: str):
    assert service.monitor("credentials", "list", server=server).code == ExitCode.CONFIG


def test_an_act_for_another_installation_is_not_even_sent(service: Service):
    service.config.write_text(json.dumps({"operator": {"audience": "staging"}}))
    said = service.monitor("automation", "resume", *WHY)
    assert said.code == ExitCode.NO_PERMISSION
    assert "operator.audience" in said.err
    assert not service.book.acts


NASTY = "\x1b[2J\x9b31m\u202egnp.exe\r\n\x07"


def test_no_name_or_reason_can_steer_a_terminal(service: Service):
    service.book.add(
        credential(f"sync{NASTY}", owner=NASTY, status=CredentialStatus.SUSPENDED, incident="INC-0142"),
        incident(id=f"sync{NASTY}", summary=NASTY, acknowledged=Person(by=NASTY, at_ms=1, reason=NASTY)),
    )
    for command in (
        ("credentials", "list"),
        ("incidents", "list"),
        ("credentials", "list", "--json"),
        ("incidents", "list", "--json"),
        ("credentials", "suspend", f"x{NASTY}", YES, *WHY),
    ):
        said = service.monitor(*command)
        rest = set(said.out + said.err) - {"\n"}
        assert not [char for char in rest if ord(char) < 32 or 0x7F <= ord(char) < 0xA0 or char == "\u202e"]


@given(st.text())
def test_plain_text_has_nothing_that_acts_on_a_terminal(text: str):
    made = plain(text)
    assert made.isprintable() or not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in made)
    assert plain(made) == made
    if text.isascii() and text.isprintable():
        assert made == text


def test_an_answer_that_was_lost_is_asked_for_again_with_the_same_act(
    service: Service, monkeypatch: pytest.MonkeyPatch
):
    from monitor.cli.operator_client import OperatorClient
    from monitor.errors import ServerUnavailableError

    service.book.add(credential())
    lost: list[str] = []
    post = OperatorClient._post

    async def losing(client: OperatorClient, path: str, signed: Any, shape: Any) -> Any:
        answer = await post(client, path, signed, shape)
        if path == "/v1/acts" and not lost:
            lost.append(signed.statement)
            raise ServerUnavailableError("the connection is gone")
        return answer

    monkeypatch.setattr(OperatorClient, "_post", losing)
    said = json.loads(service.monitor("credentials", "suspend", "sync-1", YES, "--json", *WHY).out)
    assert (said["receipt"]["outcome"], said["repeated"]) == ("done", True)
    assert len(lost) == len(service.book.acts) == 1


def test_where_no_answer_comes_it_says_that_it_may_be_done(service: Service, monkeypatch: pytest.MonkeyPatch):
    from monitor.cli import operator_client

    service.book.add(credential())
    monkeypatch.setattr(operator_client, "_AGAIN_SECONDS", 0.0)

    async def broken(_act: Any) -> Any:
        raise MonitorError("this enforcer is not active any more; ask again")

    monkeypatch.setattr(service.book, "act", broken)
    said = service.monitor("credentials", "suspend", "sync-1", YES, *WHY)
    assert said.code == ExitCode.UNAVAILABLE
    assert "It may be in the ledger all the same" in said.err
