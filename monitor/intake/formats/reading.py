"""A format, compiled once: a function from a JSON document to an event.

Plain paths become straight Python source, which is what keeps a decoder within a few times the cost of
reading the JSON at all (bench/formats.py); everything else is a function that the source calls. Nothing
of a format's file is ever source itself: texts of it enter as constants.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import re2

from monitor.core.events import PrincipalKind
from monitor.errors import RejectedRecordError
from monitor.intake.event import MAX_PATIENTS, MAX_TEXT, Event, clean
from monitor.intake.formats.paths import parse_path
from monitor.intake.formats.specification import WHOLE, Presence
from monitor.intake.values import (
    count_of,
    kind_of,
    quick_count,
    quick_rfc3339,
    quick_status,
    sha256,
    status_of,
    text_of,
    time_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from monitor.intake.formats.paths import Path
    from monitor.intake.formats.specification import Condition, EnvelopeSpec, FormatSpec, ValueSpec
    from monitor.intake.routes import Matcher

#: What an envelope knows of an event beside its record: (time in epoch ms, id).
Around = tuple[int | None, str | None]

NOTHING_AROUND: Final[Around] = (None, None)
_UNAUTHORIZED: Final = 401
_KINDS: Final = frozenset(kind.value for kind in PrincipalKind)
_realm = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z").match
_TEXTS: Final = ("tenant", "method", "route", "gateway")


def compile_reader(
    spec: FormatSpec,
    default_realm: str,
    match: Matcher | None,
    note_secret: Callable[[str], None],
    *,
    keep_ids: bool,
) -> Callable[[Any, Sequence[tuple[str, bytes]], Around], Event | None]:
    """Return the reader of one document: an event, or None where it is none (`only_when`).

    `match` finds a path's route template. `note_secret` is told the place of each secret that the
    gateway should not have logged. The reader raises RejectedRecordError, without repeating a value.
    """
    source = _Source(spec)
    source.put("if doc.__class__ is not dict: raise not_an_object(doc)")
    for place in spec.key_values:
        source.put(f"doc = with_key_values(doc, {source.constant(place)})")
    if spec.only_when:
        source.put(f"if not ({source.condition(spec.only_when)}): return None")
    for place, names in spec.secrets.items():
        node = source.node(() if place == WHOLE else parse_path(place).keys or ())
        wanted = source.constant(frozenset(names))
        source.put(f"if {node} is not nothing and not {node}.__self__.keys().isdisjoint({wanted}):")
        source.put(f"    secrets_in({node}.__self__, {wanted}, {source.constant(place)})")
    source.value("time", _quick_time(spec), lambda one: time_of(one.as_))
    source.put("if v is None: v = around[0]")
    source.put(f"if v is None: raise {source.missing('time')}")
    source.put("time_ms = v")
    source.value("status", "quick_status", lambda _: status_of)
    source.put(f"if v is None: raise {source.missing('status')}")
    source.put("status = v")
    for name in ("bytes", "records"):
        source.value(name, "quick_count", lambda _: count_of)
        source.put(f"{name} = v")
    for name in _TEXTS:
        source.text(name)
        source.put("if v is not None and not (v.isprintable() and len(v) <= MAX_TEXT): v = clean(v)")
        source.put(f"{name} = v")
    for name in ("object", "client_ip", "path"):
        source.text(name)
        source.put(f"{name} = v")
    if spec.fields.query is not None:
        source.text("query")
        source.put("if v is not None and path is not None and '?' not in path: path = path + '?' + v")
    if spec.fields.realm is None:
        source.put("realm = default_realm")
    else:
        source.text("realm")
        source.put("realm = default_realm if v is None else checked_realm(v)")
    if keep_ids:
        source.text("id")
        source.put("event_id = around[1] if v is None else v")
    else:
        source.put("event_id = None")
    _principal(spec, source)
    _patients(spec, source)
    if match is not None:
        source.put("found = None if path is None else match(path)")
        source.put("if found is None: category = None if route is None else match.category(route)")
        source.put("else:")
        source.put("    route = found.route; category = found.category")
        source.put("    if tenant is None: tenant = found.tenant")
        source.put("    if not patients: patients = owned(found.patients, tenant)")
        source.put("    if object is None: object = found.object")
        category = "category"
    else:
        category = "None"
    source.put(
        "return Event(time_ms, realm, status, event_id, principal, kind, object, patients, tenant, client_ip,"
        f" method, route, bytes, records, gateway, {category})"
    )

    def secrets_in(found: Mapping[str, Any], wanted: frozenset[str], place: str) -> None:
        for name in wanted.intersection(found):
            values = found[name] if found[name].__class__ is list else [found[name]]
            if any(value and value not in spec.redacted for value in values):
                note_secret(name if place == WHOLE else f"{place}.{name}")

    return source.build({"match": match, "default_realm": default_realm, "secrets_in": secrets_in})


class _Source:
    """The source of a reader as it grows."""

    def __init__(self, spec: FormatSpec) -> None:
        self._spec = spec
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
                parts.append(f"{self.constant(holds({place: wanted}))}(doc)")
                continue
            value = f"{self.node(keys[:-1])}({self.constant(keys[-1])})"
            if isinstance(wanted, Presence) and wanted.present is not None:
                parts.append(f"({value} {'not in' if wanted.present else 'in'} ABSENT)")
            elif isinstance(wanted, Presence):
                parts.append(f"not is_one({value}, {self.constant(frozenset(wanted.not_ or ()))})")
            else:
                parts.append(f"is_one({value}, {self.constant(frozenset(wanted))})")
        return " and ".join(parts)

    def value(self, field: str, quick: str, parser_of: Callable[[ValueSpec], Callable[[Any], Any]]) -> None:
        """Set `v` to the parsed value of a field, or None.

        `quick` is a function that returns None for what needs the slow parser, or is wrong.
        """

        def parse(one: ValueSpec) -> list[str]:
            slow = self.constant(parser_of(one))
            return [
                "if v.__class__ is str and v in NULLS: v = None",
                "elif v is not None:",
                f"    w = {quick}(v)" if quick and not (one.map or one.as_[1:]) else "    w = None",
                f"    v = w if w is not None else parsed({slow}, v, {field!r})",
            ]

        self._each(field, parse, getattr(self._spec.fields, field) or ())

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
            return [f"v = {value} if {self.condition(one.when)} else None" if one.when else f"v = {value}"], True
        if one.path is None:
            return [f"v = {self.constant(_single(one, field))}(doc, headers)"], True
        get = self._get(one.path)
        if one.is_plain:
            return [f"v = {get}"], True
        if one.is_first:
            return [f"v = {get}", "v = v[0] if v.__class__ is list and v else None"], True
        # A function costs more than a look whether there is anything for it.
        return [f"v = {get}", f"if v is not None: v = {self.constant(_single(one, field))}(doc, headers)"], True

    def there(self, one: ValueSpec) -> str:
        """Return the source of what is true where a way may lead to something; nothing where it is dear."""
        return "" if one.path is None else f" and {self._get(one.path)} is not None"

    def _get(self, path: Path) -> str:
        """Return the source of what stands at the keys that a path begins with."""
        keys = path.first_keys
        return f"{self.node(keys[:-1])}({self.constant(keys[-1])})"

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
            "MAX_TEXT": MAX_TEXT,
            "checked_kind": _checked_kind,
            "checked_principal": _checked_principal,
            "checked_realm": _checked_realm,
            "clean": clean,
            "refused": RejectedRecordError,
            "is_one": _is_one,
            "ABSENT": (None, ""),
            "quick_count": quick_count,
            "quick_rfc3339": quick_rfc3339,
            "quick_status": quick_status,
            "not_an_object": _not_an_object,
            "nothing": _nothing,
            "owned": owned,
            "parsed": _parsed,
            "text": _text,
            "with_key_values": _with_key_values,
            **names,
            **self._constants,
        }
        exec(compile(f"def read(doc, headers, around):\n{body}\n", "<format>", "exec"), space)  # noqa: S102
        return space["read"]


def around_reader(
    spec: EnvelopeSpec,
) -> Callable[[Any, Sequence[tuple[str, bytes]], Around], Around]:
    """Return what reads an envelope's time and id, which stand in where its record has none."""
    times = [(_single(one, "time"), time_of(one.as_)) for one in spec.time or ()]
    ids = [_single(one, "id") for one in spec.id or ()]

    def around_of(doc: Any, headers: Any, outer: Around) -> Around:
        time_ms, event_id = outer
        for find, parser in times:
            found = find(doc, headers)
            if found is not None:
                time_ms = _parsed(parser, found, "envelope time")
                break
        for find in ids:
            found = find(doc, headers)
            if found is not None:
                event_id = _text(found, "envelope id")
                break
        return time_ms, event_id

    return around_of


