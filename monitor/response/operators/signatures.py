"""Whether a signature is a person's: `ssh-keygen -Y` says, in a process of its own.

OpenSSH's own tool knows every kind of key, hardware keys too, and keeps cryptography out of here.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final, Self

from monitor.errors import ConfigurationError, Fault
from monitor.wire.statements import NAMESPACE

#: Checks at a time; whoever floods us with signatures waits, and nobody else.
_CHECKS_AT_ONCE: Final = 4
_CHECK_SECONDS: Final = 10.0


def find_ssh_keygen() -> str:
    """Return the path of ssh-keygen; raises ConfigurationError where there is none."""
    found = shutil.which("ssh-keygen")
    if found is None:
        fault = Fault("ssh-keygen", "is not installed here", "install openssh-client (Debian), 8.2 or newer")
        raise ConfigurationError("signatures of operators cannot be made or checked", [fault])
    return found


class SignatureCheck:
    """Checks signatures against the text of an `allowed_signers` file, off the event loop."""

    def __init__(self) -> None:
        self._ssh_keygen = find_ssh_keygen()
        self._places = asyncio.Semaphore(_CHECKS_AT_ONCE)

    async def signer(self, statement: bytes, signature: str, allowed_signers: bytes) -> str | None:
        """Return whose signature of a statement it is, or None where it is nobody's."""
        async with self._places:
            return await asyncio.to_thread(self._find, statement, signature, allowed_signers)

    async def signed_by(self, person: str, statement: bytes, signature: str, allowed_signers: bytes) -> bool:
        """Return whether a statement was signed by a person."""
        async with self._places:
            return await asyncio.to_thread(self._verify, person, statement, signature, allowed_signers)

    def _find(self, statement: bytes, signature: str, allowed_signers: bytes) -> str | None:
        with _Files(signature, allowed_signers) as files:
            found = self._run(["find-principals", *files.options], b"")
            names = found.stdout.decode("utf-8", "replace").split()
            if found.returncode != 0 or len(names) != 1:
                return None
            return names[0] if self._check(names[0], statement, files) else None

    def _verify(self, person: str, statement: bytes, signature: str, allowed_signers: bytes) -> bool:
        with _Files(signature, allowed_signers) as files:
            return self._check(person, statement, files)

    def _check(self, person: str, statement: bytes, files: _Files) -> bool:
        options = ["verify", "-n", NAMESPACE, "-I", person, *files.options]
        return self._run(options, statement).returncode == 0

    def _run(self, options: list[str], given: bytes) -> subprocess.CompletedProcess[bytes]:
        command = [self._ssh_keygen, "-Y", *options]
        try:
            return subprocess.run(  # noqa: S603 - no shell; the person's name is one of allowed_signers
                command, input=given, capture_output=True, check=False, timeout=_CHECK_SECONDS
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 1, b"", b"")


class _Files:
    """What ssh-keygen reads from files: gone when the check is done."""

    def __init__(self, signature: str, allowed_signers: bytes) -> None:
        self._texts = {"signature": signature.encode(), "allowed_signers": allowed_signers}
        self._folder = tempfile.TemporaryDirectory(prefix="monitor-signature-")

    @property
    def options(self) -> list[str]:
        folder = self._folder.name
        return ["-s", f"{folder}/signature", "-f", f"{folder}/allowed_signers"]

    def __enter__(self) -> Self:
        for name, text in self._texts.items():
            Path(self._folder.name, name).write_bytes(text)
        return self

    def __exit__(self, *_error: object) -> None:
        self._folder.cleanup()
