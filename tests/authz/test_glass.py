"""Break-glass by a local file: who may write it, how long it holds, and that doubt lets nobody through."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

import orjson
import pytest
from click.testing import CliRunner

from monitor.authz.glass import LocalGlass, break_locally, mend_locally
from monitor.authz.register import Register
from monitor.cli import cli
from monitor.errors import ConfigurationError
from monitor.observe.metrics import Metrics
from monitor.wire.safety import LONGEST_ALLOW_ALL_MS
from tests.rig.configuration import settings_for, write_settings

if TYPE_CHECKING:
    from pathlib import Path

MINUTES = 600_000
#: No broker is asked.
ALONE: Final = {"broker": "embedded", "bootstrap": "127.0.0.1:1", "prefix": "g."}


def register_of(folder: Path, **authz: str | None) -> Register:
    """Return a register with settings of `authz`, which follows nothing."""
    settings = settings_for(folder, **ALONE, authz={"realm": "gate", **authz})
    return Register(settings, Metrics(roles=["authz"]))


def test_a_file_that_was_just_written_is_seen_and_one_that_was_removed_is_not(tmp_path: Path):
    path = tmp_path / "allow-all"
    glass = LocalGlass(path)
    assert glass.look() is None
    made = break_locally(path, MINUTES, "anna", "ward 4 cannot read")
    assert glass.look() == made
    assert (path.stat().st_mode & 0o777, made.until_ms - made.since_ms) == (0o600, MINUTES)
    assert mend_locally(path)
    assert glass.look() is None
    assert not mend_locally(path)


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_could_have_written_lets_nobody_through(tmp_path: Path, mode: int):
    path = tmp_path / "allow-all"
    glass = LocalGlass(path)
    break_locally(path, MINUTES, "anna", "test")
    assert glass.look() is not None
    path.chmod(mode)
    assert glass.look() is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"v":1}', b"\xff\xfe", b'{"until_ms":"soon"}', b" " * 20_000]
)
def test_a_file_that_cannot_be_read_lets_nobody_through(tmp_path: Path, content: bytes):
    path = tmp_path / "allow-all"
    glass = LocalGlass(path)
    break_locally(path, MINUTES, "anna", "test")
    assert glass.look() is not None
    path.write_bytes(content)
    assert glass.look() is None


def test_no_file_lets_everybody_through_for_longer_than_the_signed_act(tmp_path: Path):
    path = tmp_path / "allow-all"
    with pytest.raises(ConfigurationError, match="longer than 4 hours"):
        break_locally(path, LONGEST_ALLOW_ALL_MS + 1, "anna", "test")
    made = break_locally(path, LONGEST_ALLOW_ALL_MS, "anna", "test")
    document = orjson.loads(path.read_bytes())
    path.write_bytes(orjson.dumps(document | {"until_ms": made.until_ms + 3_600_000}))
    assert LocalGlass(path).look() is None


def test_a_glass_whose_time_is_over_lets_nobody_through(tmp_path: Path):
    register = register_of(tmp_path, allow_all_file=str(tmp_path / "allow-all"))
    now_ms = int(time.time() * 1000)
    for until_ms, expected in ((now_ms + MINUTES, True), (now_ms - 1, False)):
        register._local_ms = until_ms
        assert register.lets_everybody_in is expected
    register._local_ms, register._glass_ms = now_ms - 1, now_ms + MINUTES
    assert register.lets_everybody_in


def test_by_staleness_nobody_is_refused_unless_that_was_asked_for(tmp_path: Path):
    for asked_for, expected in ((None, False), ("60s", True)):
        register = register_of(tmp_path, deny_when_stale=asked_for)
        register._heartbeat_ms = int(time.time() * 1000) - 61_000
        assert register.too_old is expected
        register._heartbeat_ms += 30_000
        assert not register.too_old


def test_the_command_breaks_and_mends_the_glass_of_this_machine(tmp_path: Path):
    path = tmp_path / "allow-all"
    config = write_settings(tmp_path, **ALONE, authz={"realm": "gate", "allow_all_file": str(path)})

    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli, ["authz", *words, "-c", str(config)])
        return result.exit_code, result.output

    code, said = run("allow-all", "--local", "--for", "10m", "--reason", "ward 4", "--yes")
    assert code == 0, said
    assert "end-allow-all --local" in said
    seen = LocalGlass(path).look()
    assert seen is not None
    assert (seen.reason, seen.until_ms - seen.since_ms) == ("ward 4", MINUTES)
    assert path.stat().st_uid == os.geteuid()
    code, said = run("end-allow-all", "--local", "--reason", "mended")
    assert code == 0, said
    assert not path.exists()
