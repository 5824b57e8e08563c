"""Builds the source of a reader: plain paths become straight Python, all else calls.

Nothing of a format's file is ever source itself: texts of it enter as constants.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from monitor.core.events import PrincipalKind
from monitor.errors import RejectedRecordError
from monitor.intake.event import MAX_TEXT, Event, clean
from monitor.intake.formats.paths import parse_path
from monitor.intake.formats.remembered import Remembered
from monitor.intake.formats.specification import Presence
from monitor.intake.formats.ways import as_text, holds, parsed, value_of, written
from monitor.intake.values import (
    kind_of,
    quick_count,
    quick_epoch_ms,
    quick_epoch_s,
    quick_rfc3339,
    quick_status,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from monitor.intake.formats.flat import Flat
    from monitor.intake.formats.paths import Path
    from monitor.intake.formats.specification import Condition, FormatSpec, ValueSpec

#: How a time is written → the function that reads most of them.
QUICK_TIMES: Final = {"rfc3339": "quick_rfc3339", "epoch_ms": "quick_epoch_ms", "epoch_s": "quick_epoch_s"}
_KINDS: Final = frozenset(kind.value for kind in PrincipalKind)
_realm = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z").match


class Source:
    """The source of a reader as it grows."""

    def __init__(
        self, spec: FormatSpec, note_secret: Callable[[str], None], flat: Flat | None = None
    ) -> None:
        self._spec = spec
        self._note_secret = note_secret
        self._flat = flat
        self._lines: list[str] = []
        self._constants: dict[str, Any] = {"NULLS": frozenset(("", *spec.nulls))}
        self._nodes: dict[tuple[str, ...], str] = {}

    def put(self, line: str) -> None:
        """Add a line to the function."""
        self._lines.append(line)

    def constant(self, value: Any) -> str:
        """Return the name by which the source refers to a value."""
        name = f"c{len(self._constants)}"
        self._constants[name] = value
        return name

    def node(self, keys: tuple[str, ...]) -> str:
        """Return the name of the `get` of the object at some keys; `nothing` where there is none."""
        if keys not in self._nodes:
            outer = self.node(keys[:-1]) if keys else ""
            name = f"n{len(self._nodes)}"
            if keys:
                self.put(f"{name} = {outer}({self.constant(keys[-1])})")
                self.put(f"{name} = {name}.get if {name}.__class__ is dict else nothing")
            else:
                self.put(f"{name} = doc.get")
            self._nodes[keys] = name
        return self._nodes[keys]

    def condition(self, condition: Condition) -> str:
        """Return the source of what is true where a condition holds."""
        parts = []
        for place, wanted in condition.items():
            keys = parse_path(place).keys
            if keys is None:
                parts.append(f"{self.constant(holds({place: wanted}))}({self.document})")
                continue
            value = self._at(keys)
            if isinstance(wanted, Presence) and wanted.present is not None:
                parts.append(f"({value} {'not in' if wanted.present else 'in'} ABSENT)")
            elif isinstance(wanted, Presence):
                one = f"(w if (w := {value}).__class__ is str else is_text(w))"
                parts.append(f"{one} not in {self.constant(frozenset(wanted.not_ or ()))}")
            else:
                one = f"(w if (w := {value}).__class__ is str else is_text(w))"
                parts.append(f"{one} in {self.constant(frozenset(wanted))}")
        return " and ".join(parts)

    def value(self, field: str, quick: str, parser_of: Callable[[ValueSpec], Callable[[Any], Any]]) -> None:
        """Set `v` to the parsed value of a field, or None.

        `quick` is a function that returns None for what needs the slow parser, or is wrong; of a time
        it depends on how that is written.
        """

        def parse(one: ValueSpec) -> list[str]:
            slow = self.constant(parser_of(one))
            fast = quick or next((QUICK_TIMES[name] for name in one.as_ if name in QUICK_TIMES), "")
            return [
                "if v.__class__ is str and v in NULLS: v = None",
                "elif v is not None:",
                f"    w = {fast}(v)" if fast and not one.map else "    w = None",
                f"    v = w if w is not None else parsed({slow}, v, {field!r})",
            ]

        self._each(field, parse, getattr(self._spec.fields, field) or ())

    def tidy_text(self, field: str) -> None:
        """Set `v` to the text of a field that is safe to show, or None; such texts recur."""
        tidy = self.constant(
            Remembered(lambda text: None if text in self._constants["NULLS"] else clean(text))
        )
        parse = [
            f"if v.__class__ is str: v = {tidy}[v]",
            f"elif v is not None: v = clean(text(v, {field!r}))",
        ]
        self._each(field, lambda _: parse, getattr(self._spec.fields, field) or ())

    def text(self, field: str, alternatives: Sequence[ValueSpec] | None = None) -> None:
        """Set `v` to the text of a field, or None."""
        parse = [
            "if v.__class__ is str:",
            "    if v in NULLS: v = None",
            f"elif v is not None: v = text(v, {field!r})",
        ]
        if alternatives is None:
            alternatives = getattr(self._spec.fields, field) or ()
        self._each(field, lambda _: parse, alternatives)

    def _each(
        self, field: str, parse: Callable[[ValueSpec], list[str]], alternatives: Sequence[ValueSpec]
    ) -> None:
        if not alternatives:
            self.put("v = None")
        found = [(one, self._way(one, field)) for one in alternatives]
        for number, (one, (lines, needs_more)) in enumerate(found):
            if number:
                self.put("if v is None:")
            indent = "    " if number else ""
            for line in lines:
                self.put(indent + line)
            if needs_more:
                for line in parse(one):
                    self.put(indent + line)

    def _way(self, one: ValueSpec, field: str) -> tuple[list[str], bool]:
        """Return the source that sets `v` in one way, and whether it needs to be parsed.

        Nodes that it uses are written before, outside of any branch.
        """
        if one.constant is not None:
            value = self.constant(one.constant)
            return [
                f"v = {value} if {self.condition(one.when)} else None" if one.when else f"v = {value}"
            ], True
        if one.path is None:
            return [f"v = {self.constant(self._function(one, field))}({self.document}, headers)"], True
        get = self._get(one.path)
        if one.is_plain:
            return [f"v = {get}"], True
        if one.is_first:
            return [f"v = {get}", "v = v[0] if v.__class__ is list and v else None"], True
        # A function costs more than a look whether there is anything for it.
        return [
            f"v = {get}",
            f"if v is not None: v = {self.constant(self._function(one, field))}({self.document}, headers)",
        ], True

    def _function(self, one: ValueSpec, field: str) -> Callable[[Any, Any], Any]:
        return value_of(one, field, self._constants["NULLS"], self._note_secret)

    def there(self, one: ValueSpec) -> str:
        """Return the source of what is true where a way may lead to something; nothing where it is dear."""
        return (
            ""
            if one.path is None
            else f" and (w := {self._get(one.path)}) is not None and not (w.__class__ is str and w in NULLS)"
        )

    def _get(self, path: Path) -> str:
        """Return the source of what stands at the keys that a path begins with."""
        return self._at(path.first_keys)

    def _at(self, keys: tuple[str, ...]) -> str:
        if self._flat is not None:
            return f"doc.{self._flat.slots[keys[0]]}"
        return f"{self.node(keys[:-1])}({self.constant(keys[-1])})"

    @property
    def document(self) -> str:
        """Return the source of the document that functions read."""
        return "doc" if self._flat is None else "as_document(doc)"

    def missing(self, field: str) -> str:
        """Return the source that makes the error of a field that is not there."""
        places = [one.path.text for one in getattr(self._spec.fields, field) or () if one.path is not None]
        detail = f"{field}: required" + (f", at {' or '.join(places)}" if places else "")
        return f"refused('missing', {detail!r})"

    def build(self, names: dict[str, Any]) -> Any:
        """Return the function."""
        body = "\n".join("    " + line for line in self._lines)
        space: dict[str, Any] = {
            "Event": Event,
            "KINDS": _KINDS,
            "checked_kind": _checked_kind,
            "principals": Remembered(_checked_principal),
            "checked_realm": _checked_realm,
            "as_document": None if self._flat is None else self._flat.document,
            "clean": clean,
            "refused": RejectedRecordError,
            "is_text": _is_text,
            "ABSENT": (None, ""),
            "quick_count": quick_count,
            "quick_epoch_ms": quick_epoch_ms,
            "quick_epoch_s": quick_epoch_s,
            "quick_rfc3339": quick_rfc3339,
            "quick_status": quick_status,
            "not_an_object": _not_an_object,
            "nothing": _nothing,
            "owned": owned,
            "parsed": parsed,
            "text": as_text,
            "with_key_values": _with_key_values,
            **names,
            **self._constants,
        }
        exec(compile(f"def read(doc, headers, around):\n{body}\n", "<format>", "exec"), space)  # noqa: S102
        return space["read"]


def _is_text(value: Any) -> str | None:
    return None if value is None else written(value)


def _with_key_values(doc: dict[str, Any], place: str) -> dict[str, Any]:
    """Return a document with OTLP's list of attributes as an object, values without their types."""
    listed = doc.get(place)
    if listed.__class__ is not list:
        return doc
    flat: dict[str, Any] = {}
    for entry in listed:
        if entry.__class__ is dict and entry.get("key").__class__ is str:
            flat[entry["key"]] = _any_value(entry.get("value"))
    return {**doc, place: flat}


