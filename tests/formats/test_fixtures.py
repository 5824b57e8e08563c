"""Each format reads its fixtures to the events that stand beside them, and nothing of a secret."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import orjson
import pytest

from monitor.intake.formats import FORMATS
from tests.formats.samples import NAMES, expected, lines, read

if TYPE_CHECKING:
    from monitor.intake.formats.declared import DeclaredFormat

SECRETS = {
    "kong-http-log": {"request.headers.apikey": 1},
    "apisix-kafka-logger": {"request.headers.apikey": 1},
    "tyk-pump": {"api_key": 1, "raw_request": 1},
    "caddy": {"request.headers.X-Api-Key": 1},
    "traefik": {"request_X-Api-Key": 1},
}


def test_every_format_has_a_fixture() -> None:
    assert set(FORMATS) <= set(NAMES)
    assert {spec.name for spec in FORMATS.envelopes} == {
        name.partition("+")[0] for name in NAMES if "+" in name
    }


@pytest.mark.parametrize("name", NAMES)
def test_records_become_the_events_that_are_expected(name: str) -> None:
    secrets: Counter[str] = Counter()
    found = [read(FORMATS[name], line, note=lambda place: secrets.update([place])) for line in lines(name)]
    assert found == expected(name)
    assert secrets == SECRETS.get(name, {})
    assert b"SECRET" not in orjson.dumps(found)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_authenticated_has_no_principal_and_each_format_says_when(name: str) -> None:
    events = [event for line in expected(name) for event in line]
    if name not in {"fluent-bit+nginx", "rsyslog+haproxy", "cloudevents+envoy"}:
        assert any("principal" in event for event in events)
        assert any("principal" not in event for event in events if isinstance(event, dict)) or name == "ecs"
    assert all("principal" not in event for event in events if event["status"] == 401)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "canonical"])
def test_a_format_says_whose_ids_who_counts_and_how_identity_is_stripped(name: str) -> None:
    form: DeclaredFormat = FORMATS[name]  # type: ignore[assignment]
    spec = form.spec
    assert spec.name == name
    assert all(len(text) > 10 for text in (spec.ids_note, spec.authenticated_note, spec.inbound_identity))
    assert form.ids_are_gateways == (spec.ids == "gateway")
    has_ids = {
        event.get("event_id") for line in expected(name) for event in line if isinstance(event, dict)
    } != {None}
    assert has_ids == form.ids_are_gateways


def test_a_site_may_vouch_for_ids() -> None:
    record = orjson.loads(lines("envoy")[0])
    form = FORMATS["envoy"]
    assert form.decoder("r")(orjson.dumps(record))[0].event_id is None
    assert form.decoder("r", trust_ids=True)(orjson.dumps(record))[0].event_id == record["id"]


@pytest.mark.parametrize("name", NAMES)
def test_the_message_key_is_the_principal_of_a_record_with_one_event(name: str) -> None:
    key = FORMATS[name].message_key
    for line, events in zip(lines(name), expected(name), strict=True):
        if len(events) == 1 and "principal" in events[0]:
            assert key(line) == events[0]["principal"].encode()
        elif name != "canonical":
            assert key(line) is None
    assert key(b"{") is None
    assert key(b"\xff" * 10) is None


def test_cloudevents_in_binary_mode_have_their_attributes_in_headers() -> None:
    """The record is the event itself; what it lacks comes from the attributes."""
    record = orjson.loads(lines("envoy")[0])
    del record["time"], record["id"]
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"A-7"),
        ("ce_source", b"/gw"),
        ("ce_time", b"2026-03-01T10:00:00.250Z"),
        ("content-type", b"application/json"),
    ]
    decode = FORMATS["cloudevents+envoy"].decoder("r", trust_ids=True)
    (event,) = decode(orjson.dumps(record), headers)
    assert (event.time_ms, event.event_id, event.principal) == (1_772_359_200_250, "A-7", "partner-17")


def test_envelopes_stand_in_envelopes() -> None:
    inner = lines("cloudevents+envoy")[0].decode()
    (event,) = FORMATS["fluent-bit+cloudevents+envoy"].decoder("r")(orjson.dumps({"log": inner}))
    assert event.principal == "partner-17"
    for name in ("envoy+nginx", "fluent-bit", "fluent-bit+", "+nginx", "nope+nginx", ""):
        with pytest.raises(KeyError):
            FORMATS[name]


@pytest.mark.parametrize(
    ("envelope", "reason"),
    [
        (b'{"specversion":"1.0"}', "missing: envelope: no record at data"),
        (b'{"data":{}}', "bad_value: envelope: is none of cloudevents (specversion)"),
        (b'{"specversion":"1.0","data_base64":"!"}', "bad_value: envelope: expected base64"),
        (b'{"specversion":"1.0","data":"{"}', "not_json: record: expected one well-formed JSON value"),
        (b'{"specversion":"1.0","time":"now","data":{}}', "bad_value: envelope time: expected a time"),
        (b"[]", "wrong_type: envelope: expected an object, got a list"),
    ],
)
def test_what_is_wrong_with_an_envelope(envelope: bytes, reason: str) -> None:
    assert read(FORMATS["cloudevents+envoy"], envelope).startswith(reason)


def test_one_bad_event_of_a_batch_takes_no_other_with_it() -> None:
    good = orjson.loads(lines("kong-http-log")[0])
    batch = [good, {"started_at": "SECRET"}, 7, good]
    found = read(FORMATS["kong-http-log"], orjson.dumps(batch))
    assert [entry["principal"] for entry in found if isinstance(entry, dict)] == [
        "f3e1b0a2-6a52-4a0f-8d77-0a4f0c7b6d11"
    ] * 2
    assert found[2:] == [
        [2, "bad_value", "time: expected a time after the year 2000, as epoch_ms"],
        [3, "wrong_type", "record: expected an object, got a number"],
    ]
