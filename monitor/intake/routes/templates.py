"""Route templates as files write them: read strictly, all faults at once (docs/formats/routes.md).

``/fhir/Patient/{patient}/$everything`` and ``/fhir/Observation?patient={patient}&subject=Patient/{patient}``.
The path decides which template it is; the parameters of a query only name patients, tenants and
records, and may be absent.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from monitor.errors import ConfigurationError, Fault
from monitor.intake.documents import read_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


#: A path that begins so names a file of routes that comes with the monitor.
PACK_PREFIX: Final = "pack:"
_PACKS: Final = Path(__file__).parent
#: What a placeholder of such a name is read as; any other name only stands for something.
READ: Final = ("patient", "tenant", "object")
MAX_SEGMENTS: Final = 32
_MAX_TEMPLATES: Final = 5_000
#: How specific a segment is.
_LITERAL, _PLACEHOLDER, _REST = 2, 1, 0
_CATEGORY: Final = r"^[a-z][a-z0-9_]{0,63}$"
_TITLE: Final = "the routes have faults"
_placeholder = re.compile(r"\{([a-z][a-z0-9_]*)(\*?)\}\Z")
_in_value = re.compile(r"([^{}]*)\{([a-z][a-z0-9_]*)\}([^{}]*)\Z")
_each = re.compile(r"<([a-z][a-z0-9_]*)>")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Route(_Part):
    template: str = Field(min_length=1, max_length=2000)
    name: str | None = Field(None, min_length=1, max_length=500)
    category: str | None = Field(None, pattern=_CATEGORY)
    each: dict[str, Annotated[list[str], Field(min_length=1)]] = {}


class _File(_Part):
    prefix: str = Field("", pattern=r"^(/[^/?#{}]+)*$")
    include: list[str] = []
    ignore_case: bool = False
    separator: str | None = Field(None, min_length=1, max_length=1)
    category: str | None = Field(None, pattern=_CATEGORY)  # of routes that name none
    routes: list[_Route] = []


@dataclass(frozen=True, slots=True)
class Parameter:
    """One way in which a parameter of a query names something: text before it, and after it."""

    name: str
    before: str
    kind: str
    after: str


@dataclass(frozen=True, slots=True)
class Template:
    """One template: literal segments, None where anything may stand.

    `captures` are (number of the segment from 0, what is read there). With `rest` one or more
    segments follow.
    """

    route: str
    category: str | None
    segments: tuple[str | None, ...]
    rest: bool
    captures: tuple[tuple[int, str], ...]
    parameters: tuple[Parameter, ...]
    separator: str | None
    ignore_case: bool
    where: str


def read_routes(paths: Sequence[Path | str]) -> tuple[Template, ...]:
    """Return the templates of all files, and of those that they include.

    Raises ConfigurationError with every fault, also where two templates could mean the same path and
    none of them is the more specific one.
    """
    faults: list[Fault] = []
    templates: list[Template] = []
    for path in paths:
        templates += _read(path, "", faults, ())
    if len(templates) > _MAX_TEMPLATES:
        faults.append(Fault("routes", f"more than {_MAX_TEMPLATES} templates"))
    if not faults:
        faults = list(_overlaps(templates))
    if faults:
        raise ConfigurationError(_TITLE, faults)
    return tuple(templates)


def _read(path: Path | str, prefix: str, faults: list[Fault], above: tuple[str, ...]) -> Iterator[Template]:
    label = str(path)
    try:
        path = _found(path)
        document = read_document(path, label if label.startswith(PACK_PREFIX) else None)
    except ConfigurationError as error:
        faults += error.faults
        return
    try:
        file = _File.model_validate(document.content)
    except ValidationError as error:
        faults += document.faults_of(error)
        return
    if str(path) in above:
        faults.append(Fault(label, "includes itself"))
        return
    prefix += file.prefix
    for included in file.include:
        inner = included if included.startswith(PACK_PREFIX) else path.parent / included
        yield from _read(inner, prefix, faults, (*above, str(path)))
    if not file.routes and not file.include:
        faults.append(document.fault((), "holds no routes"))
    for number, route in enumerate(file.routes):
        where = document.fault(("routes", number, "template"), "").where
        for values in _expansions(route):
            try:
                yield _template(file, route, values, prefix, where.removesuffix(": "))
            except ValueError as error:
                faults.append(Fault(where, str(error)))
                break


def _found(path: Path | str) -> Path:
    """Return the file of a path or of a pack; raises ConfigurationError where there is no such pack."""
    label = str(path)
    if not label.startswith(PACK_PREFIX):
        return Path(path)
    pack = _PACKS / f"{label.removeprefix(PACK_PREFIX)}.yaml"
    if pack.parent != _PACKS or not pack.is_file():
        packs = ", ".join(f"{PACK_PREFIX}{one.stem}" for one in sorted(_PACKS.glob("*.yaml")))
        raise ConfigurationError(_TITLE, [Fault(label, "no such pack of routes", f"there is: {packs}")])
    return pack


def _expansions(route: _Route) -> Iterator[dict[str, str]]:
    names = list(route.each)
    for values in itertools.product(*route.each.values()):
        yield dict(zip(names, values, strict=True))


def _template(file: _File, route: _Route, values: dict[str, str], prefix: str, where: str) -> Template:
    def filled(text: str) -> str:
        return _each.sub(lambda found: values.get(found[1], found[0]), text)

    unknown = [name for name in _each.findall(route.template) if name not in values]
    if unknown:
        raise ValueError(f"<{unknown[0]}> is not a name of each")
    path, _, query = filled(route.template).partition("?")
    if not path.startswith("/"):
        raise ValueError("a template begins with a slash")
    path = (prefix + path).rstrip("/") or "/"
    segments, captures, rest = _segments(path)
    if file.ignore_case:
        segments = [None if text is None else text.lower() for text in segments]
    return Template(
        filled(route.name) if route.name else path,
        route.category or file.category,
        tuple(segments),
        rest,
        tuple(captures),
        tuple(_parameters(query)),
        file.separator,
        file.ignore_case,
        where,
    )


def _segments(path: str) -> tuple[list[str | None], list[tuple[int, str]], bool]:
    """Return the segments of a path, what is read where, and whether more may follow."""
    segments: list[str | None] = []
    captures: list[tuple[int, str]] = []
    texts = path.split("/")[1:] if path != "/" else []
    for number, text in enumerate(texts, 1):
        found = _placeholder.match(text)
        if found is None:
            if "{" in text or "}" in text or not text:
                raise ValueError(f"{text!r}: a segment is a text or one {{placeholder}}, not empty")
            segments.append(text)
        elif found[2]:
            if number < len(texts) or found[1] in READ:
                raise ValueError(
                    f"{text}: stands at the end, and several segments are no {' or '.join(READ)}"
                )
            return segments, captures, True
        else:
            if found[1] in READ:
                captures.append((len(segments), found[1]))
            segments.append(None)
    if len(segments) > MAX_SEGMENTS:
        raise ValueError(f"more than {MAX_SEGMENTS} segments")
    read = [kind for _, kind in captures]
    if read.count("tenant") > 1 or read.count("object") > 1:
        raise ValueError("{tenant} and {object} can stand once each")
    return segments, captures, False


def _parameters(query: str) -> Iterator[Parameter]:
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        found = _in_value.match(value)
        if not name or not equals or found is None or found[2] not in READ:
            raise ValueError(
                f"{part!r}: expected a parameter such as patient={{patient}} or subject=Patient/{{patient}}"
            )
        yield Parameter(name, found[1], found[2], found[3])


def _overlaps(templates: Sequence[Template]) -> Iterator[Fault]:
    """Yield a fault for two templates that a path may match of which none is more specific."""
    for number, template in enumerate(templates):
        for other in templates[:number]:
            relation = _relation(template, other)
            if relation:
                yield Fault(
                    template.where,
                    f"{template.route} {relation} {other.route} of {other.where.partition(' ')[0]}",
                    "parameters of a query do not tell them apart: give one template all of them",
                )


def _relation(left: Template, right: Template) -> str:
    """Return how two templates collide; nothing where no path is both, or one is more specific."""
    length = max(len(left.segments) + left.rest, len(right.segments) + right.rest)
    one, two = _stretched(left, length), _stretched(right, length)
    if one is None or two is None:
        return ""
    left_wins = right_wins = False
    for (mine, my_rank), (theirs, their_rank) in zip(one, two, strict=True):
        if mine is not None and theirs is not None and mine != theirs:
            return ""
        left_wins |= my_rank > their_rank
        right_wins |= their_rank > my_rank
    if left_wins and right_wins:
        return "overlaps with"
    return "" if left_wins or right_wins else "is the same path as"


def _stretched(template: Template, length: int) -> list[tuple[str | None, int]] | None:
    """Return (text, how specific) of so many segments; None where the template never has so many."""
    missing = length - len(template.segments)
    if missing and not template.rest:
        return None
    own = [(text, _PLACEHOLDER if text is None else _LITERAL) for text in template.segments]
    return [*own, *([(None, _REST)] * missing)]
