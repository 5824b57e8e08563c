"""Who may do what: two files, read strictly, all faults at once."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from monitor.errors import ConfigurationError
from monitor.response.operators.people import PeopleFiles, read_people
from tests.operator.stage import make_key, public

if TYPE_CHECKING:
    from pathlib import Path

    from monitor.response.operators.people import People

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKGjVzBvrIbJkyj0fpBaJUexzPD0TFWjiDxkLm3yv0jE"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPQ9V6Ojn1vAIYHvAnhUXpmWy7eYfdlQbb2lM0Ei9Pp1"


def read(signers: str, rights: str) -> People:
    """Return the people of two texts."""
    return read_people(signers.encode(), rights.encode(), "allowed_signers", "operators.yaml")


def faults(signers: str, rights: str) -> list[str]:
    """Return what is wrong with two texts."""
    with pytest.raises(ConfigurationError) as refused:
        read(signers, rights)
    return [str(fault) for fault in refused.value.faults]


def test_people_have_keys_and_rights():
    people = read(
        f'# the on-call\n\nanna {KEY} her laptop\nben namespaces="file,access-monitor-operator" {OTHER}\n',
        "anna: [read, respond]\nben: [approve]\n",
    )
    assert people.may("anna", "respond")
    assert not people.may("anna", "approve")
    assert people.may("ben", "read"), "who may do anything may see what it is about"
    assert not people.may("ben", "respond")
    assert not people.may("carl", "read")


def test_a_person_may_have_several_keys():
    assert set(read(f"anna {KEY}\nanna {OTHER}\n", "anna: [read]").rights) == {"anna"}


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_keys_of_every_kind_are_read_as_ssh_keygen_writes_them(tmp_path: Path, kind: str):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", key], check=True)
    assert read(f"anna {public(key)} comment\n", "anna: [read]").may("anna", "read")


@pytest.mark.parametrize(
    ("signers", "rights", "said"),
    [
        (f"*@clinic.example {KEY}", "anna: [read]", "allowed_signers:1: expected the name of one person"),
        (f"anna,ben {KEY}", "anna: [read]", "allowed_signers:1: expected the name of one person"),
        (
            f"anna {KEY}\nben {KEY}",
            "anna: [read]\nben: [read]",
            "allowed_signers:2: the same key stands under anna",
        ),
        (f"anna cert-authority {KEY}", "anna: [read]", "allowed_signers:1: certificates are not taken"),
        (f'anna rights="all" {KEY}', "anna: [read]", "allowed_signers:1: there is no option rights"),
        (f'anna namespaces="git" {KEY}', "anna: [read]", "allowed_signers:1: its namespaces leave out ours"),
        (f'anna namespaces="git {KEY}', "anna: [read]", "allowed_signers:1: "),
        ("anna", "anna: [read]", "allowed_signers:1: expected a public key"),
        ("anna ssh-ed25519 AAAA", "anna: [read]", "allowed_signers:1: expected a public key"),
        ("anna ssh-ed25519 ====", "anna: [read]", "allowed_signers:1: expected a public key"),
        (f"anna ssh-rsa {KEY.split()[1]}", "anna: [read]", "allowed_signers:1: expected a public key"),
        (f"anna {KEY}", "anna: [sudo]", "operators.yaml anna: expected a list of rights"),
        (f"anna {KEY}", "anna: []", "operators.yaml anna: expected a list of rights"),
        (f"anna {KEY}", "anna: read", "operators.yaml anna: expected a list of rights"),
        (f"anna {KEY}", "[anna]", "operators.yaml: expected each person's rights"),
        (f"anna {KEY}", "anna: [", "operators.yaml: not YAML"),
        (f"anna {KEY}", "anna: [read]\nben: [read]", "operators.yaml ben: has rights but no key"),
        (f"anna {KEY}\nben {OTHER}", "anna: [read]", "allowed_signers:2: ben has a key but no rights"),
        ("# nobody\n", "{}", "allowed_signers: names nobody"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(signers: str, rights: str, said: str):
    found = faults(signers, rights)
    assert any(fault.startswith(said) for fault in found), found


def test_all_faults_come_at_once():
    found = faults(f"anna,ben {KEY}\ncarl\n", "anna: [sudo]\ndora: [read]")
    assert len(found) == 5, found


def test_no_fault_shows_a_key(tmp_path: Path):
    secret = make_key(tmp_path, "anna").read_text().split()[5]
    assert secret not in str(faults(f"anna {secret}\n", "anna: [read]"))


def test_files_that_are_not_there_are_both_named(tmp_path: Path):
    with pytest.raises(ConfigurationError) as refused:
        PeopleFiles(tmp_path / "a", tmp_path / "b").read()
    assert len(refused.value.faults) == 2
