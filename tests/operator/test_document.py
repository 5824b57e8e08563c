"""docs/response.md: each command in it works, each exit code and field is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import msgspec
import pytest

from monitor.core.events import CredentialStatus
from monitor.errors import ExitCode
from monitor.wire.acts import RIGHT_FOR, Right
from monitor.wire.views import AutomationView, CredentialView, EndpointView, FuseView, IncidentView
from tests.operator.service import run
from tests.operator.stage import credential, incident
from tests.rig.configuration import write_settings

if TYPE_CHECKING:
    from tests.operator.service import Service

TEXT = (Path(__file__).parents[2] / "docs" / "response.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^ *\$ monitor (.+)$", TEXT, re.MULTILINE)
INLINE = re.findall(r"`monitor ((?:credentials|incidents|fuse|automation|authz|deliveries) [^`]+)`", TEXT)
VALUES = {"TEXT": "a reason", "REALM/ID": "clinic-api/agenda-sync"}


@pytest.fixture
def night(service: Service) -> Service:
    """Return the service with the one credential and the one incident of the document."""
    known = {"realm": "clinic-api", "id": "agenda-sync"}
    service.book.add(
        credential(
            **known,
            status=CredentialStatus.SUSPENDED,
            state="enforced",
            version=1,
            accepted_ms=1,
            incident="INC-0142",
        ),
        credential("call-centre", realm="clinic-api"),
        incident(**known),
    )
    return service


@pytest.fixture
def beside_a_gateway(tmp_path: Path) -> Path:
    """Return the settings of a decision service that may be opened by a file."""
    folder = tmp_path / "gateway"
    folder.mkdir()
    authz = {"allow_all_file": str(folder / "allow-all")}
    return write_settings(folder, broker="cluster", bootstrap="127.0.0.1:1", prefix="x.", authz=authz)


def test_the_document_has_commands():
    assert len(COMMANDS) >= 15
    assert len(INLINE) >= 8


@pytest.mark.parametrize("command", sorted({*COMMANDS, *INLINE}))
def test_each_command_works_as_written(night: Service, beside_a_gateway: Path, command: str):
    arguments = [VALUES.get(word, word) for word in shlex.split(command)]
    acts = len(arguments) > 1 and "--reason" in arguments
    if acts and "--yes" not in arguments:
        asked = night.monitor(*arguments)
        if asked.code == ExitCode.USAGE:
            assert "say --yes" in asked.err, asked
            arguments.append("--yes")
    if "--local" in arguments:
        said = run(*arguments, "-c", str(beside_a_gateway))
    else:
        said = night.monitor(*arguments)
    assert said.code == 0, said
    assert said.out


def test_what_scripts_are_told_is_there():
    shapes: dict[str, type[msgspec.Struct]] = {
        "credentials list": CredentialView,
        "incidents list": IncidentView,
        "fuse status": FuseView,
        "deliveries list": EndpointView,
        "automation status": AutomationView,
    }
    for command, shape in shapes.items():
        (row,) = re.findall(rf"^\| `{command}` \| (.+) \|$", TEXT, re.MULTILINE)
        fields = {field.encode_name for field in msgspec.structs.fields(shape)}
        quoted = re.findall(r"`([^`]+)`", row)
        named = {word for text in quoted for word in re.findall(r"[a-z]+(?:_[a-z]+)*", text)}
        named -= {status.value for status in CredentialStatus}
        assert named - {"null", "by", "reason", "since_ms", "until_ms"} <= fields, command


def test_the_exit_codes_are_those_of_the_product():
    for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE):
        assert int(code) in set(ExitCode)


def test_the_rights_are_those_that_acts_need():
    rows = dict(re.findall(r"^\| `(read|respond|approve|break-glass)` \| (.+) \|$", TEXT, re.MULTILINE))
    assert set(rows) == set(get_args(Right))
    words = {
        "acknowledge": "ack",
        "reset_fuse": "reset the fuse",
        "pause_automation": "pause automation",
        "allow_all": "let everybody through",
        "enable_delivery": "call a gateway again",
    }
    for act, right in RIGHT_FOR.items():
        kind = str(act.__struct_config__.tag)
        if not kind.startswith(("resume", "end")):
            assert words.get(kind, kind) in rows[right], kind
