"""Hostile records: every format makes of any bytes an event or a clean rejection, in linear time."""

from __future__ import annotations

import gc
import json
import time
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.errors import RejectedRecordError
from monitor.intake.event import PartlyRead
from monitor.intake.formats import FORMATS
from monitor.intake.formats.declared import MAX_EVENTS
from tests.formats.checks import DECODERS, MARK, attempt
from tests.formats.samples import NAMES, lines

if TYPE_CHECKING:
    from collections.abc import Callable

anything: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([MARK, 4711_4711, -1, 0.5, 1e300, None, True, "", "-", "\x1b[2J\r\n\u202e", "200", 200])
    | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([MARK, "id", "value"]), inner, max_size=2)
    ),
    max_leaves=5,
)


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All places of a document, itself first."""
    items = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    return [path, *(place for key, value in items for place in places(value, (*path, key)))]


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A document with another value at a place."""
    if not path:
        return value
    copy = document.copy()
    copy[path[0]] = changed(copy[path[0]], path[1:], value)
    return copy


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_value_at_any_place_of_a_record(name: str, data: st.DataObject) -> None:
    document = orjson.loads(data.draw(st.sampled_from(lines(name))))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(places(document)))
        document = changed(document, place, data.draw(anything))
    attempt(name, json.dumps(document).encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_broken_bytes(name: str, data: st.DataObject) -> None:
    value = bytearray(data.draw(st.sampled_from(lines(name))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(value)))
        value[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    attempt(
        name,
        bytes(value),
        [("ce_specversion", data.draw(st.binary(max_size=4))), ("ce_time", b"\xff"), ("x", b"")],
    )


HOSTILE: dict[str, bytes] = {
    "deep lists": b"[" * 500_000,
    "deep lists that end": b"[" * 5000 + b"]" * 5000,
    "deep objects": b'{"a":' * 100_000,
    "deep value": b'{"time":1772359200250,"status":200,"deep":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
    "NaN": b'{"time":NaN,"status":200}',
    "Infinity": b'{"time":Infinity,"status":-Infinity}',
    "a huge number": b'{"time":' + b"9" * 100_000 + b',"status":200}',
    "a huge exponent": b'{"time":1e999999,"status":200}',
    "no UTF-8": b"\xff\xfe\xfd",
    "an over-long NUL": b'{"time":"\xc0\x80"}',
    "half a character": b'{"time":"\\ud800"}',
    "a byte order mark alone": b"\xef\xbb\xbf",
    "two records in one": b'{"time":1772359200250,"status":200}\r\n{"time":1772359200250,"status":200}',
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "nothing": b"",
    "NULs": b"\x00" * 1000,
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_records_are_rejected(name: str, what: str) -> None:
    assert attempt(name, HOSTILE[what]) == []


@pytest.mark.parametrize("name", NAMES)
def test_ten_megabytes_are_refused_before_they_are_read(name: str) -> None:
    assert attempt(name, b'{"a":"' + b"x" * 10_000_000 + b'"}') == []
    with pytest.raises(RejectedRecordError, match="too_large: record: expected at most 2048 bytes"):
        FORMATS[name].decoder("r", max_record_bytes=2048)(b"x" * 2049)


@pytest.mark.parametrize("name", ["kong-http-log", "apisix-kafka-logger", "otel"])
def test_a_batch_of_too_many_is_refused(name: str) -> None:
    batch: Any = [0] * (MAX_EVENTS + 1)
    if name == "otel":
        batch = {"resourceLogs": [{"scopeLogs": [{"logRecords": batch}]}]}
    assert attempt(name, orjson.dumps(batch)) == []
    small: Any = [0] * 1000
    if name == "otel":
        small = {"resourceLogs": [{"scopeLogs": [{"logRecords": small}]}]}
    events = DECODERS[name](orjson.dumps(small))
    assert isinstance(events, PartlyRead)
    assert (len(events), events.refused, len(events.refusals)) == (0, 1000, 10)


CLIENT_TEXTS = [
    b"/\xff\xfe",
    b"/\xed\xa0\x80",
    b"/\\ud800",
    b"/\\udc00\\ud800",
    b"/a\x00b",
    b"/a\tb\r\nSet-Cookie: x",
    b"/\x1b[2J\x1b]0;owned\x07",
    b'/\\"},\\"principal\\":\\"other',
    b"/${jndi:ldap://x}",
    b"/" + b"a/" * 5000,
    b"/" + b"%2e%2e/" * 5000 + b"?" + b"&a=%" * 5000,
]


@pytest.mark.parametrize("text", CLIENT_TEXTS, ids=range(len(CLIENT_TEXTS)))
@pytest.mark.parametrize("name", ["envoy", "nginx", "haproxy", "kong-http-log", "caddy", "canonical"])
def test_what_a_client_writes_makes_no_event_unreadable_and_adds_no_field(name: str, text: bytes) -> None:
    """A crafted path must not hide what it reads, nor name another principal."""
    record = orjson.loads(lines(name)[0])
    place = record.get("request", record)
    place["uri" if "request" in record else "path"] = "PATH"
    (before,) = attempt(name, orjson.dumps(record))
    value = orjson.dumps(record).replace(b"PATH", text)
    if name == "canonical" and (b"\\u" in text or any(byte < 32 for byte in text)):
        return  # it is written by glue of the site's own, which must escape
    (event,) = attempt(name, value)
    assert (event.principal, event.status, event.time_ms) == (before.principal, before.status, before.time_ms)


def seconds(work: Callable[[bytes], object], value: bytes) -> float:
    best = 9e9
    for _ in range(3):
        began = time.process_time()
        work(value)
        best = min(best, time.process_time() - began)
    return best


@pytest.mark.parametrize(
    "grow",
    [
        lambda n: b'{"time":"2026-03-01T10:00:00Z","status":200,"path":"/' + b"a/" * n + b'"}',
        lambda n: (
            b'{"time":"2026-03-01T10:00:00Z","status":200,"path":"/fhir/Observation?'
            + b"patient=1&" * n
            + b'"}'
        ),
        lambda n: (
            b'{"time":"2026-03-01T10:00:00Z","status":200,"path":"/fhir/Patient?_id=' + b"1," * n + b'"}'
        ),
        lambda n: b'{"time":"2026-03-01T10:00:00Z","status":200,"path":"/' + b"%2e%2e/;" * n + b'"}',
        lambda n: b'{"time":"2026-03-01T10:00:00Z","status":200,"patients":"' + b"a," * n + b'"}',
        lambda n: b'{"time":"2026-03-01T10:00:00Z","status":200,"route":"' + b"\\u001b" * n + b'"}',
        lambda n: b'{"time":"' + b"1" * n + b'","status":200}',
        lambda n: b'{"status":"' + b"\xff" * n + b'"}',
        lambda n: b"[" * n,
    ],
    ids=["segments", "parameters", "commas", "dots", "patients", "controls", "digits", "no-utf8", "depth"],
)
def test_time_is_linear_in_the_length(grow: Callable[[int], bytes]) -> None:
    """Eight times the bytes take at most about eight times as long: quadratic would be 64."""

    def work(value: bytes) -> None:
        attempt("envoy", value)

    gc.disable()
    try:
        work(grow(10))
        short, long = grow(5_000), grow(40_000)
        ratios = sorted(seconds(work, long) / max(seconds(work, short), 1e-4) for _ in range(3))
    finally:
        gc.enable()
    assert ratios[0] < 30