def _principal(spec: FormatSpec, source: _Source) -> None:
    """Write who is credited: only whom the gateway authenticated, and never on a 401."""
    rule = spec.authenticated
    if rule == "never" or spec.fields.principal is None:
        source.put("principal = kind = None")
        return
    allowed = f" and {source.condition(rule)}" if isinstance(rule, dict) else ""
    source.text("principal")
    source.put(f"if v is not None and status != {_UNAUTHORIZED}{allowed}:")
    source.put("    principal = v if v.isprintable() and len(v) <= MAX_TEXT else checked_principal(v)")
    source.put("else: principal = None")
    source.put("kind = None")
    if spec.fields.principal_kind is not None:
        source.text("principal_kind")
        source.put("if principal is not None: kind = 'api_key' if v is None else checked_kind(v)")
    else:
        source.put("if principal is not None: kind = 'api_key'")


def _patients(spec: FormatSpec, source: _Source) -> None:
    """Write whose data it is: a plain place at once, all others by a function."""
    alternatives = list(spec.fields.patients or ())
    nulls = frozenset(("", *spec.nulls))
    plain = []
    while alternatives and alternatives[0].is_plain:
        plain.append(alternatives.pop(0))
    source.text("patients", plain)
    source.put("patients = () if v is None else ((v, tenant),)")
    for one in alternatives:
        there = source.there(one)
        find = source.constant(_pairs(one, nulls))
        source.put(f"if not patients{there}: patients = {find}(doc, headers, tenant)")


