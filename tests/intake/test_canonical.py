"""The canonical event is decoded strictly, and a rejection never repeats what it refused."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from monitor.errors import RejectedRecordError
from monitor.intake.canonical import MAX_RECORD_BYTES, CanonicalFormat
from monitor.intake.event import MAX_PATIENTS, Event, clean
from monitor.intake.formats import FORMATS, find_format

DECODE = FORMATS["canonical"].decoder("envoy")
TIME = "2026-03-01T10:00:00.250Z"
TIME_MS = 1_772_359_200_250


def decode(**fields: Any) -> Event:
    (event,) = DECODE(json.dumps({"time": TIME, "status": 200} | fields).encode())
    return event


def refuse(value: bytes | None) -> RejectedRecordError:
    with pytest.raises(RejectedRecordError) as caught:
        DECODE(value)
    return caught.value


def test_a_whole_event() -> None:
    event = decode(
        id="r-1",
        principal="partner-7",
        principal_kind="oauth_client",
        authenticated=True,
        realm="kong-eu",
        object="appointment-9",
        patient="p-1",
        tenant="practice-3",
        client_ip="192.0.2.1",
        method="GET",
        route="/appointments/{id}",
        path="/appointments/9",
        bytes=12,
        records=1,
        gateway="gw-1",
    )
    assert event.time_ms == TIME_MS
    assert (event.realm, event.principal, event.principal_kind) == ("kong-eu", "partner-7", "oauth_client")
    assert (event.object, event.patients, event.tenant) == (
        "appointment-9",
        (("p-1", "practice-3"),),
        "practice-3",
    )
    assert (event.client_ip, event.method, event.route) == ("192.0.2.1", "GET", "/appointments/{id}")
    assert (event.status, event.bytes, event.records, event.gateway) == (200, 12, 1, "gw-1")
    assert event.event_id is None, "a canonical id may be the client's own"
    assert repr(event) == "Event(…)"


def test_null_and_empty_are_absent() -> None:
    names = ("id", "principal", "realm", "object", "patient", "tenant", "client_ip", "method", "route")
    assert decode(**dict.fromkeys(names)) == decode() == decode(**dict.fromkeys(names, ""))
    assert decode().realm == "envoy"


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (TIME, TIME_MS),
        (TIME_MS, TIME_MS),
        ("2026-03-01T11:00:00.250+01:00", TIME_MS),
        ("2026-03-01T10:00:00.2509Z", TIME_MS),
        ("2026-03-01T10:00:00Z", TIME_MS - 250),
        ("2000-01-01T00:00:00Z", 946_684_800_000),
        ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
    ],
)
def test_times(time: str | int, expected: int) -> None:
    assert decode(time=time).time_ms == expected


@pytest.mark.parametrize(
    "time",
    [1_772_359_200, 0, -1, 10**30, "2026-03-01T10:00:00", "2026-03-01", "yesterday", "1999-12-31T23:59:59Z"],
)
def test_a_time_that_cannot_be_is_refused(time: object) -> None:
    error = refuse(json.dumps({"time": time, "status": 200}).encode())
    assert error.reason == "bad_value"
    assert error.detail.startswith("time: expected")


def test_only_who_is_authenticated_is_a_principal() -> None:
    """A key-less request with a forged client header is logged under that client's name."""
    assert decode(principal="p", authenticated=True).principal == "p"
    assert decode(principal="p", authenticated=True).principal_kind == "api_key"
    assert decode(principal="p", authenticated=False).principal is None
    assert decode(principal="p", authenticated=False).principal_kind is None
    assert decode(principal="p", authenticated=True, status=401).principal is None
    assert decode(principal="p", authenticated=True, status=403).principal == "p"
    assert decode(authenticated=True).principal is None
    assert decode().principal is None
    error = refuse(orjson.dumps({"time": TIME, "status": 200, "principal": "p"}))
    assert (error.reason, error.detail.split(":")[0]) == ("missing", "authenticated")


