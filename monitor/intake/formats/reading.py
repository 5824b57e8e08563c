"""A format, compiled once: a function from a JSON document to an event.

Plain paths become straight Python source, which is what keeps a decoder within a few times the cost of
reading the JSON at all (bench/formats.py); everything else is a function that the source calls. Nothing
of a format's file is ever source itself: texts of it enter as constants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from monitor.intake.formats.paths import parse_path
from monitor.intake.formats.source import Source
from monitor.intake.formats.specification import WHOLE
from monitor.intake.formats.ways import Around, pairs_of
from monitor.intake.values import count_of, status_of, time_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from monitor.intake.event import Event
    from monitor.intake.formats.flat import Flat
    from monitor.intake.formats.specification import FormatSpec
    from monitor.intake.routes import Matcher

    ReadOne = Callable[[Any, Sequence[tuple[str, bytes]], Around], Event | None]

NOTHING_AROUND: Final[Around] = (None, None)
_UNAUTHORIZED: Final = 401


def compile_reader(
    spec: FormatSpec,
    default_realm: str,
    match: Matcher | None,
    note_secret: Callable[[str], None],
    *,
    keep_ids: bool,
    flat: Flat | None = None,
) -> ReadOne:
    """Return the reader of one document: an event, or None where it is none (`only_when`).

    `match` finds a path's route template. `note_secret` is told the place of each secret that the
    gateway should not have logged. The reader raises RejectedRecordError, without repeating a value.
    """
    source = Source(spec, note_secret, flat)
    if flat is None:
        source.put("if doc.__class__ is not dict: raise not_an_object(doc)")
    _preparation(spec, source)
    _numbers(source)
    _texts(spec, source, keep_ids=keep_ids)
    _principal(spec, source)
    _patients(spec, source)
    _route(source, routed=match is not None)
    source.put(
        "return Event(time_ms, realm, status, event_id, principal, kind, object, patients, tenant, client_ip,"
        " method, route, bytes, records, gateway, category, number)"
    )

    def secrets_in(found: Mapping[str, Any], wanted: frozenset[str], place: str) -> None:
        for name in wanted.intersection(found):
            values = found[name] if found[name].__class__ is list else [found[name]]
            if any(value and value not in spec.redacted for value in values):
                note_secret(name if place == WHOLE else f"{place}.{name}")

    names = {"match": match, "default_realm": default_realm, "secrets_in": secrets_in}
    return cast("ReadOne", source.build(names))


def _preparation(spec: FormatSpec, source: Source) -> None:
    for place in spec.key_values:
        source.put(f"doc = with_key_values(doc, {source.constant(place)})")
    if spec.only_when:
        source.put(f"if not ({source.condition(spec.only_when)}): return None")
    for place, names in spec.secrets.items():
        node = source.node(() if place == WHOLE else parse_path(place).keys or ())
        wanted = source.constant(frozenset(names))
        source.put(f"if {node} is not nothing and not {node}.__self__.keys().isdisjoint({wanted}):")
        source.put(f"    secrets_in({node}.__self__, {wanted}, {source.constant(place)})")


def _numbers(source: Source) -> None:
    source.value("time", "", lambda one: time_of(one.as_))
    source.put("if v is None: v = around[0]")
    source.put(f"if v is None: raise {source.missing('time')}")
    source.put("time_ms = v")
    source.value("status", "quick_status", lambda _: status_of)
    source.put(f"if v is None: raise {source.missing('status')}")
    source.put("status = v")
    for name in ("bytes", "records", "number"):
        source.value(name, "quick_count", lambda _: count_of)
        source.put(f"{name} = v")


def _texts(spec: FormatSpec, source: Source, *, keep_ids: bool) -> None:
    for name in ("tenant", "method", "route", "gateway"):
        source.tidy_text(name)
        source.put(f"{name} = v")
    # A client's own: their content is hashed, or goes no further.
    for name in ("object", "client_ip", "path"):
        source.text(name)
        source.put(f"{name} = v")
    if spec.fields.query is not None:
        source.text("query")
        source.put("if v is not None and path is not None and '?' not in path: path = path + '?' + v")
    source.put("realm = default_realm")
    if spec.fields.realm is not None:
        source.text("realm")
        source.put("if v is not None: realm = checked_realm(v)")
    source.put("event_id = None")
    if keep_ids:
        source.text("id")
        source.put("event_id = around[1] if v is None else v")


def _route(source: Source, *, routed: bool) -> None:
    """Write what a path says where the record itself does not."""
    source.put("category = None")
    if routed:
        source.put("found = None if path is None else match(path)")
        source.put("if found is None: category = None if route is None else match.category(route)")
        source.put("else:")
        source.put("    route = found.route; category = found.category")
        source.put("    if tenant is None: tenant = found.tenant")
        source.put("    if not patients: patients = owned(found.patients, tenant)")
        source.put("    if object is None: object = found.object")


def _principal(spec: FormatSpec, source: Source) -> None:
    """Write who is credited: only whom the gateway authenticated, and never on a 401."""
    rule = spec.authenticated
    if rule == "never" or spec.fields.principal is None:
        source.put("principal = kind = None")
        return
    allowed = f" and {source.condition(rule)}" if isinstance(rule, dict) else ""
    source.text("principal")
    source.put(f"if v is not None and status != {_UNAUTHORIZED}{allowed}:")
    source.put("    principal = principals[v]")
    source.put("else: principal = None")
    source.put("kind = None")
    if spec.fields.principal_kind is not None:
        source.text("principal_kind")
        source.put(
            "if principal is not None: kind = 'api_key' if v is None else v if v in KINDS else checked_kind(v)"
        )
    else:
        source.put("if principal is not None: kind = 'api_key'")


def _patients(spec: FormatSpec, source: Source) -> None:
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
        find = source.constant(pairs_of(one, nulls))
        source.put(f"if not patients{there}: patients = {find}({source.document}, headers, tenant)")
