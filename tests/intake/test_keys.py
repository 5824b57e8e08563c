"""Keys are private, pseudonyms are stable, partitions never move."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from monitor.cli.keys import command
from monitor.errors import ConfigurationError
from monitor.intake.key_files import write_new_keys
from monitor.intake.keys import Epoch, Keys, load_keys, new_keys
from monitor.intake.pseudonym import Pseudonyms

if TYPE_CHECKING:
    from pathlib import Path

ROUTING = bytes(range(32))
KEYS = Keys(ROUTING, (Epoch("k1", b"p" * 32),))
PARTITIONS = [5, 4, 5, 1, 7, 1, 3, 5]
PSEUDONYM = "k1:cd509c557aeb73e1e481c7bd"


def problem(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_keys(path)
    return str(caught.value)


def test_a_new_file_is_private_and_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    write_new_keys(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    keys = load_keys(path)
    (epoch,) = keys.epochs
    assert (epoch.id, len(epoch.key)) == ("k1", 32)
    assert repr(keys) == "Keys(k1)"
    assert repr(epoch) == "Epoch('k1')"
    assert keys.partition("principal", "a/b", 8) == load_keys(path).partition("principal", "a/b", 8)


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    write_new_keys(path)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="not overwritten"):
        write_new_keys(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_file_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keys.json"
    write_new_keys(path)
    path.chmod(mode)
    assert f"others than its owner have access (mode {mode:04o}) (chmod 600 {path})" in problem(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"SECRET",
        b"{}",
        b'{"version":1,"routing":"SECRET","pseudonym":{"id":"k1","key":"SECRET"}}',
        b'{"version":2,"routing":"SECRET","pseudonym":{"id":"k1","key":"SECRET"}}',
        b'{"version":1,"routing":"U0VDUkVU","pseudonym":{"id":"SECRET:","key":"SECRET"}}',
        b'{"version":1,"routing":"U0VDUkVU","pseudonym":{"id":"k1","key":"SECRET"},"x":"SECRET"}',
        b"\xff",
    ],
)
def test_a_broken_file_is_refused_without_its_content(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys.json"
    path.touch(0o600)
    path.write_bytes(content)
    text = problem(path)
    assert str(path) in text
    assert "SECRET" not in text


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    assert f"monitor keys new {path}" in problem(path)


@given(st.text(), st.integers(1, 64))
def test_a_partition_depends_on_axis_subject_and_routing_key_alone(subject: str, partitions: int) -> None:
    rotated = Keys(ROUTING, (Epoch("k2", b"q" * 32),))
    partition = KEYS.partition("patient", subject, partitions)
    assert 0 <= partition < partitions
    assert partition == rotated.partition("patient", subject, partitions)


def test_partitions_are_even_and_differ_by_axis_and_key() -> None:
    subjects = [f"s-{n}" for n in range(8000)]
    counts = [0] * 8
    for subject in subjects:
        counts[KEYS.partition("principal", subject, 8)] += 1
    assert all(850 < count < 1150 for count in counts)
    others = (KEYS.partitioner("patient", 8), new_keys().partitioner("principal", 8))
    mine = KEYS.partitioner("principal", 8)
    for other in others:
        assert sum(mine(subject) == other(subject) for subject in subjects) < 1500


def test_partitions_of_a_known_key_never_change() -> None:
    """A change here would tear every subject from its windows."""
    assert [KEYS.partition("principal", f"envoy/partner-{n}", 8) for n in range(8)] == PARTITIONS


def test_pseudonyms_of_a_known_key_never_change() -> None:
    pseudonyms = Pseudonyms.newest(KEYS)
    assert pseudonyms.patient("p-1") == PSEUDONYM
    assert len({pseudonyms.patient("1"), pseudonyms.object("1"), pseudonyms.client_ip("1")}) == 3
    assert Pseudonyms.newest(Keys(ROUTING, (Epoch("k1", b"q" * 32),))).patient("p-1") != PSEUDONYM


def test_the_command_makes_a_file_and_says_where_to_name_it(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    result = CliRunner().invoke(command, ["new", str(path)])
    assert result.exit_code == 0
    assert "privacy.key_file" in result.output
    assert load_keys(path).epochs[0].key.hex() not in result.output