def test_patients_have_a_tenant_each() -> None:
    event = decode(
        tenant="t",
        patients=[
            {"patient": "a", "tenant": "x"},
            {"patient": "b"},
            {"patient": "a", "tenant": "x"},
            {"patient": ""},
        ],
    )
    assert event.patients == (("a", "x"), ("b", "t"))
    assert decode(patient="a").patients == (("a", None),)
    assert (
        len(decode(patients=[{"patient": str(n)} for n in range(MAX_PATIENTS + 5)]).patients) == MAX_PATIENTS
    )
    both = orjson.dumps({"time": TIME, "status": 200, "patient": "a", "patients": []})
    assert refuse(both).reason == "bad_value"


BAD = [
    (None, "empty", "record"),
    (b"", "empty", "record"),
    (b" \r\n", "empty", "record"),
    (b"SECRET", "not_json", "record"),
    (b'{"time":', "not_json", "record"),
    (b'{"time":1772359200250,"status":200}{}', "not_json", "record"),
    (b'{"time":1772359200250,"status":NaN}', "not_json", "record"),
    (b"\xff\xfe", "not_json", "record"),
    (b"[" * 100_000, "wrong_type", "record"),
    (b'"SECRET"', "wrong_type", "record"),
    (b'[{"time":1772359200250,"status":200}]', "wrong_type", "record"),
    (b'{"status":200}', "missing", "time"),
    (b'{"time":1772359200250}', "missing", "status"),
    (b'{"time":1772359200250,"status":"SECRET"}', "wrong_type", "status"),
    (b'{"time":1772359200250,"status":200.5}', "wrong_type", "status"),
    (b'{"time":1772359200250,"status":true}', "wrong_type", "status"),
    (b'{"time":1772359200250,"status":1000}', "bad_value", "status"),
    (b'{"time":1772359200250,"status":-1}', "bad_value", "status"),
    (b'{"time":1772359200250,"status":200,"bytes":-4711}', "bad_value", "bytes"),
    (b'{"time":1772359200250,"status":200,"records":99999999999999999999}', "bad_value", "records"),
    (b'{"time":1772359200250,"status":200,"SECRET":1}', "unknown_field", "record"),
    (b'{"time":1772359200250,"status":200,"patients":[{"SECRET":1}]}', "unknown_field", "patients[0]"),
    (b'{"time":1772359200250,"status":200,"patients":[{"tenant":"x"}]}', "missing", "patients[0].patient"),
    (
        b'{"time":1772359200250,"status":200,"patients":[{"patient":4711}]}',
        "wrong_type",
        "patients[0].patient",
    ),
    (b'{"time":1772359200250,"status":200,"principal_kind":"SECRET"}', "bad_value", "principal_kind"),
    (b'{"time":1772359200250,"status":200,"realm":"SECRET/x"}', "bad_value", "realm"),
    (b'{"time":1772359200250,"status":200,"realm":"@SECRET"}', "bad_value", "realm"),
    (
        b'{"time":1772359200250,"status":200,"authenticated":true,"principal":"SECRET\\u001b[2J"}',
        "bad_value",
        "principal",
    ),
    (
        b'{"time":1772359200250,"status":200,"authenticated":true,"principal":"' + b"S" * 2049 + b'"}',
        "bad_value",
        "principal",
    ),
    (b'{"time":1772359200250,"status":200,"path":"' + b"S" * MAX_RECORD_BYTES + b'"}', "too_large", "record"),
]


@pytest.mark.parametrize(("value", "reason", "place"), BAD)
def test_what_cannot_be_an_event(value: bytes | None, reason: str, place: str) -> None:
    error = refuse(value)
    assert (error.reason, error.detail.split(": ")[0]) == (reason, place)
    assert "SECRET" not in str(error)
    assert "4711" not in str(error)


