"""A site's own format: by a file alone, as strict as ours, all faults at once with their lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import ConfigurationError
from monitor.intake.formats import Catalogue
from monitor.intake.formats.paths import parse_path
from monitor.intake.values import TIMES, count_of, status_of, time_of
from tests.formats.samples import lines, told

if TYPE_CHECKING:
    from pathlib import Path

OWN = """\
name: own
title: Our own gateway
ids: gateway
ids_note: it makes them itself
authenticated: {auth.ok: true}
authenticated_note: says so
inbound_identity: strips them
events: "batch[*]"
nulls: ["-", none]
only_when: {kind: [access, read]}
secrets: {req.headers: [x-api-key]}
secrets_remedy: do not log it
fields:
  time: {path: at, as: [epoch_us, rfc3339]}
  status: {path: outcome, map: {ok: 200, denied: 403, "*": 500}}
  id: id
  principal: [auth.client, {path: auth.key, hash: sha256}]
  principal_kind: [{constant: session, when: {auth.kind: s}}, {constant: api_key}]
  realm: realm
  object: 'what."record.id"'
  patients:
    - {path: "who[*]", patient: id, tenant: practice}
    - {path: header, split: ",", tenant_before: "/"}
  tenant: "tags[name=tenant].value"
  client_ip: "ips[-1]"
  method: {kafka_header: x-method}
  path: req.path
  query: req.query
  bytes: size
  gateway: {constant: own-1}
"""


def own(tmp_path: Path, text: str = OWN, name: str = "own.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def faults(*paths: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        Catalogue(paths)
    return [str(fault) for fault in caught.value.faults]


def test_everything_that_a_format_can_say(tmp_path: Path) -> None:
    secrets: list[str] = []
    decode = Catalogue([own(tmp_path)])["own"].decoder("here", note_secret=secrets.append)
    event: dict[str, Any] = {
        "kind": "access",
        "at": 1_772_359_200_250_999,
        "outcome": "ok",
        "id": "e-1",
        "auth": {"ok": True, "client": "none", "key": "SECRET", "kind": "s"},
        "realm": "there",
        "what": {"record.id": 4711},
        "who": [{"id": "p-1", "practice": "a"}, {"id": "p-2"}, {"id": "-"}, {}],
        "header": "x/p-9",
        "tags": [{"name": "other", "value": "no"}, {"name": "tenant", "value": "b"}],
        "ips": ["10.0.0.1", "192.0.2.1"],
        "req": {"path": "/x", "query": "a=1", "headers": {"x-api-key": "SECRET"}},
        "size": "12",
    }
    second = {
        **event,
        "who": [],
        "header": "a/p-3, p-4,-",
        "outcome": "odd",
        "auth": {"ok": False, "client": "c"},
    }
    value = orjson.dumps({"batch": [event, second, {"kind": "heartbeat"}]})
    assert [told(one) for one in decode(value, [("x-method", b"GET")])] == [
        {
            "time_ms": 1_772_359_200_250,
            "realm": "there",
            "status": 200,
            "event_id": "e-1",
            "principal": "sha256:" + "0917b13a9091915d54b6336f45909539cce452b3661b21f386418a257883b30a",
            "principal_kind": "session",
            "object": "4711",
            "patients": [["p-1", "a"], ["p-2", "b"]],
            "tenant": "b",
            "client_ip": "192.0.2.1",
            "method": "GET",
            "bytes": 12,
            "gateway": "own-1",
        },
        {
            "time_ms": 1_772_359_200_250,
            "realm": "there",
            "status": 500,
            "event_id": "e-1",
            "object": "4711",
            "patients": [["p-3", "a"], ["p-4", "b"]],
            "tenant": "b",
            "client_ip": "192.0.2.1",
            "method": "GET",
            "bytes": 12,
            "gateway": "own-1",
        },
    ]
    assert secrets == ["req.headers.x-api-key", "auth.key", "req.headers.x-api-key"]


def test_a_format_can_change_some_fields_of_another(tmp_path: Path) -> None:
    text = """\
