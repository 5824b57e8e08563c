"""The canonical event: one JSON object per record (docs/events.md).

Strict about what only a gateway writes, tolerant about what a client can put into a request: a
crafted path or request id must not make an event unreadable, or it would switch the monitor off
for the attacker. Such texts are dropped, cleaned or hashed instead.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from monitor.errors import RejectedRecordError
from monitor.intake.event import MAX_PATIENTS, MAX_TEXT, Event, clean
from monitor.intake.values import MAX_TIME_MS, MIN_TIME_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from monitor.intake.formats import Decoder
    from monitor.intake.routes import Matcher

MAX_RECORD_BYTES: Final = 1024 * 1024
_UNAUTHORIZED: Final = 401

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _Patient(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    patient: str
    tenant: str | None = None


class _Record(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    time: int | Annotated[datetime, msgspec.Meta(tz=True)]
    status: Annotated[int, msgspec.Meta(ge=0, le=999)]
    id: str | None = None
    principal: str | None = None
    principal_kind: Literal["api_key", "oauth_client", "session", "account"] | None = None
    authenticated: bool | None = None
    realm: str | None = None
    object: str | None = None
    patient: str | None = None
    tenant: str | None = None
    patients: list[_Patient] | None = None
    client_ip: str | None = None
    method: str | None = None
    route: str | None = None
    path: str | None = None
    bytes: _Count | None = None
    records: _Count | None = None
    gateway: str | None = None
    number: _Count | None = None


class _KeyOnly(msgspec.Struct, gc=False):
    principal: str | None = None


_decode_record = msgspec.json.Decoder(_Record).decode
_decode_key = msgspec.json.Decoder(_KeyOnly).decode
_realm = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z").match
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_KEY_BYTES: Final = 1024


class CanonicalFormat:
    """The format ``canonical``."""

    name = "canonical"
    #: A canonical `id` may be a client's own X-Request-Id passed through, so it is not trusted unless
    #: the source's setting `event_ids` says so.
    ids_are_gateways = False
    max_record_bytes = MAX_RECORD_BYTES

    def decoder(
        self,
        realm: str,
        *,
        trust_ids: bool = False,
        match: Matcher | None = None,
        note_secret: Callable[[str], None] | None = None,  # noqa: ARG002 - no field of it is for a secret
        max_record_bytes: int | None = None,
    ) -> partial[tuple[Event, ...]]:
        """Return the decoder of a source whose events are of `realm` unless they say otherwise.

        With `trust_ids` whoever configures it vouches that the gateway makes every `id`.
        """
        limit = max_record_bytes or MAX_RECORD_BYTES
        return partial(decode, realm, trust_ids=trust_ids, match=match, limit=limit)

    def reader(
        self,
        realm: str,
        *,
        trust_ids: bool,
        match: Matcher | None,
        note_secret: Callable[[str], None],  # noqa: ARG002
    ) -> Callable[[Any, Any, tuple[int | None, str | None]], tuple[Event, ...]]:
        """Return the reader of events that stood in an envelope."""

        def read(doc: Any, _headers: Any, around: tuple[int | None, str | None]) -> tuple[Event, ...]:
            time_ms, event_id = around
            if doc.__class__ is dict:
                if time_ms is not None and doc.get("time") is None:
                    doc = {**doc, "time": time_ms}
                if event_id is not None and not doc.get("id"):
                    doc = {**doc, "id": event_id}
            record = _converted(doc)
            if isinstance(record, RejectedRecordError):
                raise record
            return (_event(record, realm, trust_ids=trust_ids, match=match),)

        return read

    def message_key(self, value: bytes) -> bytes | None:
        """Return the principal of a record as a Kafka key, or None where there is none to read."""
        try:
            principal = _decode_key(value).principal
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        key = principal.encode("utf-8", "surrogatepass") if principal else b""
        return key if 0 < len(key) <= _MAX_KEY_BYTES else None


def decode(
    default_realm: str,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes]] = (),  # noqa: ARG001 - other formats read them
    *,
    trust_ids: bool = False,
    match: Matcher | None = None,
    limit: int = MAX_RECORD_BYTES,
) -> tuple[Event, ...]:
    """Return the event of one record, with its id only where that is trusted.

    Raises RejectedRecordError with a reason and the field; never with a value of the record.
    """
    return (_event(_parse(value, limit), default_realm, trust_ids=trust_ids, match=match),)


def plain_source(decoder: Decoder) -> tuple[str, bool, int] | None:
    """Return realm, trust in ids and most bytes of a decoder of this format without routes; else None."""
    if isinstance(decoder, partial) and decoder.func is decode and decoder.keywords["match"] is None:
        return decoder.args[0], decoder.keywords["trust_ids"], decoder.keywords["limit"]
    return None


def _event(record: _Record, default_realm: str, *, trust_ids: bool, match: Matcher | None) -> Event:
    time = record.time
    if isinstance(time, int):
        time_ms = time
    else:
        # Whole milliseconds by integers: a float would round some times up.
        since = time - _EPOCH
        time_ms = since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
    if not MIN_TIME_MS <= time_ms < MAX_TIME_MS:
        raise RejectedRecordError(
            "bad_value", "time: expected a time after the year 2000, as RFC 3339 or epoch milliseconds"
        )
    realm = record.realm or default_realm
    if realm is not default_realm and not _realm(realm):
        raise RejectedRecordError(
            "bad_value", "realm: expected 1 to 64 letters, digits, dots, dashes or underscores"
        )
    principal = _principal(record)
    patients, tenant, route = _patients(record), clean(record.tenant), clean(record.route)
    category, record_object = None, record.object or None
    if match is not None:
        found = match(record.path) if record.path else None
        if found is None:
            category = None if route is None else match.category(route)
        else:
            route, category = found.route, found.category
            tenant = tenant or found.tenant
            record_object = record_object or found.object
            patients = patients or tuple([(one, own or tenant) for one, own in found.patients])
    return Event(
        time_ms,
        realm,
        record.status,
        (record.id or None) if trust_ids else None,
        principal,
        (record.principal_kind or "api_key") if principal is not None else None,
        record_object,
        patients,
        tenant,
        record.client_ip or None,
        clean(record.method),
        route,
        record.bytes,
        record.records,
        clean(record.gateway),
        category,
        record.number,
    )


def _principal(record: _Record) -> str | None:
    """Return the credential's id where the gateway authenticated it; a 401 never did."""
    principal = record.principal
    if not principal:
        return None
    if record.authenticated is None:
        raise RejectedRecordError(
            "missing", "authenticated: required beside principal; true where the gateway verified it"
        )
    if not record.authenticated or record.status == _UNAUTHORIZED:
        return None
    if len(principal) > MAX_TEXT or not principal.isprintable():
        raise RejectedRecordError("bad_value", f"principal: expected 1 to {MAX_TEXT} printable characters")
    return principal