def _pairs(
    one: ValueSpec, nulls: frozenset[str]
) -> Callable[[Any, Any, str | None], tuple[tuple[str, str | None], ...]]:
    """Return what finds the (patient, tenant) pairs of one way to come to them."""
    raw = _raw(one)

    def found(doc: Any, headers: Any, own: str | None) -> tuple[tuple[str, str | None], ...]:
        pairs: dict[tuple[str, str | None], None] = {}
        for value in raw(doc, headers):
            tenant = own
            if one.patient is not None:
                named = one.patient.values(value)
                theirs = one.tenant.values(value) if one.tenant is not None else []
                tenant = clean(_text(theirs[0], "patients")) or own if theirs else own
            else:
                named = [value]
            for entry in named:
                text = _text(entry, "patients")
                for part in text.split(one.split) if one.split and text else (text,):
                    patient = _refined(one, part.strip() if one.split and part else part)
                    owner = tenant
                    if one.tenant_before and patient:
                        before, mark, after = patient.partition(one.tenant_before)
                        if mark:
                            owner, patient = clean(before) or own, after
                    if patient and patient not in nulls:
                        pairs[patient, owner] = None
        return tuple(pairs)[:MAX_PATIENTS]

    return found


def _single(one: ValueSpec, field: str) -> Callable[[Any, Any], Any]:
    """Return what finds the first value of one way to come to it."""
    raw = _raw(one)
    textual = bool(one.map or one.reference or one.hash or one.hash_unless)
    unless = re2.compile(one.hash_unless) if one.hash_unless is not None else None

    def found(doc: Any, headers: Any) -> Any:
        for value in raw(doc, headers):
            if not textual:
                return value
            text = _refined(one, _text(value, field))
            if text and (one.hash is not None or (unless is not None and not unless.fullmatch(text))):
                text = sha256(text)
            if text and one.map:
                mapped = one.map.get(text, one.map.get("*"))
                return text if mapped is None and "*" not in one.map and text not in one.map else mapped
            if text:
                return text
        return None

    return found


def _refined(one: ValueSpec, text: str | None) -> str | None:
    """Return the id of a FHIR reference to the wanted type, where that is what is written."""
    if text is None or one.reference is None:
        return text
    before, _, after = text.rpartition(f"{one.reference}/")
    if not after or (before and not before.endswith("/")):
        return None
    return after.partition("/")[0].partition("?")[0].partition("#")[0] or None


def _raw(one: ValueSpec) -> Callable[[Any, Any], Sequence[Any]]:
    wanted = holds(one.when) if one.when else None
    name, path, constant = one.kafka_header, one.path, one.constant

    def values(doc: Any, headers: Any) -> Sequence[Any]:
        if wanted is not None and not wanted(doc):
            return ()
        if name is not None:
            return [value.decode("utf-8", "replace") for key, value in headers if key == name and value]
        return path.values(doc) if path is not None else (constant,)

    return values


def holds(condition: Condition) -> Callable[[Any], bool]:
    """Return what says whether all parts of a condition hold for a document."""
    parts = [(parse_path(place), wanted) for place, wanted in condition.items()]

    def all_hold(doc: Any) -> bool:
        for path, wanted in parts:
            found = {_written(value) for value in path.values(doc)}
            if isinstance(wanted, Presence):
                if wanted.present is not None:
                    if bool(found - {""}) != wanted.present:
                        return False
                elif not found.isdisjoint(wanted.not_ or ()):
                    return False
            elif found.isdisjoint(wanted):
                return False
        return True

    return all_hold


def _written(value: Any) -> str:
    """Return a scalar as JSON writes it; a list or an object is only known to be there."""
    if value.__class__ is bool:
        return "true" if value else "false"
    return str(value) if value.__class__ in (str, int, float) else "…"


def _quick_time(spec: FormatSpec) -> str:
    """Return the name of the function that reads most times of a format, or nothing."""
    written = {one.as_ for one in spec.fields.time or ()}
    return "quick_rfc3339" if written == {("rfc3339",)} else ""


def _is_one(value: Any, wanted: frozenset[str]) -> bool:
    return (value if value.__class__ is str else None if value is None else _written(value)) in wanted


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


def _parsed(parser: Callable[[Any], Any], value: Any, field: str) -> Any:
    problem = ""
    try:
        return parser(value)
    except ValueError as error:
        problem = str(error)
    reason = "bad_value" if value.__class__ in (str, int, float) else "wrong_type"
    raise RejectedRecordError(reason, f"{field}: {problem}")


def _text(value: Any, field: str) -> str | None:
    problem = ""
    try:
        return text_of(value, field)
    except ValueError as error:
        problem = str(error)
    raise RejectedRecordError("wrong_type", problem)


def _checked_principal(_: str) -> str:
    raise RejectedRecordError("bad_value", f"principal: expected 1 to {MAX_TEXT} printable characters")


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


_nothing: Final = {}.get
