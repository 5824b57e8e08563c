"""The credential directory: whose each credential is, which class it is of, and whether it is protected."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from monitor.core.events import credential_subject
from monitor.errors import ConfigurationError
from monitor.rulebook.documents import parse, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from monitor.errors import Fault
    from monitor.rulebook.documents import Document

_REQUIRED: Final = ("realm", "id", "class")
_TEXTS: Final = ("owner", "name", "phone")
_OPTIONAL: Final = (*_TEXTS, "protected", "tenants")
_EXAMPLE: Final = "{realm: gateway, id: sync-1, class: bulk-sync, owner: Integration team, phone: …}"
_is_class = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?\Z").match
_is_realm = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z").match


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryEntry:
    """What is known of one credential; `tenants` are the practices that it serves."""

    realm: str
    id: str
    of_class: str
    owner: str = ""
    name: str = ""
    phone: str = ""
    protected: bool = False
    tenants: tuple[str, ...] = ()

    def __repr__(self) -> str:
        # Names and telephone numbers of people are for those who ask.
        return f"DirectoryEntry({self.of_class})"


@dataclass(frozen=True, slots=True)
class Directory:
    """All entries, by `credential_subject`."""

    entries: Mapping[str, DirectoryEntry] = field(default_factory=dict)

    @property
    def classes(self) -> Mapping[str, str]:
        """The class of each credential."""
        return {subject: entry.of_class for subject, entry in self.entries.items()}


def read_directory(path: Path | None) -> Directory:
    """Return the directory of a file, an empty one without; raises ConfigurationError with all faults."""
    faults: list[Fault] = []
    directory = Directory() if path is None else load_directory(path, faults)
    if faults:
        raise ConfigurationError("the credential directory cannot be used", faults)
    return directory


def load_directory(path: Path, faults: list[Fault]) -> Directory:
    """Return the directory of a file.

    What is wrong is added to `faults`, each with file, line and place.
    """
    name = path.name
    text = read_text(name, path, faults)
    documents = parse(name, text, faults) if text is not None else []
    entries: dict[str, DirectoryEntry] = {}
    for document in documents:
        listed = document.value.get("credentials")
        if set(document.value) != {"credentials"} or not isinstance(listed, list):
            remedy = f"credentials: [{_EXAMPLE}]"
            faults.append(document.fault((), "expected one key, credentials, with a list", remedy))
            continue
        for index, entry in enumerate(listed):
            _read(document, index, entry, entries, faults)
    return Directory(entries)


def _read(
    document: Document, index: int, entry: Any, entries: dict[str, DirectoryEntry], faults: list[Fault]
) -> None:
    here = ("credentials", index)
    if not isinstance(entry, dict):
        faults.append(document.fault(here, "expected a mapping", _EXAMPLE))
        return
    found = [
        document.fault((*here, key), problem, remedy)
        for key in dict.fromkeys((*_REQUIRED, *map(str, entry)))
        for problem, remedy in _problems(key, entry)
    ]
    faults += found
    if found:
        return
    subject = credential_subject(entry["realm"], entry["id"])
    if subject in entries:
        faults.append(document.fault((*here, "id"), "this credential stands there twice"))
    entries.setdefault(
        subject,
        DirectoryEntry(
            realm=entry["realm"],
            id=entry["id"],
            of_class=entry["class"],
            protected=entry.get("protected", False),
            tenants=tuple(entry.get("tenants", ())),
            **{key: entry[key] for key in _TEXTS if key in entry},
        ),
    )


def _problems(key: str, entry: dict[str, Any]) -> Iterator[tuple[str, str]]:
    value = entry.get(key)
    if key not in (*_REQUIRED, *_OPTIONAL):
        yield f"{key!r} is not a key", f"keys are: {', '.join((*_REQUIRED, *_OPTIONAL))}"
    elif key not in entry:
        yield "missing", _EXAMPLE
    elif key == "protected":
        if not isinstance(value, bool):
            yield "expected true or false", ""
    elif key == "tenants":
        if not isinstance(value, list) or not all(isinstance(tenant, str) and tenant for tenant in value):
            yield "expected a list of texts", "tenants: [practice-1, practice-2]"
    elif not isinstance(value, str) or not value:
        yield "expected a text", "put it in quotes"
    elif key == "realm" and not _is_realm(value):
        yield "expected 1 to 64 letters, digits, dots, dashes or underscores", ""
    elif key == "class" and not _is_class(value):
        yield "expected small letters, digits and dashes", "such as bulk-sync"
