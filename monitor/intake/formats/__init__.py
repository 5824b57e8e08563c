"""The formats that a source may have: how a gateway's record becomes events.

Each is one small file, of ours beside this module or of the site's (`formats` in monitor.yaml). An
envelope stands before a format: ``fluent-bit+nginx``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from monitor.errors import ConfigurationError, Fault
from monitor.intake.canonical import CanonicalFormat
from monitor.intake.documents import Document, read_document
from monitor.intake.formats.declared import DeclaredFormat, Decoder, Enveloped, Format, ignore
from monitor.intake.formats.specification import EnvelopeSpec, FormatSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["FORMATS", "Catalogue", "Decoder", "Format", "find_format", "ignore"]

_FOLDER: Final = Path(__file__).parent
_CANONICAL: Final = CanonicalFormat()
_TITLE: Final = "a format has faults"


class Catalogue(Mapping[str, Format]):
    """All formats by name: ours, and those of a site's files. Each is read when it is wanted."""

    def __init__(self, files: Sequence[Path] = ()) -> None:
        self._paths = {path.stem: path for path in sorted(_FOLDER.glob("*.yaml"))}
        self._ours = frozenset(self._paths) | {_CANONICAL.name}
        self._known: dict[str, Format | EnvelopeSpec] = {_CANONICAL.name: _CANONICAL}
        faults: list[Fault] = []
        for path in files:
            try:
                name = str(read_document(path).content.get("name"))
            except ConfigurationError as error:
                faults += error.faults
                continue
            if name in self._paths or name in self._known:
                faults.append(Fault(str(path), f"there is a format {name!r} already", "give it another name"))
            self._paths[name] = path
        if faults:
            raise ConfigurationError(_TITLE, faults)
        for name in self._paths:
            if name not in self._ours:
                try:
                    self._find(name)
                except ConfigurationError as error:
                    faults += error.faults
        if faults:
            raise ConfigurationError(_TITLE, faults)

    def __getitem__(self, name: str) -> Format:
        """Return a format; raises KeyError where there is none of this name."""
        *outer, inner = name.split("+")
        found = self._find(inner)
        if isinstance(found, EnvelopeSpec):
            raise KeyError(name)
        for each in reversed(outer):
            envelope = self._find(each)
            if not isinstance(envelope, EnvelopeSpec):
                raise KeyError(name)
            found = Enveloped(envelope, found)
        return found

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of formats, without envelopes."""
        return (name for name in sorted({_CANONICAL.name, *self._paths}) if not self.is_envelope(name))

    def __len__(self) -> int:
        """Return how many formats there are, without envelopes."""
        return sum(1 for _ in self)

    @property
    def envelopes(self) -> tuple[EnvelopeSpec, ...]:
        """What may stand before a format."""
        found = (self._find(name) for name in sorted(self._paths))
        return tuple(spec for spec in found if isinstance(spec, EnvelopeSpec))

    def is_envelope(self, name: str) -> bool:
        """Return whether a name is an envelope's."""
        return isinstance(self._find(name), EnvelopeSpec)

    def is_ours(self, name: str) -> bool:
        """Return whether a format came with the monitor."""
        return name in self._ours

    def _find(self, name: str) -> Format | EnvelopeSpec:
        if name not in self._known:
            self._known[name] = self._read(self._paths[name])
        return self._known[name]

    def _read(self, path: Path) -> Format | EnvelopeSpec:
        document = read_document(path)
        content = self._extended(document, (path,))
        try:
            if content.get("kind") == "envelope":
                return EnvelopeSpec.model_validate(content)
            return DeclaredFormat(FormatSpec.model_validate(content))
        except ValidationError as error:
            raise ConfigurationError(_TITLE, document.faults_of(error)) from None

    def _extended(self, document: Document, above: tuple[Path, ...]) -> dict[str, object]:
        """Return a file's content over that of the format which it extends; fields one by one."""
        content = dict(document.content)
        name = content.get("extends")
        if name is None:
            return content
        path = self._paths.get(str(name))
        if path is None or path in above:
            problem = f"no format {name!r} to extend" if path is None else "extends itself"
            raise ConfigurationError(_TITLE, [document.fault(("extends",), problem)])
        base = self._extended(read_document(path), (*above, path))
        fields, own = base.get("fields"), content.get("fields")
        merged = {**base, **content}
        if isinstance(fields, dict) and (own is None or isinstance(own, dict)):
            merged["fields"] = {**fields, **(own or {})}
        return merged


FORMATS: Final = Catalogue()


def find_format(name: str, where: str, formats: Mapping[str, Format] = FORMATS) -> Format:
    """Return a format by name; `where` is the setting that names it.

    Raises ConfigurationError with the names that exist.
    """
    try:
        return formats[name]
    except KeyError:
        pass
    remedy = f"there is: {', '.join(formats)}"
    if isinstance(formats, Catalogue):
        remedy += f"; before it may stand, with a +: {', '.join(spec.name for spec in formats.envelopes)}"
    fault = Fault(where, f"no format {name!r}", remedy)
    raise ConfigurationError("a source has an unknown format", [fault])