def _any_value(value: Any) -> Any:
    if value.__class__ is not dict:
        return value
    for kind, inner in value.items():
        if kind == "arrayValue":
            values = inner.get("values") if inner.__class__ is dict else None
            return [_any_value(item) for item in values] if values.__class__ is list else None
        if kind in ("stringValue", "intValue", "boolValue", "doubleValue"):
            return inner
    return None


def _checked_principal(value: str) -> str:
    if value.isprintable() and len(value) <= MAX_TEXT:
        return value
    raise RejectedRecordError("bad_value", f"principal: expected 1 to {MAX_TEXT} printable characters")


@lru_cache(1024)
def _checked_realm(value: str) -> str:
    if _realm(value):
        return value
    raise RejectedRecordError(
        "bad_value", "realm: expected 1 to 64 letters, digits, dots, dashes or underscores"
    )


def _checked_kind(value: str) -> str:
    if value in _KINDS:
        return value
    raise RejectedRecordError("bad_value", f"principal_kind: expected one of {', '.join(sorted(_KINDS))}")


def owned(
    patients: tuple[tuple[str, str | None], ...], tenant: str | None
) -> tuple[tuple[str, str | None], ...]:
    """Return patients that a path names, with the event's tenant where the path names none."""
    if tenant is None or not patients:
        return patients
    return tuple([(patient, own or tenant) for patient, own in patients])


def _not_an_object(doc: Any) -> RejectedRecordError:
    return RejectedRecordError("wrong_type", f"record: expected an object, got {kind_of(doc)}")


_nothing: Final[Any] = dict[str, Any]().get
