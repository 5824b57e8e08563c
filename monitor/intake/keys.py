"""The key file of intake: the routing key, the pseudonym keys by epoch, the public key for handles.

The routing key decides which partition a subject lives in, and what a person's credential is called. It
never rotates: a subject that moved would leave its windows and its incident behind. Pseudonym keys do,
each from a time on (docs/adr/0012-key-epochs.md). `key_files` makes and changes these files.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import stat
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, TypeVar

import msgspec

from monitor.errors import ConfigurationError, Fault
from monitor.intake.handles import Opener, Sealer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY_BYTES: Final = 32
FILE_VERSION: Final = 2
_VERSION_BEFORE: Final = 1
#: Subjects whose partition is kept at hand, per axis.
_CACHED_PARTITIONS: Final = 65_536
_LARGEST_FILE: Final = 65_536

Name = Annotated[str, msgspec.Meta(pattern="^[a-z0-9]{1,16}$")]
T = TypeVar("T")


class EpochEntry(msgspec.Struct, forbid_unknown_fields=True):
    """One pseudonym key in the file; `begins_ms` is when intake begins to count by it."""

    id: Name
    key: str
    begins_ms: Annotated[int, msgspec.Meta(ge=0)] = 0

    def __repr__(self) -> str:
        return f"EpochEntry({self.id!r})"


class PublicEntry(msgspec.Struct, forbid_unknown_fields=True):
    """The key that handles are sealed for."""

    id: Name
    public: str


class KeyFile(msgspec.Struct, forbid_unknown_fields=True):
    """What a key file of intake holds."""

    version: int
    routing: str
    pseudonyms: Annotated[list[EpochEntry], msgspec.Meta(min_length=1)]
    handles: PublicEntry | None = None

    def __repr__(self) -> str:
        return "KeyFile(…)"


class _FileBefore(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    routing: str
    pseudonym: EpochEntry


class CredentialKeyFile(msgspec.Struct, forbid_unknown_fields=True):
    """The part of a key file that the decision service needs: people's credentials, no patients."""

    version: int
    credentials: str

    def __repr__(self) -> str:
        return "CredentialKeyFile(…)"


class HandleKeyFile(msgspec.Struct, forbid_unknown_fields=True):
    """The enforcer's key file: private keys by id."""

    version: int
    handles: dict[Name, str]

    def __repr__(self) -> str:
        return "HandleKeyFile(…)"


class Epoch(NamedTuple):
    """One pseudonym key and the time (epoch ms) from which on intake counts by it."""

    id: str
    key: bytes
    begins_ms: int = 0

    def __repr__(self) -> str:
        return f"Epoch({self.id!r})"


class Keys:
    """The secrets of intake; nothing of them is ever in a repr.

    `epochs` are in the order in which they begin.
    """

    __slots__ = ("_partitioners", "_routing", "epochs", "sealer")

    def __init__(self, routing: bytes, epochs: tuple[Epoch, ...], sealer: Sealer | None = None) -> None:
        self._routing = routing
        self.epochs = tuple(sorted(epochs, key=lambda epoch: epoch.begins_ms))
        self.sealer = sealer
        self._partitioners: dict[tuple[str, int], Callable[[str], int]] = {}

    def __repr__(self) -> str:
        """Return the ids of the keys only."""
        return f"Keys({', '.join(epoch.id for epoch in self.epochs)})"

    def __reduce__(self) -> tuple[object, ...]:
        """Travel to another process without the caches, which cannot."""
        sealer = self.sealer
        return _rebuilt, (self._routing, self.epochs, (sealer.key_id, sealer.public) if sealer else None)

    @property
    def routing_key(self) -> bytes:
        """The key that decides partitions, for code that hashes by itself."""
        return self._routing

    @property
    def credential_key(self) -> bytes:
        """The key of people's credentials: derived from the routing key, which it says nothing of."""
        return hashlib.blake2b(b"credentials", digest_size=KEY_BYTES, key=self._routing).digest()

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
    return Keys(secrets.token_bytes(KEY_BYTES), (Epoch("k1", secrets.token_bytes(KEY_BYTES)),))