def test_a_client_cannot_make_its_own_requests_unreadable() -> None:
    """What a client writes into a request is no reason to look away from what it reads."""
    base = b'{"time":1772359200250,"status":200,"authenticated":true,"principal":"p","patient":"a",%s}'
    for crafted in (
        b'"id":"' + b"i" * 100_000 + b'"',
        b'"id":"\\u0000\\u001b[2J"',
        b'"path":"/\xff\xfe"',
        b'"client_ip":"unknown, 10.0.0.1"',
        b'"method":"G\\r\\nET"',
        b'"object":"' + b"o" * 5000 + b'\\u0000"',
        b'"route":"/\\u202e"',
    ):
        (event,) = DECODE(base % crafted)
        assert (event.principal, event.patients) == ("p", (("a", None),))
        assert (event.method or "x").isprintable()
        assert (event.route or "x").isprintable()


@given(st.text())
@example("\x1b[2J\r\n\u202e\u200b")
def test_cleaned_text_is_safe_to_show(text: str) -> None:
    cleaned = clean(text)
    assert (cleaned is None) == (text == "")
    assert cleaned is None or (cleaned.isprintable() and len(cleaned) <= 2048)
    if text.isprintable() and 0 < len(text) <= 2048:
        assert cleaned == text


def attempt(value: bytes) -> Event | RejectedRecordError:
    try:
        return DECODE(value)[0]
    except RejectedRecordError as error:
        return error


MARK = "MARK-4711-MARK"
marked: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([MARK, 4711_4711, -4711_4711, 4711.4711, None, True, [MARK], {MARK: 1}, ""]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.just(MARK), inner, max_size=1),
    max_leaves=3,
)
names = st.sampled_from(
    [
        "id", "time", "principal", "principal_kind", "authenticated", "realm", "object", "patient",
        "tenant", "patients", "client_ip", "method", "route", "path", "status", "bytes", "records",
        "gateway", MARK,
    ]
)  # fmt: skip


@given(st.dictionaries(names, marked, max_size=6), st.booleans(), st.binary(max_size=8))
def test_no_value_of_the_input_is_in_a_rejection(fields: dict[str, Any], complete: bool, tail: bytes) -> None:
    record = ({"time": TIME, "status": 200} if complete else {}) | fields
    for value in (
        json.dumps(record).encode(),
        json.dumps(record).encode() + tail,
        json.dumps([record]).encode(),
    ):
        result = attempt(value)
        text = f"{result} {result!r} {getattr(result, 'detail', '')}"
        assert "MARK" not in text
        assert "4711" not in text
        assert getattr(result, "__context__", None) is None


@given(st.binary(max_size=200))
def test_bytes_are_an_event_or_a_rejection(value: bytes) -> None:
    assert isinstance(attempt(value), Event | RejectedRecordError)


def test_the_message_key_is_the_principal_where_it_can_be_read() -> None:
    key = FORMATS["canonical"].message_key
    assert key(b'{"principal":"p\xc3\xa9","x":{"y":[1]}}') == b"p\xc3\xa9"
    for value in (
        b"",
        b"{",
        b"[]",
        b'{"principal":5}',
        b'{"principal":null}',
        b"{}",
        b"\xff",
        b"[" * 100_000,
    ):
        assert key(value) is None
    assert key(b'{"principal":"' + b"x" * 2000 + b'"}') is None


def test_an_unknown_format_names_those_that_exist() -> None:
    with pytest.raises(
        Exception, match=r"sources\.a\.format: no format 'x' \(there is: .*canonical, .*nginx"
    ):
        find_format("x", "sources.a.format")


def test_an_id_is_kept_only_where_the_site_vouches_for_it() -> None:
    value = b'{"time": "2026-11-01T08:00:00Z", "status": 200, "id": "r-1"}'
    form = CanonicalFormat()
    assert not form.ids_are_gateways
    assert form.decoder("r")(value)[0].event_id is None
    assert form.decoder("r", trust_ids=True)(value)[0].event_id == "r-1"
