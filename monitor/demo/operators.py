"""Two operators of the demo with SSH keys of their own, and a directory that says whose credentials are."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any, Final

import yaml

from monitor.demo.gateway import REALM
from monitor.demo.processes import DemoError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

#: Who sits at the demo, and a second person for what needs two. Their keys are files of these names.
YOU: Final = "you"
COLLEAGUE: Final = "colleague"
DIRECTORY: Final = "credentials.yaml"
_RIGHTS: Final = {YOU: ["read", "respond", "approve", "break-glass"], COLLEAGUE: ["respond", "approve"]}
_FOLDER: Final = "operators"


def make_operators(folder: Path, port: int) -> dict[str, Any]:
    """Make keys and the two files that know them; return the section `operator` of the settings.

    Without OpenSSH there are no operators, and the section leaves the API off.
    """
    ssh_keygen = shutil.which("ssh-keygen")
    if ssh_keygen is None:
        return {}
    place = folder / _FOLDER
    place.mkdir(mode=0o700)
    signers = []
    for name in _RIGHTS:
        command = [ssh_keygen, "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(place / name)]
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - no shell
        if done.returncode != 0:
            msg = f"ssh-keygen made no key in {place}: exit code {done.returncode}"
            raise DemoError(msg)
        kind, key, *_ = (place / f"{name}.pub").read_text(encoding="utf-8").split()
        signers.append(f"{name} {kind} {key}\n")
    (place / "allowed_signers").write_text("".join(signers), encoding="utf-8")
    (place / "rights.yaml").write_text(yaml.safe_dump(_RIGHTS, sort_keys=False), encoding="utf-8")
    return {
        "listen": f"127.0.0.1:{port}",
        "audience": "demo",
        "allowed_signers_file": f"{_FOLDER}/allowed_signers",
        "rights_file": f"{_FOLDER}/rights.yaml",
        "identity_file": f"{_FOLDER}/{YOU}",
    }


def write_directory(folder: Path, partners: Iterable[str]) -> None:
    """Write whose credentials they are, and whom to phone."""
    entries = [
        {
            "realm": REALM,
            "id": partner,
            "class": "partner",
            "owner": f"{partner.replace('-', ' ').title()} Ltd",
            "phone": f"+49 30 555 {number:04}",
        }
        for number, partner in enumerate(partners, 101)
    ]
    text = yaml.safe_dump({"credentials": entries}, sort_keys=False)
    (folder / DIRECTORY).write_text(text, encoding="utf-8")
