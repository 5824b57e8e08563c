"""A person's credential is a pseudonym everywhere; only the enforcer's key opens its handle."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.events import HANDLE, PRINCIPAL, SUBJECT, CredentialStatus
from monitor.core.rules import RuleSet
from monitor.errors import ConfigurationError
from monitor.intake.event import Event
from monitor.intake.handles import HandleError, Opener, Sealer, new_handle_key
from monitor.intake.key_files import add_handle_key, write_credential_key, write_new_keys
from monitor.intake.keys import load_credential_key, load_keys, load_opener
from monitor.intake.pseudonym import credential_pseudonyms
from monitor.intake.rows import EventRouter
from monitor.response.opening import opener_of
from monitor.rulebook import compile_pattern
from monitor.wire.credentials import CredentialRecord, RuleName
from tests.rig.configuration import settings_for

if TYPE_CHECKING:
    from pathlib import Path

    from monitor.settings import Settings

SESSION = "session-3f9a-of-dr-dupont"
PRIVATE, PUBLIC = new_handle_key()
SEALER, OPENER = Sealer("h1", PUBLIC), Opener({"h1": PRIVATE})


def settings(folder: Path, **privacy: Any) -> Settings:
    keys = folder / "privacy.keys"
    if not keys.exists():
        write_new_keys(keys, folder / "privacy.handles")
    return settings_for(
        folder,
        broker="embedded",
        bootstrap="127.0.0.1:1",
        prefix="x.",
        privacy={"key_file": str(keys), **privacy},
    )


def record(**fields: Any) -> CredentialRecord:
    plain: dict[str, Any] = {
        "realm": "r",
        "id": "partner",
        "kind": "session",
        "status": CredentialStatus.SUSPENDED,
        "version": 1,
        "state": "requested",
        "since_ms": 1,
        "until_ms": None,
        "incident": "INC-0001",
        "finding": "f",
        "rule": RuleName("i", "t"),
        "level": "high",
        "summary": "…",
        "patients": 1,
        "patients_capped": False,
        "leaked": 0,
        "webhook_id": "msg_1",
        "attempts": 0,
        "detected_ms": 1,
        "requested_ms": 1,
    }
    return CredentialRecord(**{**plain, **fields})


def rows_of(folder: Path, kind: str) -> list[Any]:
    keys = load_keys(settings(folder).privacy.key_file)
    event = Event(1_800_000_000_000, "r", 200, principal=SESSION, principal_kind=kind)
    return EventRouter(RuleSet(()), keys, 4, compile_pattern).route((event,), 7)


@given(st.text(min_size=1, max_size=200), st.text(max_size=50))
def test_a_handle_opens_with_the_private_key_and_its_own_subject_alone(raw: str, subject: str):
    box = SEALER.seal(subject, raw)
    assert raw not in box or len(raw) < 8
    assert OPENER.open(subject, box) == raw
    with pytest.raises(HandleError):
        OPENER.open(subject + "x", box)
    with pytest.raises(HandleError):
        Opener({"h1": new_handle_key()[0]}).open(subject, box)


def test_the_length_of_a_handle_says_little():
    assert len({len(SEALER.seal("r/x", "a" * size)) for size in range(1, 31)}) == 1


@pytest.mark.parametrize("broken", ["", "h1", "h1:", "h1:!!!", "h2:AAAA", "h1:AAAA"])
def test_what_is_no_handle_is_refused(broken: str):
    with pytest.raises(HandleError):
        OPENER.open("r/x", broken)


@pytest.mark.parametrize("kind", ["session", "account"])
def test_rows_of_people_bear_a_pseudonym_and_a_sealed_handle(tmp_path: Path, kind: str):
    ((_, row),) = rows_of(tmp_path, kind)
    assert SESSION not in repr(row)
    assert row[SUBJECT] == f"r/{row[PRINCIPAL]}"
    assert row[PRINCIPAL].startswith("c1:")
    opener = load_opener(tmp_path / "privacy.handles")
    assert opener.open(row[SUBJECT], row[HANDLE]) == SESSION


@pytest.mark.parametrize("kind", ["api_key", "oauth_client"])
def test_credentials_of_systems_keep_their_name(tmp_path: Path, kind: str):
    ((_, row),) = rows_of(tmp_path, kind)
    assert row[PRINCIPAL] == SESSION
    assert len(row) == HANDLE


def test_equal_ids_of_two_realms_are_two_people():
    person = credential_pseudonyms(bytes(32))
    assert person("a/alice") != person("b/alice")


def test_only_the_call_to_a_gateway_sees_the_id(tmp_path: Path):
    ((_, row),) = rows_of(tmp_path, "session")
    sealed = record(id=row[PRINCIPAL], handle=row[HANDLE])
    opened = opener_of(settings(tmp_path, handle_key_file=str(tmp_path / "privacy.handles")))
    told = opened(sealed)
    assert (told.id, told.handle) == (SESSION, None)
    assert SESSION not in repr(told)
    assert SESSION not in repr(opened)
    partner = record()
    assert opened(partner) is partner


def test_without_the_key_or_the_handle_the_error_says_what_to_do(tmp_path: Path):
    ((_, row),) = rows_of(tmp_path, "session")
    sealed = record(id=row[PRINCIPAL], handle=row[HANDLE])
    with pytest.raises(HandleError, match=r"set privacy\.handle_key_file"):
        opener_of(settings(tmp_path))(sealed)
    with pytest.raises(HandleError, match="monitor keys handles"):
        opener_of(settings(tmp_path))(msgspec.structs.replace(sealed, handle=None))


def test_a_new_handle_key_leaves_the_old_one_to_open(tmp_path: Path):
    ((_, before),) = rows_of(tmp_path, "session")
    keys, handles = tmp_path / "privacy.keys", tmp_path / "privacy.handles"
    assert add_handle_key(keys, handles) == "h2"
    ((_, after),) = rows_of(tmp_path, "session")
    opener = load_opener(handles)
    assert after[HANDLE].startswith("h2:")
    for row in (before, after):
        assert opener.open(row[SUBJECT], row[HANDLE]) == SESSION


def test_the_decision_service_needs_no_patient_key(tmp_path: Path):
    keys = settings(tmp_path).privacy.key_file
    part = tmp_path / "authz.keys"
    write_credential_key(keys, part)
    assert load_credential_key(part) == load_credential_key(keys) == load_keys(keys).credential_key
    assert set(json.loads(part.read_bytes())) == {"version", "credentials"}
    with pytest.raises(ConfigurationError, match="not a key file"):
        load_keys(part)


def test_files_are_not_taken_for_one_another(tmp_path: Path):
    keys = settings(tmp_path).privacy.key_file
    with pytest.raises(ConfigurationError, match="not a file of handle keys"):
        load_opener(keys)
    with pytest.raises(ConfigurationError, match="not a key file"):
        load_keys(tmp_path / "privacy.handles")
