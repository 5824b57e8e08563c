"""Formats and envelopes that a file declares, as decoders of records."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final, Protocol

from orjson import JSONDecodeError, loads

from monitor.errors import RejectedRecordError
from monitor.intake.event import Event, PartlyRead
from monitor.intake.formats.flat import UNUSUAL, Flat
from monitor.intake.formats.json import parse, parse_text
from monitor.intake.formats.paths import Path
from monitor.intake.formats.reading import NOTHING_AROUND, compile_reader
from monitor.intake.formats.ways import around_reader, holds
from monitor.intake.values import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from monitor.intake.formats.specification import EnvelopeSpec, FormatSpec
    from monitor.intake.formats.ways import Around
    from monitor.intake.routes import Matcher

Headers = "Sequence[tuple[str, bytes]]"
#: Events of one record; what a gateway batches is far less.
MAX_EVENTS: Final = 20_000
#: Refusals of one batch that are kept with their reasons.
_KEPT_REFUSALS: Final = 10
_MAX_KEY_BYTES: Final = 1024
_UNREAD: Final = object()
_EMPTY: Final[tuple[Event, ...]] = ()


def ignore(_place: str) -> None:
    """Do nothing with the place of a secret."""


class Decoder(Protocol):
    """Reads the records of one source."""

    def __call__(self, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()) -> Sequence[Event]:
        """Return the events of one record: usually one; a batch of a gateway holds several.

        A batch of which some cannot be read is a `PartlyRead`. Raises RejectedRecordError where
        nothing of it can be, without repeating any of it.
        """


class DocumentReader(Protocol):
    """Reads a record that is parsed already, and stood in an envelope."""

    def __call__(self, doc: Any, headers: Sequence[tuple[str, bytes]], around: Around) -> Sequence[Event]:
        """Return the events of a document; raises RejectedRecordError as a decoder does."""


class Format(Protocol):
    """One gateway's way to write events."""

    @property
    def name(self) -> str:
        """The name that a source's `format` setting gives."""

    @property
    def ids_are_gateways(self) -> bool:
        """Whether event ids are made by the gateway, so that an id seen twice is one event.

        False where a client's own request id may pass through: trusting it would let a client
        hide all but its first request.
        """

    @property
    def max_record_bytes(self) -> int:
        """The longest record that is read, unless the source's setting says otherwise."""

    def reader(
        self, realm: str, *, trust_ids: bool, match: Matcher | None, note_secret: Callable[[str], None]
    ) -> DocumentReader:
        """Return the reader of documents of a source."""

    def decoder(
        self,
        realm: str,
        *,
        trust_ids: bool = False,
        match: Matcher | None = None,
        note_secret: Callable[[str], None] = ignore,
        max_record_bytes: int | None = None,
    ) -> Decoder:
        """Return the decoder of a source; `realm` is where its credentials live by default.

        With `trust_ids` the site vouches that event ids are made by the gateway. `match` finds route
        templates. `note_secret` is told the place of each secret in a record.
        """

    def message_key(self, value: bytes) -> bytes | None:
        """Return the Kafka key of a record (its principal), or None; never raises."""


class _Declared:
    """What formats and envelopes have in common."""

    name: str
    max_record_bytes: int

    def reader(
        self, realm: str, *, trust_ids: bool, match: Matcher | None, note_secret: Callable[[str], None]
    ) -> DocumentReader:
        """Return the reader of documents of a source."""
        raise NotImplementedError

    def decoder(
        self,
        realm: str,
        *,
        trust_ids: bool = False,
        match: Matcher | None = None,
        note_secret: Callable[[str], None] = ignore,
        max_record_bytes: int | None = None,
    ) -> Decoder:
        """Return the decoder of a source."""
        read = self.reader(realm, trust_ids=trust_ids, match=match, note_secret=note_secret)
        limit = max_record_bytes or self.max_record_bytes

        def decode(value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()) -> Sequence[Event]:
            if value and len(value) <= limit:
                try:
                    doc = loads(value)
                except JSONDecodeError:
                    doc = _UNREAD
                if doc is not _UNREAD:
                    return read(doc, headers, NOTHING_AROUND)
            return read(parse(value, limit), headers, NOTHING_AROUND)

        return decode

    def message_key(self, value: bytes) -> bytes | None:
        """Return the principal of a record that holds one event, as a Kafka key."""
        try:
            events = self._keys(value)
        except Exception:  # noqa: BLE001 - a record without a key is sent too: intake says what is wrong
            return None
        if len(events) != 1 or events[0].principal is None:
            return None
        key = events[0].principal.encode("utf-8", "surrogatepass")
        return key if len(key) <= _MAX_KEY_BYTES else None

    def _keys(self, value: bytes) -> Sequence[Event]:
        decode: Decoder | None = getattr(self, "_key_decoder", None)
        if decode is None:
            decode = self._key_decoder = self.decoder("-")
        return decode(value)


