"""Signs with the SSH key of whoever sits here: a file, a hardware key, or one in the agent."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from monitor.errors import NotPermittedError
from monitor.response.operators.signatures import find_ssh_keygen
from monitor.wire.statements import NAMESPACE, Signed, Statement, encode_statement

#: In the order in which ssh tries them.
_USUAL: Final = ("id_ed25519", "id_ed25519_sk", "id_ecdsa", "id_ecdsa_sk", "id_rsa")
_AGENT_SECONDS: Final = 10.0


class Signer:
    """Makes signatures with one key. `identity` is its private or public half; None looks for one."""

    def __init__(self, identity: Path | None) -> None:
        self._ssh_keygen = find_ssh_keygen()
        self._identity = identity or _usual_identity()
        if identity is not None and not identity.exists():
            msg = f"{identity}: there is no such key; name yours with --identity or operator.identity_file"
            raise NotPermittedError(msg)

    async def sign(self, statement: Statement) -> Signed:
        """Return a statement with its signature.

        ssh-keygen itself asks for a passphrase or a touch. Raises NotPermittedError where it fails.
        """
        value = encode_statement(statement)
        signature = await asyncio.to_thread(self._run, value)
        return Signed(statement=value.decode(), signature=signature)

    def _run(self, value: bytes) -> str:
        if self._identity is not None:
            return self._sign_with(self._identity, value)
        with tempfile.TemporaryDirectory(prefix="monitor-key-") as folder:
            public = Path(folder, "agent.pub")
            public.write_text(_only_key_of_agent(), encoding="utf-8")
            return self._sign_with(public, value)

    def _sign_with(self, identity: Path, value: bytes) -> str:
        command = [self._ssh_keygen, "-q", "-Y", "sign", "-f", str(identity), "-n", NAMESPACE]
        # Its own words go to the terminal: it asks to touch a key there.
        done = subprocess.run(command, input=value, stdout=subprocess.PIPE, check=False)  # noqa: S603 - no shell
        if done.returncode != 0:
            msg = (
                f"{identity}: ssh-keygen could not sign with it (see above); is it your key, or is its private"
                " half in the agent (`ssh-add -l`)? Name another with --identity"
            )
            raise NotPermittedError(msg)
        return done.stdout.decode()


def _usual_identity() -> Path | None:
    folder = Path.home() / ".ssh"
    for name in _USUAL:
        for path in (folder / name, folder / f"{name}.pub"):
            if path.exists():
                return path
    return None


def _only_key_of_agent() -> str:
    """Return the public key of an agent that holds one."""
    try:
        done = subprocess.run(
            ["ssh-add", "-L"],  # noqa: S607 - found like ssh-keygen
            capture_output=True,
            check=False,
            timeout=_AGENT_SECONDS,
        )
        keys = done.stdout.decode("utf-8", "replace").splitlines() if done.returncode == 0 else []
    except (OSError, subprocess.TimeoutExpired):
        keys = []
    if len(keys) != 1:
        found = f"the agent has {len(keys)} keys" if keys else "there is none in ~/.ssh or in an agent"
        msg = f"which SSH key is yours? {found}: name it with --identity or operator.identity_file"
        raise NotPermittedError(msg)
    return keys[0] + "\n"