def _patients(record: _Record) -> tuple[tuple[str, str | None], ...]:
    """Return the different (patient, tenant) pairs; a patient without a tenant has the event's."""
    if record.patients is None:
        return ((record.patient, clean(record.tenant)),) if record.patient else ()
    if record.patient is not None:
        raise RejectedRecordError("bad_value", "patient: expected either patient or patients, not both")
    own = clean(record.tenant)
    pairs = dict.fromkeys(
        (entry.patient, clean(entry.tenant) or own) for entry in record.patients if entry.patient
    )
    return tuple(pairs)[:MAX_PATIENTS]


def _parse(value: bytes | None, limit: int) -> _Record:
    if not value:
        raise RejectedRecordError("empty", "record: expected one JSON object, got nothing")
    if len(value) > limit:
        raise RejectedRecordError("too_large", f"record: expected at most {limit} bytes")
    record = _read(value, value)
    if isinstance(record, RejectedRecordError):
        raise record
    return record


def _read(value: bytes, text: bytes | str) -> _Record | RejectedRecordError:
    """Return the record or why not; returned, not raised, so that no error with values hangs on it."""
    try:
        return _decode_record(text)
    except UnicodeDecodeError:
        # A raw byte of a client's URL: gateways copy it into their log as it is.
        return _read(value, value.decode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError) as error:
        return _rejection(value, error)


def _converted(doc: Any) -> _Record | RejectedRecordError:
    """Return the record of a document, or why it is none; returned as `_read` does."""
    try:
        return msgspec.convert(doc, _Record)
    except (msgspec.ValidationError, RecursionError) as error:
        return _rejection(b"", error)


_place = re.compile(r" - at `\$\.?([a-z_.\[\]0-9]*)`\Z")
_expected = re.compile(r"Expected `([^`]*)`( (?:<=|>=) [0-9]+)?(?:, got `(\w+)`)?")
_missing = re.compile(r"Object missing required field `([a-z_]+)`")


def _rejection(value: bytes, error: Exception) -> RejectedRecordError:
    """Return why a record was refused, from the parts of msgspec's text that are our own.

    Its other parts may repeat the record (an unknown field's name, a wrong enum value).
    """
    if not isinstance(error, msgspec.ValidationError):
        if value.isspace():
            return RejectedRecordError("empty", "record: expected one JSON object, got white space")
        return RejectedRecordError("not_json", "record: expected one well-formed JSON object")
    text = str(error)
    found = _place.search(text)
    place = (found[1] if found else "") or "record"
    if missing := _missing.match(text):
        prefix = "" if place == "record" else f"{place}."
        return RejectedRecordError("missing", f"{prefix}{missing[1]}: required")
    if text.startswith("Object contains unknown field"):
        return RejectedRecordError("unknown_field", f"{place}: a field that docs/events.md does not name")
    if expected := _expected.match(text):
        if expected[2] or not expected[3]:
            bound = expected[2] or ""
            return RejectedRecordError("bad_value", f"{place}: expected {expected[1]}{bound}")
        return RejectedRecordError("wrong_type", f"{place}: expected {expected[1]}, got {expected[3]}")
    return RejectedRecordError("bad_value", f"{place}: expected another value, see docs/events.md")
