"""The key file: one key for pseudonyms, another for partitions.

The routing key decides which partition a subject lives in. It never rotates: a subject that
moved would leave its windows behind. The pseudonym key has an id, so that it can rotate later.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import stat
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from monitor.errors import ConfigurationError, Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY_BYTES: Final = 32
_VERSION: Final = 1
#: Subjects whose partition is kept at hand, per axis.
_CACHED_PARTITIONS: Final = 65_536


class _PseudonymKey(msgspec.Struct, forbid_unknown_fields=True):
    id: Annotated[str, msgspec.Meta(pattern="^[a-z0-9]{1,16}$")]
    key: str


class _KeyFile(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    routing: str
    pseudonym: _PseudonymKey


class Keys:
    """The secrets of intake; nothing of them is ever in a repr."""

    __slots__ = ("_partitioners", "_routing", "pseudonym_id", "pseudonym_key")

    def __init__(self, routing: bytes, pseudonym_id: str, pseudonym_key: bytes) -> None:
        self._routing = routing
        self.pseudonym_id = pseudonym_id
        self.pseudonym_key = pseudonym_key
        self._partitioners: dict[tuple[str, int], Callable[[str], int]] = {}

    def __repr__(self) -> str:
        """Return the key id only."""
        return f"Keys(pseudonym={self.pseudonym_id!r})"

    def partition(self, axis: str, raw_subject: str, partitions: int) -> int:
        """Return the partition, 0 to `partitions` - 1, of a subject.

        `raw_subject` is the subject before pseudonymisation (a credential's is
        `credential_subject(realm, id)`), so that a new pseudonym key moves nothing.
        """
        return self.partitioner(axis, partitions)(raw_subject)

    def partitioner(self, axis: str, partitions: int) -> Callable[[str], int]:
        """Return `partition` for one axis, with its own cache."""
        found = self._partitioners.get((axis, partitions))
        if found is None:
            found = _partitioner(self._routing, axis, partitions)
            self._partitioners[axis, partitions] = found
        return found


def new_keys() -> Keys:
    """Return fresh random keys; the pseudonym key is called ``k1``."""
    return Keys(secrets.token_bytes(KEY_BYTES), "k1", secrets.token_bytes(KEY_BYTES))


def write_new_keys(path: Path) -> None:
    """Create a key file that only its owner may read.

    Raises ConfigurationError where the file exists: a lost routing or pseudonym key cannot be
    had back, and all windows and pseudonyms hang on it.
    """
    document = {
        "version": _VERSION,
        "routing": _text(secrets.token_bytes(KEY_BYTES)),
        "pseudonym": {"id": "k1", "key": _text(secrets.token_bytes(KEY_BYTES))},
    }
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise _fault(
            path, "the file exists and is not overwritten", "choose another path, or keep using it"
        ) from None
    except OSError as error:
        raise _fault(path, f"cannot be created: {error.strerror}", "") from None
    with os.fdopen(handle, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def load_keys(path: Path) -> Keys:
    """Return the keys of a file.

    Raises ConfigurationError where it is missing, readable by others than its owner, or not a
    key file; the text never holds anything of the file's content.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(65_536)
    except FileNotFoundError:
        raise _fault(path, "no such key file", f"create it with: monitor keys new {path}") from None
    except OSError as error:
        raise _fault(path, f"cannot be read: {error.strerror}", "") from None
    if stat.S_IMODE(mode) & 0o077:
        raise _fault(
            path,
            f"others than its owner have access (mode {stat.S_IMODE(mode):04o})",
            f"chmod 600 {path}",
        )
    try:
        document = msgspec.json.decode(content, type=_KeyFile)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _fault(path, "not a key file of this monitor", "restore it from your backup") from None
    if document.version != _VERSION:
        raise _fault(path, f"key file of version {document.version}; this reads {_VERSION}", "")
    routing = _key(path, "routing", document.routing)
    return Keys(routing, document.pseudonym.id, _key(path, "pseudonym.key", document.pseudonym.key))


def _partitioner(key: bytes, axis: str, partitions: int) -> Callable[[str], int]:
    # The axis keeps equal texts of two axes apart ("42" as a tenant, "42" as a patient).
    start = hashlib.blake2b(digest_size=8, key=key, person=axis.encode()[:16])

    @lru_cache(_CACHED_PARTITIONS)
    def partition(raw_subject: str) -> int:
        digest = start.copy()
        digest.update(raw_subject.encode("utf-8", "surrogatepass"))
        return int.from_bytes(digest.digest(), "big") % partitions

    return partition


def _key(path: Path, name: str, text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise _fault(path, f"{name} is not {KEY_BYTES} bytes in base64", "restore it from a backup")
    return key


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()


def _fault(path: Path, problem: str, remedy: str) -> ConfigurationError:
    return ConfigurationError("the key file cannot be used", [Fault(str(path), problem, remedy)])