name: our-kong
extends: kong-http-log
fields:
  tenant: response.headers.x-practice
  principal: consumer.custom_id
"""
    form = Catalogue([own(tmp_path, text)])["our-kong"]
    record = orjson.loads(lines("kong-http-log")[0])
    record["consumer"]["custom_id"] = "c-1"
    record["response"]["headers"]["x-practice"] = "practice-8"
    (event,) = form.decoder("r")(orjson.dumps(record))
    assert (event.principal, event.tenant, event.status) == ("c-1", "practice-8", 200)
    assert form.ids_are_gateways


def test_all_faults_of_a_file_at_once_with_their_lines(tmp_path: Path) -> None:
    text = """\
name: Own
title: x
ids: mine
ids_note: y
authenticated: sometimes
authenticated_note: z
inbound_identity: z
colour: red
fields:
  time: {path: "a[", as: epoch_ms}
  status: {path: a, constant: 1}
  principle: x
"""
    found = "\n".join(faults(own(tmp_path, text)))
    for part in (
        "own.yaml:1 name:",
        "own.yaml:3 ids:",
        "own.yaml:5 authenticated",
        "own.yaml:8 colour: there is no such setting",
        "own.yaml:10 fields.time",
        "a bracket is not closed",
        "own.yaml:11 fields.status",
        "expected one of path, kafka_header and constant",
        "own.yaml:12 fields.principle: there is no such setting",
    ):
        assert part in found, found


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("  time: {path: at, as: [epoch_us, rfc3339]}\n", ""), "fields.time: is required"),
        (("as: [epoch_us, rfc3339]", "as: fortnights"), "no 'fortnights'"),
        (("{path: at, as: [epoch_us, rfc3339]}", "at"), "say how it is written"),
        (("  bytes: size", "  bytes: {path: size, split: ','}"), "only patients are split"),
        (
            ("  object: 'what.\"record.id\"'", "  object: {path: a, hash: sha256}"),
            "only a principal is hashed",
        ),
        (("secrets_remedy: do not log it\n", ""), "secrets_remedy"),
        (("{constant: api_key}", "{constant: badge}"), "principal_kind: expected one of"),
        (("authenticated: {auth.ok: true}", "authenticated: {}"), "at least one condition"),
        (("{auth.ok: true}", "{'auth..ok': true}"), "expected a key"),
        (("hash: sha256", "hash_unless: '('"), "not a pattern that RE2 reads"),
        (("name: own", "name: kong-http-log"), "there is a format 'kong-http-log' already"),
        (("name: own", "name: canonical"), "there is a format 'canonical' already"),
        (("ids: gateway", "ids: gateway\nids: none"), "ids: stands twice"),
        (("name: own", "name: own\nextends: nope"), "no format 'nope' to extend"),
        (("name: own", "name: own\nextends: own"), "extends itself"),
        (("title: Our own gateway", "title: ["), "not YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: tuple[str, str], problem: str) -> None:
    assert change[0] in OWN
    assert problem in "\n".join(faults(own(tmp_path, OWN.replace(*change))))


def test_faults_of_several_files_come_together(tmp_path: Path) -> None:
    found = faults(own(tmp_path, "name: a"), own(tmp_path, "name: b", "b.yaml"), tmp_path / "none.yaml")
    assert any("own.yaml" in fault for fault in found) or any("none.yaml" in fault for fault in found)
    found = faults(own(tmp_path, "name: a"), own(tmp_path, "name: b", "b.yaml"))
    assert any(fault.startswith("own.yaml") for fault in found)
    assert any(fault.startswith("b.yaml") for fault in found)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("a.", "expected a key at character 3"),
        (".a", "expected a key at character 1"),
        ("a b", "expected a dot or a bracket at character 2"),
        ("[0]", "begins with a bracket"),
        ("a[b]", "is none of"),
        ("a[x[0]=1]", "is none of"),
        ("a[=1]", "empty"),
    ],
)
def test_a_path_that_cannot_be(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_path(text)


keys = st.text(st.sampled_from('ab.[]" '), min_size=1, max_size=4).filter(lambda key: '"' not in key)


@given(st.lists(keys, min_size=1, max_size=4), st.integers() | st.text())
def test_a_path_of_keys_finds_what_stands_there(names: list[str], value: object) -> None:
    document: Any = value
    for name in reversed(names):
        document = {name: document, "other": 1} if name != "other" else {name: document}
    assert parse_path(".".join(f'"{name}"' for name in names)).values(document) == [value]
    assert parse_path(".".join(f'"{name}"' for name in [*names, "more"])).values(document) == []


TIME_MS = 1_772_359_200_250


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epoch_s", 1_772_359_200.25),
        ("epoch_s", "1772359200.250"),
        ("epoch_s", "1772359200.2509999"),
        ("epoch_ms", TIME_MS),
        ("epoch_ms", f"0{TIME_MS}"),
        ("epoch_ms", TIME_MS + 0.75),
        ("epoch_us", TIME_MS * 1000 + 999),
        ("epoch_ns", str(TIME_MS * 1_000_000 + 999_999)),
        ("epoch_ns", TIME_MS * 1_000_000),
        ("rfc3339", "2026-03-01T10:00:00.25Z"),
        ("rfc3339", "2026-03-01 11:00:00.250999999+01:00"),
        ("rfc3339", "2026-03-01t10:00:00.250+00:00"),
    ],
)
def test_every_way_to_write_a_time(name: str, value: object) -> None:
    assert time_of((name,))(value) == TIME_MS
    assert time_of(("rfc3339", "epoch_ns", name))(value) == TIME_MS


@given(st.integers(946_684_800_000, 253_402_300_799_999))
def test_times_are_read_to_the_millisecond(time_ms: int) -> None:
    assert TIMES["epoch_ms"](time_ms) == TIMES["epoch_ms"](str(time_ms)) == time_ms
    assert TIMES["epoch_us"](time_ms * 1000) == TIMES["epoch_ns"](time_ms * 1_000_000) == time_ms
    assert TIMES["epoch_s"](f"{time_ms // 1000}.{time_ms % 1000:03}") == time_ms
    if time_ms < 4_102_444_800_000:  # as long as a float holds microseconds
        assert TIMES["epoch_s"](time_ms / 1000) == time_ms


@pytest.mark.parametrize("name", sorted(TIMES))
@pytest.mark.parametrize(
    "value",
    [
        True,
        [],
        {},
        "",
        "x",
        "-1",
        "1e9",
        "\u0661\u0662",
        float("inf"),
        10**40,
        -7,
        "9" * 40,
        "2026-03-01T10:00:00",
        "1.",
        5,
    ],
)
def test_what_is_no_time(name: str, value: object) -> None:
    with pytest.raises(ValueError, match="expected a time after the year 2000"):
        time_of((name,))(value)


def test_a_unit_that_is_mixed_up_is_found_out() -> None:
    """Seconds read as milliseconds are 1970, and milliseconds as seconds are after 9999."""
    for name, value in (("epoch_ms", 1_772_359_200), ("epoch_s", TIME_MS), ("epoch_us", TIME_MS)):
        with pytest.raises(ValueError, match="after the year 2000"):
            time_of((name,))(value)


def test_a_time_that_is_not_set_is_absent() -> None:
    assert time_of(("epoch_ns",))("0") is None


@given(st.integers() | st.floats() | st.text(max_size=6) | st.booleans() | st.none())
def test_numbers_are_in_their_bounds_or_refused(value: object) -> None:
    for parser, most in ((status_of, 999), (count_of, 2**53)):
        try:
            number = parser(value)
        except ValueError:
            continue
        assert 0 <= number <= most
        assert type(number) is int
        assert not isinstance(value, bool)
