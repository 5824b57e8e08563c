"""Makes and changes key files: each change leaves the old file or the new one, never a torn one."""

from __future__ import annotations

import base64
import os
import secrets
from typing import TYPE_CHECKING, Any, Final

import msgspec

from monitor.intake.handles import new_handle_key
from monitor.intake.keys import (
    FILE_VERSION,
    KEY_BYTES,
    CredentialKeyFile,
    EpochEntry,
    HandleKeyFile,
    KeyFile,
    PublicEntry,
    fault,
    load_credential_key,
    read_key_file,
)

if TYPE_CHECKING:
    from pathlib import Path

_HANDLE_FILE_VERSION: Final = 1
_FIRST_HANDLE_KEY: Final = "h1"


def write_new_keys(path: Path, handles: Path | None = None) -> None:
    """Create the key file of intake, and with `handles` the enforcer's; only their owner may read them.

    Raises ConfigurationError where one exists: a lost key cannot be had back, and all windows and
    pseudonyms hang on it.
    """
    public = None
    if handles is not None:
        private, raw = new_handle_key()
        public = PublicEntry(_FIRST_HANDLE_KEY, _text(raw))
        if path.exists():
            raise _exists(path)
        _create(handles, HandleKeyFile(_HANDLE_FILE_VERSION, {_FIRST_HANDLE_KEY: _text(private)}))
    epoch = EpochEntry("k1", _text(secrets.token_bytes(KEY_BYTES)))
    _create(path, KeyFile(FILE_VERSION, _text(secrets.token_bytes(KEY_BYTES)), [epoch], public))


def add_epoch(path: Path, begins_ms: int) -> str:
    """Add a fresh pseudonym key that intake counts by from `begins_ms` on; return its id.

    Raises ConfigurationError where that is before the newest key begins.
    """
    document = read_key_file(path)
    newest = max(document.pseudonyms, key=lambda entry: entry.begins_ms)
    if begins_ms <= newest.begins_ms:
        raise fault(path, f"key {newest.id} begins later than that", "give a later time")
    taken = {entry.id for entry in document.pseudonyms}
    number = next(n for n in range(len(taken) + 1, 10_000) if f"k{n}" not in taken)
    entry = EpochEntry(f"k{number}", _text(secrets.token_bytes(KEY_BYTES)), begins_ms)
    _replace(path, msgspec.structs.replace(document, pseudonyms=[*document.pseudonyms, entry]))
    return entry.id


def remove_epoch(path: Path, key_id: str, now_ms: int) -> None:
    """Remove an old pseudonym key: what it made can be matched to nobody any more.

    Raises ConfigurationError where it is not there, or is counted by now or later.
    """
    document = read_key_file(path)
    left = [entry for entry in document.pseudonyms if entry.id != key_id]
    if len(left) == len(document.pseudonyms):
        known = ", ".join(entry.id for entry in document.pseudonyms)
        raise fault(path, f"no pseudonym key {key_id!r}", f"there is: {known}")
    removed = next(entry for entry in document.pseudonyms if entry.id == key_id)
    if not any(removed.begins_ms < entry.begins_ms <= now_ms for entry in left):
        raise fault(path, f"key {key_id} is the one that intake counts by", "only older ones can go")
    _replace(path, msgspec.structs.replace(document, pseudonyms=left))


def add_handle_key(path: Path, handles: Path) -> str:
    """Make a fresh pair: the public key goes to intake's file, the private one is added to the enforcer's."""
    document = read_key_file(path)
    private, public = new_handle_key()
    held: dict[str, str] = {}
    if handles.exists():
        from_file = msgspec.json.decode(handles.read_bytes(), type=HandleKeyFile)
        held = dict(from_file.handles)
    name = next(f"h{n}" for n in range(len(held) + 1, 10_000) if f"h{n}" not in held)
    new = HandleKeyFile(_HANDLE_FILE_VERSION, {**held, name: _text(private)})
    (_replace if held else _create)(handles, new)
    _replace(path, msgspec.structs.replace(document, handles=PublicEntry(name, _text(public))))
    return name


def write_credential_key(path: Path, part: Path) -> None:
    """Write the part of a key file that the decision service needs; raises ConfigurationError."""
    _create(part, CredentialKeyFile(FILE_VERSION, _text(load_credential_key(path))))


def _create(path: Path, document: Any) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise fault(path, f"cannot be created: {error.strerror}", "") from None
    _write(handle, document)


def _replace(path: Path, document: Any) -> None:
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        _write(handle, document)
        new.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise fault(path, f"cannot be changed: {error.strerror}", "") from None


def _write(handle: int, document: Any) -> None:
    with os.fdopen(handle, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _exists(path: Path) -> Exception:
    return fault(path, "the file exists and is not overwritten", "choose another path, or keep using it")


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()
