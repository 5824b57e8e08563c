"""The ways of a format to come to a value that are more than a path of keys, each as a function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import re2

from monitor.errors import RejectedRecordError
from monitor.intake.event import MAX_PATIENTS, clean
from monitor.intake.formats.paths import parse_path
from monitor.intake.formats.specification import Presence
from monitor.intake.values import sha256, text_of, time_of

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from monitor.intake.formats.specification import Condition, EnvelopeSpec, ValueSpec

#: What an envelope knows of an event beside its record: (time in epoch ms, id).
Around = tuple[int | None, str | None]
Pairs = tuple[tuple[str, str | None], ...]


def around_reader(
    spec: EnvelopeSpec,
) -> Callable[[Any, Sequence[tuple[str, bytes]], Around], Around]:
    """Return what reads an envelope's time and id, which stand in where its record has none."""
    times = [(value_of(one, "time"), time_of(one.as_)) for one in spec.time or ()]
    ids = [value_of(one, "id") for one in spec.id or ()]

    def around_of(doc: Any, headers: Any, outer: Around) -> Around:
        time_ms, event_id = outer
        for find, parser in times:
            found = find(doc, headers)
            if found is not None:
                time_ms = parsed(parser, found, "envelope time")
                break
        for find in ids:
            found = find(doc, headers)
            if found is not None:
                event_id = as_text(found, "envelope id")
                break
        return time_ms, event_id

    return around_of


def pairs_of(
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
                tenant = clean(as_text(theirs[0], "patients")) or own if theirs else own
            else:
                named = [value]
            for entry in named:
                text = as_text(entry, "patients")
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


def value_of(
    one: ValueSpec,
    field: str,
    nulls: Container[str] = ("",),
    note_secret: Callable[[str], None] | None = None,
) -> Callable[[Any, Any], Any]:
    """Return what finds the first value of one way to come to it.

    A secret that is hashed to what stands for it is noted.
    """
    raw = _raw(one)
    textual = bool(one.map or one.reference or one.hash or one.hash_unless)
    unless = re2.compile(one.hash_unless) if one.hash_unless is not None else None

    def found(doc: Any, headers: Any) -> Any:
        for value in raw(doc, headers):
            if not textual:
                return value
            text = _refined(one, as_text(value, field))
            if not text or text in nulls:
                continue
            if one.hash is not None or (unless is not None and not unless.fullmatch(text)):
                if note_secret is not None:
                    note_secret(one.path.text if one.path else field)
                text = sha256(text)
            return _mapped(one, text, field) if one.map else text
        return None

    return found


def _mapped(one: ValueSpec, text: str, field: str) -> str | int | None:
    if text in one.map:
        return one.map[text]
    if "*" in one.map:
        return one.map["*"]
    raise RejectedRecordError("bad_value", f"{field}: a value that the format's map does not name")


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
            found = {written(value) for value in path.values(doc)}
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


def written(value: Any) -> str:
    """Return a scalar as JSON writes it; a list or an object is only known to be there."""
    if value.__class__ is bool:
        return "true" if value else "false"
    return str(value) if value.__class__ in (str, int, float) else "…"


def as_text(value: Any, field: str) -> str | None:
    """Return a value as text, None for null; raises RejectedRecordError for what is none."""
    problem = ""
    try:
        return text_of(value, field)
    except ValueError as error:
        problem = str(error)
    raise RejectedRecordError("wrong_type", problem)


def parsed(parser: Callable[[Any], Any], value: Any, field: str) -> Any:
    """Return what a parser makes of a value; raises RejectedRecordError, without the value."""
    problem = ""
    try:
        return parser(value)
    except ValueError as error:
        problem = str(error)
    reason = "bad_value" if value.__class__ in (str, int, float) else "wrong_type"
    raise RejectedRecordError(reason, f"{field}: {problem}")
