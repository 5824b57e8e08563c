"""Who may sign, and what each may do: OpenSSH's `allowed_signers`, and a file of rights beside it.

One key is one person: approval by two people means two keys, so no key stands under two names, no name
is a pattern, and certificates are not taken. A person may have several keys.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, get_args

import yaml

from monitor.errors import ConfigurationError, Fault
from monitor.wire.acts import Right
from monitor.wire.statements import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from monitor.settings import OperatorSettings

_TITLE: Final = "the operators are not to be read"
_RIGHTS: Final = get_args(Right)
_EXAMPLE: Final = "anna@clinic.example ssh-ed25519 AAAA…"
_RIGHTS_EXAMPLE: Final = "anna@clinic.example: [read, respond]"
_is_principal = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}\Z").match
_is_key_type = re.compile(r"(ssh-|ecdsa-|sk-ssh-|sk-ecdsa-)[A-Za-z0-9@.-]+\Z").match
#: A field of a line: quoted parts may hold spaces.
_FIELD: Final = re.compile(r'(?:[^\s"]|"[^"]*")+')
_OPTION: Final = re.compile(r'([A-Za-z-]+)(?:="([^"]*)")?(?:,|\Z)')


@dataclass(frozen=True, slots=True)
class People:
    """Who may do what, and the text of `allowed_signers` that was read to know it."""

    rights: Mapping[str, frozenset[Right]]
    allowed_signers: bytes

    def may(self, person: str, right: Right) -> bool:
        """Return whether a person has a right; who may do anything may read."""
        rights = self.rights.get(person, frozenset())
        return right in rights or (right == "read" and bool(rights))


class PeopleFiles:
    """The two files, read again whenever one of them has changed."""

    def __init__(self, allowed_signers: Path, rights: Path) -> None:
        self._paths = (allowed_signers, rights)
        self._texts: tuple[bytes, bytes] | None = None
        self._people: People | None = None

    @classmethod
    def of(cls, settings: OperatorSettings) -> PeopleFiles | None:
        """Return the files that settings name, or None where they name none."""
        if settings.allowed_signers_file is None or settings.rights_file is None:
            return None
        return cls(settings.allowed_signers_file, settings.rights_file)

    def read(self) -> People:
        """Return the people of today.

        Raises ConfigurationError with all faults: then nobody may do anything until they are mended,
        since the one who was to lose a right may be the one who still has it.
        """
        faults: list[Fault] = []
        texts = tuple(_content(path, faults) for path in self._paths)
        if faults:
            raise ConfigurationError(_TITLE, faults)
        if self._people is None or texts != self._texts:
            self._people = None
            self._people = read_people(texts[0], texts[1], self._paths[0].name, self._paths[1].name)
            self._texts = (texts[0], texts[1])
        return self._people


def read_people(signers: bytes, rights: bytes, signers_name: str, rights_name: str) -> People:
    """Return the people of two texts; raises ConfigurationError with all faults."""
    faults: list[Fault] = []
    keys: dict[str, str] = {}
    with_key: dict[str, int] = {}
    for number, line in enumerate(signers.decode("utf-8", "replace").splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            where = f"{signers_name}:{number}"
            found = list(_line_faults(where, line, keys))
            faults += found
            if not found:
                with_key.setdefault(_FIELD.findall(line)[0].strip('"'), number)
    may = _rights_of(rights, rights_name, faults)
    faults += [
        Fault(
            f"{signers_name}:{number}",
            f"{name} has a key but no rights",
            f"add to {rights_name}: {name}: [read]",
        )
        for name, number in with_key.items()
        if name not in may
    ]
    faults += [
        Fault(f"{rights_name} {name}", f"has rights but no key in {signers_name}", f"add a line: {_EXAMPLE}")
        for name in may
        if name not in with_key
    ]
    if not with_key and not faults:
        faults.append(Fault(signers_name, "names nobody", f"add a line: {_EXAMPLE}"))
    if faults:
        raise ConfigurationError(_TITLE, faults)
    return People(may, signers)


def _content(path: Path, faults: list[Fault]) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        faults.append(Fault(str(path), f"cannot be read ({error.strerror})"))
        return b""


def _line_faults(where: str, line: str, keys: dict[str, str]) -> Iterator[Fault]:
    fields = _FIELD.findall(line)
    name = fields[0].strip('"')
    if not _is_principal(name):
        remedy = "one name a line, without * ? ! or commas: one key is one person"
        yield Fault(where, "expected the name of one person", remedy)
    options = ""
    rest = fields[1:]
    if rest and not _is_key_type(rest[0]):
        options, rest = rest[0], rest[1:]
    yield from _option_faults(where, options)
    if len(rest) < 2 or not _is_key_type(rest[0]) or not _is_key(rest[0], rest[1]):  # noqa: PLR2004 - type and key
        yield Fault(where, "expected a public key after the name", _EXAMPLE)
    elif keys.setdefault(rest[1], name) != name:
        yield Fault(where, f"the same key stands under {keys[rest[1]]}", "one key is one person")


def _option_faults(where: str, options: str) -> Iterator[Fault]:
    rest = options
    while rest:
        found = _OPTION.match(rest)
        if found is None:
            yield Fault(where, "its options cannot be read", 'such as namespaces="access-monitor-operator"')
            return
        name, value, rest = found[1].lower(), found[2], rest[found.end() :]
        if name == "cert-authority":
            yield Fault(where, "certificates are not taken", "list each person's own key")
        elif name not in {"namespaces", "valid-after", "valid-before"}:
            yield Fault(
                where, f"there is no option {name}", "what a person may do stands in the file of rights"
            )
        elif name == "namespaces" and NAMESPACE not in (value or "").split(","):
            yield Fault(where, "its namespaces leave out ours", f'namespaces="{NAMESPACE}"')


def _is_key(kind: str, text: str) -> bool:
    """Return whether a text is a key of a kind: its bytes begin with the kind's name and length."""
    try:
        blob = base64.b64decode(text, validate=True)
    except binascii.Error:
        return False
    return blob.startswith(len(kind).to_bytes(4, "big") + kind.encode()) and len(blob) > len(kind) + 8


def _rights_of(text: bytes, name: str, faults: list[Fault]) -> dict[str, frozenset[Right]]:
    try:
        plain: Any = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError):
        faults.append(Fault(name, "not YAML", _RIGHTS_EXAMPLE))
        return {}
    if not isinstance(plain, dict):
        faults.append(Fault(name, "expected each person's rights", _RIGHTS_EXAMPLE))
        return {}
    rights: dict[str, frozenset[Right]] = {}
    for person, given in plain.items():
        if isinstance(given, list) and given and all(right in _RIGHTS for right in given):
            rights[str(person)] = frozenset(given)
        else:
            rights[str(person)] = frozenset()
            problem = f"expected a list of rights: {', '.join(_RIGHTS)}"
            faults.append(Fault(f"{name} {person}", problem, _RIGHTS_EXAMPLE))
    return rights
