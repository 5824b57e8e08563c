"""The credential directory: who has which credential, and which class it is of."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from monitor.core.events import credential_subject
from monitor.rulebook.documents import parse, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from monitor.errors import Fault
    from monitor.rulebook.documents import Document

_REQUIRED: Final = ("realm", "id", "class")
_OPTIONAL: Final = ("owner", "name", "phone")
_EXAMPLE: Final = "{realm: gateway, id: sync-1, class: bulk-sync, owner: Integration team, phone: …}"
_is_class = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?\Z").match
_is_realm = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z").match


def load_classes(path: Path, faults: list[Fault]) -> Mapping[str, str]:
    """Return the class of each credential of a directory, by `credential_subject`.

    What is wrong is added to `faults`, each with file, line and place.
    """
    name = path.name
    text = read_text(name, path, faults)
    documents = parse(name, text, faults) if text is not None else []
    classes: dict[str, str] = {}
    for document in documents:
        entries = document.value.get("credentials")
        if set(document.value) != {"credentials"} or not isinstance(entries, list):
            remedy = f"credentials: [{_EXAMPLE}]"
            faults.append(document.fault((), "expected one key, credentials, with a list", remedy))
            continue
        for index, entry in enumerate(entries):
            _read(document, index, entry, classes, faults)
    return classes


def _read(document: Document, index: int, entry: Any, classes: dict[str, str], faults: list[Fault]) -> None:
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
    if subject in classes:
        faults.append(document.fault((*here, "id"), "this credential stands there twice"))
    classes.setdefault(subject, entry["class"])


def _problems(key: str, entry: dict[str, Any]) -> Iterator[tuple[str, str]]:
    value = entry.get(key)
    if key not in (*_REQUIRED, *_OPTIONAL):
        yield f"{key!r} is not a key", f"keys are: {', '.join((*_REQUIRED, *_OPTIONAL))}"
    elif key not in entry:
        yield "missing", _EXAMPLE
    elif not isinstance(value, str) or not value:
        yield "expected a text", "put it in quotes"
    elif key == "realm" and not _is_realm(value):
        yield "expected 1 to 64 letters, digits, dots, dashes or underscores", ""
    elif key == "class" and not _is_class(value):
        yield "expected small letters, digits and dashes", "such as bulk-sync"