class DeclaredFormat(_Declared):
    """A gateway's format, from its file."""

    def __init__(self, spec: FormatSpec) -> None:
        self.spec = spec
        self.name = spec.name
        self.max_record_bytes = spec.max_record_bytes
        self.ids_are_gateways = spec.ids == "gateway"

    def decoder(
        self,
        realm: str,
        *,
        trust_ids: bool = False,
        match: Matcher | None = None,
        note_secret: Callable[[str], None] = ignore,
        max_record_bytes: int | None = None,
    ) -> Decoder:
        """Return the decoder of a source; a record that is one event takes the straight way."""
        any_way = super().decoder(
            realm,
            trust_ids=trust_ids,
            match=match,
            note_secret=note_secret,
            max_record_bytes=max_record_bytes,
        )
        if self.spec.events not in {"single", "either"}:
            return any_way
        keep_ids = trust_ids or self.ids_are_gateways
        read = compile_reader(self.spec, realm, match, note_secret, keep_ids=keep_ids)
        limit = max_record_bytes or self.max_record_bytes
        flat = Flat.of(self.spec)
        if flat is not None:
            read_flat = compile_reader(self.spec, realm, match, note_secret, keep_ids=keep_ids, flat=flat)
            return _flat_decoder(flat.decode, read_flat, limit, any_way)

        def decode(value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()) -> Sequence[Event]:
            if value and len(value) <= limit:
                try:
                    doc = loads(value)
                except JSONDecodeError:
                    doc = None
                if doc.__class__ is dict:
                    event = read(doc, headers, NOTHING_AROUND)
                    return _EMPTY if event is None else (event,)
            return any_way(value, headers)

        return decode

    def reader(
        self, realm: str, *, trust_ids: bool, match: Matcher | None, note_secret: Callable[[str], None]
    ) -> DocumentReader:
        """Return the reader of documents of a source."""
        keep_ids = trust_ids or self.ids_are_gateways
        read = compile_reader(self.spec, realm, match, note_secret, keep_ids=keep_ids)
        place = self.spec.events
        if isinstance(place, Path):

            def listed(doc: Any, headers: Sequence[tuple[str, bytes]], around: Around) -> Sequence[Event]:
                if doc.__class__ is not dict:
                    raise RejectedRecordError("wrong_type", f"record: expected an object, got {kind_of(doc)}")
                return _batch(read, place.values(doc), headers, around)

            return listed

        def single(doc: Any, headers: Sequence[tuple[str, bytes]], around: Around) -> Sequence[Event]:
            if doc.__class__ is dict and place != "list":
                event = read(doc, headers, around)
                return _EMPTY if event is None else (event,)
            if place != "single" and doc.__class__ is list:
                return _batch(read, doc, headers, around)
            if place == "list":
                raise RejectedRecordError("wrong_type", f"record: expected a list, got {kind_of(doc)}")
            raise RejectedRecordError("wrong_type", f"record: expected an object, got {kind_of(doc)}")

        return single