def load_keys(path: Path) -> Keys:
    """Return the keys of a file.

    Raises ConfigurationError where it is missing, reachable by others than its owner, or not a key file;
    the text never holds anything of the file's content.
    """
    document = read_key_file(path)
    epochs = tuple(
        Epoch(entry.id, key_of(path, f"pseudonyms.{entry.id}", entry.key), entry.begins_ms)
        for entry in document.pseudonyms
    )
    if len({epoch.id for epoch in epochs}) < len(epochs):
        raise fault(path, "two pseudonym keys have one id", "restore it from your backup")
    sealer = None
    if document.handles is not None:
        sealer = Sealer(document.handles.id, key_of(path, "handles", document.handles.public))
    return Keys(key_of(path, "routing", document.routing), epochs, sealer)


def load_credential_key(path: Path) -> bytes:
    """Return the key of people's credentials, from intake's key file or from the part made for authz.

    Raises ConfigurationError as `load_keys` does.
    """
    part = _decoded(_private_content(path), CredentialKeyFile)
    return load_keys(path).credential_key if part is None else key_of(path, "credentials", part.credentials)


def load_opener(path: Path) -> Opener:
    """Return what opens handles, from the enforcer's key file; raises ConfigurationError."""
    document = _decoded(_private_content(path), HandleKeyFile)
    if document is None:
        remedy = "privacy.handle_key_file is the private file of `monitor keys new`, not intake's"
        raise fault(path, "not a file of handle keys", remedy)
    return Opener({name: key_of(path, f"handles.{name}", text) for name, text in document.handles.items()})


def read_key_file(path: Path) -> KeyFile:
    """Return what a key file holds, of this version or the one before; raises ConfigurationError."""
    content = _private_content(path)
    document = _decoded(content, KeyFile)
    if document is None:
        before = _decoded(content, _FileBefore)
        if before is None or before.version != _VERSION_BEFORE:
            raise fault(path, "not a key file of this monitor", "restore it from your backup")
        return KeyFile(FILE_VERSION, before.routing, [before.pseudonym])
    if document.version != FILE_VERSION:
        problem = f"key file of version {document.version}; this reads {_VERSION_BEFORE} and {FILE_VERSION}"
        raise fault(path, problem, "")
    return document


def key_of(path: Path, name: str, text: str) -> bytes:
    """Return the bytes of a key in a file; raises ConfigurationError."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise fault(path, f"{name} is not {KEY_BYTES} bytes in base64", "restore it from a backup")
    return key


def fault(path: Path, problem: str, remedy: str) -> ConfigurationError:
    """Return the error for a key file."""
    return ConfigurationError("the key file cannot be used", [Fault(str(path), problem, remedy)])


def _private_content(path: Path) -> bytes:
    """Return a file's content where it is its owner's alone, the owner being us or root."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(_LARGEST_FILE)
    except FileNotFoundError:
        raise fault(path, "no such key file", f"create it with: monitor keys new {path}") from None
    except OSError as error:
        raise fault(path, f"cannot be read: {error.strerror}", "") from None
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise fault(path, f"others than its owner have access (mode {mode:04o})", f"chmod 600 {path}")
    if status.st_uid not in {0, os.geteuid()}:
        raise fault(path, f"it belongs to another user (uid {status.st_uid})", f"chown {os.geteuid()} {path}")
    return content


def _decoded(content: bytes, kind: type[T]) -> T | None:
    # None, not an error: msgspec's texts may repeat the content.
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _rebuilt(routing: bytes, epochs: tuple[Epoch, ...], sealer: tuple[str, bytes] | None) -> Keys:
    return Keys(routing, epochs, Sealer(*sealer) if sealer else None)


def _partitioner(key: bytes, axis: str, partitions: int) -> Callable[[str], int]:
    # The axis keeps equal texts of two axes apart ("42" as a tenant, "42" as a patient).
    start = hashlib.blake2b(digest_size=8, key=key, person=axis.encode()[:16])

    @lru_cache(_CACHED_PARTITIONS)
    def partition(raw_subject: str) -> int:
        digest = start.copy()
        digest.update(raw_subject.encode("utf-8", "surrogatepass"))
        return int.from_bytes(digest.digest(), "big") % partitions

    return partition
