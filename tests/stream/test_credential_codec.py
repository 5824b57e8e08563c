"""The records of `credentials`: the version before is read, a later one is refused in words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from monitor.core.events import CredentialStatus
from monitor.errors import InvariantError
from monitor.wire.credentials import (
    CREDENTIAL_VERSION,
    Approval,
    CredentialRecord,
    RuleName,
    decode_credential,
    decode_status,
    encode,
    is_credential,
)
from monitor.wire.safety import (
    AllowedRecord,
    Blown,
    BreakGlass,
    FuseRecord,
    Glass,
    decode_allowed,
    decode_break_glass,
    decode_fuse,
)

BEFORE: dict[str, Any] = {
    "v": 1,
    "realm": "gate",
    "id": "p",
    "kind": "api_key",
    "status": "suspended",
    "version": 3,
    "state": "accepted",
    "since_ms": 1,
    "until_ms": 2,
    "incident": "INC-0001",
    "finding": "f",
    "rule": {"id": "r", "title": "R"},
    "level": "high",
    "summary": "s",
    "patients": 1,
    "patients_capped": False,
    "leaked": 0,
    "webhook_id": "msg_1",
    "attempts": 1,
    "detected_ms": 1,
    "requested_ms": 1,
    "accepted_ms": 1,
    "enforced_ms": None,
}


def test_a_record_of_the_version_before_is_read_and_written_as_one_of_this_version():
    record = decode_credential(json.dumps(BEFORE).encode(), "here")
    assert (record.v, record.status, record.held) == (CREDENTIAL_VERSION, CredentialStatus.SUSPENDED, None)
    assert decode_credential(encode(record), "here") == record
    held = decode_credential(json.dumps({**BEFORE, "state": "held"}).encode(), "here")
    assert held.held == "stale", "the one reason that it had"


@pytest.mark.parametrize("changed", [{"v": 3}, {"v": 3, "state": "of the future"}, {"v": 0}])
def test_another_version_says_which_are_read(changed: dict[str, Any]):
    with pytest.raises(InvariantError, match=r"this monitor reads 1 to 2; was it downgraded\?"):
        decode_credential(json.dumps({**BEFORE, **changed}).encode(), "credentials-0 offset 5")


@pytest.mark.parametrize("value", [b"{", b"[]", b"{}", json.dumps({**BEFORE, "state": "x"}).encode()])
def test_what_is_no_record_is_refused_without_its_content(value: bytes):
    with pytest.raises(InvariantError, match=r"here: not a record of ours .* who else writes there\?"):
        decode_credential(value, "here")


def test_every_record_comes_back_as_it_was():
    credential = CredentialRecord(
        **{
            **BEFORE,
            "v": CREDENTIAL_VERSION,
            "status": CredentialStatus.ACTIVE,
            "rule": RuleName("r", "R"),
            "held": "protected",
            "state": "held",
            "approvals": (Approval("a", 1, "x"),),
        }
    )
    assert decode_credential(encode(credential), "here") == credential
    fuse = FuseRecord(acted=((1, "partner", "r", "g/p"),), blown={"class:partner": Blown(at_ms=1, why="x")})
    assert decode_fuse(encode(fuse), "here") == fuse
    glass = BreakGlass(paused=Glass(since_ms=1, until_ms=2, by="a", reason="b"))
    assert decode_break_glass(encode(glass), "here") == glass
    allowed = AllowedRecord(realm="g", id="p", since_ms=1, until_ms=2, by="a", reason="b")
    assert decode_allowed(encode(allowed), "here") == allowed
    assert allowed.subject == "g/p"


def test_a_status_of_the_version_before_asks_for_nothing_more():
    before = {
        "v": 1,
        "kind": "status",
        "realm": "g",
        "id": "p",
        "status": "active",
        "version": 2,
        "at_ms": 5,
        "finding": None,
    }
    entry = decode_status(json.dumps(before).encode(), "here")
    assert entry is not None
    assert (entry.restart_ms, entry.reopen_ms, entry.watch) == (None, None, None)


def test_our_own_keys_are_no_credentials():
    assert is_credential(b"gate/@p")
    assert not any(map(is_credential, (b"@rules", b"@fuse", b"@incident/INC-0001")))