class Enveloped(_Declared):
    """A format in what a shipper puts around it."""

    def __init__(self, spec: EnvelopeSpec, inner: Format) -> None:
        self.spec = spec
        self.inner = inner
        self.name = f"{spec.name}+{inner.name}"
        self.max_record_bytes = max(spec.max_record_bytes, inner.max_record_bytes)
        self.ids_are_gateways = inner.ids_are_gateways

    def reader(
        self, realm: str, *, trust_ids: bool, match: Matcher | None, note_secret: Callable[[str], None]
    ) -> DocumentReader:
        """Return the reader of documents of a source."""
        inside = self.inner.reader(realm, trust_ids=trust_ids, match=match, note_secret=note_secret)
        spec = self.spec
        around_of = around_reader(spec)
        wanted = holds(spec.only_when) if spec.only_when else None

        def read(doc: Any, headers: Sequence[tuple[str, bytes]], around: Around) -> Sequence[Event]:
            prefix = spec.headers_instead
            attributes = _attributes(prefix, headers) if prefix and headers else None
            if attributes:
                return inside(doc, headers, around_of(attributes, headers, around))
            if doc.__class__ is not dict:
                raise RejectedRecordError("wrong_type", f"envelope: expected an object, got {kind_of(doc)}")
            if wanted is not None and not wanted(doc):
                detail = f"envelope: is none of {spec.name} ({', '.join(spec.only_when)})"
                raise RejectedRecordError("bad_value", detail)
            return inside(self._payload(doc), headers, around_of(doc, headers, around))

        return read

    def _payload(self, doc: dict[str, Any]) -> Any:
        for place in self.spec.payload:
            if not isinstance(place, Path):
                return {key: value for key, value in doc.items() if key not in self.spec.removes}
            for value in place.values(doc):
                if value.__class__ is str:
                    return parse_text(self._stripped(value))
                return value
        if self.spec.payload_base64 is not None:
            for value in self.spec.payload_base64.values(doc):
                return parse(_decoded(value), self.max_record_bytes)
        places = [place.text for place in self.spec.payload if isinstance(place, Path)]
        raise RejectedRecordError("missing", f"envelope: no record at {' or '.join(places)}")

    def _stripped(self, text: str) -> str:
        text = text.strip()
        for prefix in self.spec.strip:
            text = text.removeprefix(prefix).lstrip()
        return text


def _flat_decoder(
    slots_of: Callable[[bytes], Any],
    read: Callable[[Any, Sequence[tuple[str, bytes]], Around], Event | None],
    limit: int,
    any_way: Decoder,
) -> Decoder:
    """Return the decoder of a flat format; what is unusual goes the general way."""

    def decode(value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()) -> Sequence[Event]:
        if value and len(value) <= limit:
            try:
                record = slots_of(value)
            except UNUSUAL:
                record = None
            if record is not None:
                event = read(record, headers, NOTHING_AROUND)
                return _EMPTY if event is None else (event,)
        return any_way(value, headers)

    return decode


def _batch(
    read: Callable[[Any, Sequence[tuple[str, bytes]], Around], Event | None],
    entries: list[Any],
    headers: Sequence[tuple[str, bytes]],
    around: Around,
) -> Sequence[Event]:
    """Return the events of a batch; one that cannot be read takes no other with it."""
    if len(entries) > MAX_EVENTS:
        raise RejectedRecordError("too_large", f"record: expected at most {MAX_EVENTS} events")
    events: list[Event] = []
    refusals: list[tuple[int, str, str]] = []
    refused = 0
    for number, entry in enumerate(entries, 1):
        try:
            event = read(entry, headers, around)
        except Exception as error:  # noqa: BLE001 - one crafted event must not take its batch with it
            refused += 1
            if len(refusals) < _KEPT_REFUSALS:
                refusals.append((number, *_reason(error)))
            continue
        if event is not None:
            events.append(event)
    if not refused:
        return events
    return PartlyRead.of(events, refusals, refused)


def _reason(error: Exception) -> tuple[str, str]:
    if isinstance(error, RejectedRecordError):
        return error.reason, error.detail
    return "internal", f"reading it failed with {type(error).__name__}"


def _attributes(prefix: str, headers: Sequence[tuple[str, bytes]]) -> dict[str, Any]:
    return {
        name[len(prefix) :]: value.decode("utf-8", "replace")
        for name, value in headers
        if value and name.startswith(prefix)
    }


def _decoded(value: Any) -> bytes:
    problem = RejectedRecordError("bad_value", "envelope: expected base64")
    if value.__class__ is not str:
        raise problem
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise problem
