"""Signing with a key that is where people have theirs: a file, ~/.ssh, or an agent."""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from monitor.cli.signing import Signer
from monitor.errors import ConfigurationError, NotPermittedError
from monitor.response.operators.signatures import SignatureCheck
from monitor.wire.statements import Order
from tests.operator.stage import ANNA, BEN, suspend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.operator.stage import Staff

STATEMENT = Order(audience="access-monitor", act=suspend())


@contextmanager
def agent(folder: Path, *keys: Path) -> Iterator[str]:
    """Run an agent that holds keys; yield its socket."""
    socket = folder / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL) as running:
        try:
            deadline = time.monotonic() + 20
            while not socket.exists():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            for key in keys:
                environment = {"SSH_AUTH_SOCK": str(socket)}
                subprocess.run(["/usr/bin/ssh-add", "-q", key], env=environment, check=True)
            yield str(socket)
        finally:
            running.terminate()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty home, with no agent."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / ".ssh").mkdir()
    return tmp_path


async def signed_by(signer: Signer, staff: Staff) -> str | None:
    """Return whose signature a signer makes."""
    signed = await signer.sign(STATEMENT)
    allowed = staff.allowed_signers.read_bytes()
    return await SignatureCheck().signer(signed.statement.encode(), signed.signature, allowed)


async def test_a_key_in_the_usual_place_is_found(home: Path, staff: Staff):
    (home / ".ssh" / "id_ed25519").write_bytes(staff.keys[BEN].read_bytes())
    (home / ".ssh" / "id_ed25519").chmod(0o600)
    assert await signed_by(Signer(None), staff) == BEN


async def test_a_public_half_signs_with_what_the_agent_has(
    home: Path, staff: Staff, monkeypatch: pytest.MonkeyPatch
):
    public = home / "anna.pub"
    public.write_bytes(staff.keys[ANNA].with_suffix(".pub").read_bytes())
    with agent(home, staff.keys[BEN], staff.keys[ANNA]) as socket:
        monkeypatch.setenv("SSH_AUTH_SOCK", socket)
        assert await signed_by(Signer(public), staff) == ANNA
        with pytest.raises(NotPermittedError, match="the agent has 2 keys: name it"):
            await Signer(None).sign(STATEMENT)


async def test_the_only_key_of_an_agent_is_yours(home: Path, staff: Staff, monkeypatch: pytest.MonkeyPatch):
    with agent(home, staff.keys[ANNA]) as socket:
        monkeypatch.setenv("SSH_AUTH_SOCK", socket)
        assert await signed_by(Signer(None), staff) == ANNA


async def test_without_a_key_it_says_how_to_name_one(home: Path, staff: Staff):
    with pytest.raises(NotPermittedError, match="name it with --identity"):
        await Signer(None).sign(STATEMENT)
    public = home / "anna.pub"
    public.write_bytes(staff.keys[ANNA].with_suffix(".pub").read_bytes())
    with pytest.raises(NotPermittedError, match="is its private half in the agent"):
        await Signer(public).sign(STATEMENT)


def test_a_laptop_without_openssh_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigurationError, match="ssh-keygen: is not installed here"):
        Signer(Path("key"))
