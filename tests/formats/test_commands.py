"""`monitor formats`: the first tool of a newcomer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import orjson
import pytest
from click.testing import CliRunner, Result

from monitor.cli import cli
from monitor.errors import ConfigurationError
from monitor.intake.formats import FORMATS
from monitor.intake.survey import Watching
from tests.formats.samples import FIXTURES, NAMES, expected, lines

if TYPE_CHECKING:
    from pathlib import Path

ROUTES = str(FIXTURES / "routes.yaml")


def run(*arguments: object, text: bytes | None = None) -> Result:
    return CliRunner().invoke(cli, ["formats", *map(str, arguments)], input=text, catch_exceptions=False)


def test_list_names_all_formats_and_envelopes() -> None:
    shown = run("list").output
    listed = json.loads(run("list", "--json").output)
    assert [entry["name"] for entry in listed["formats"]] == list(FORMATS)
    assert {entry["name"] for entry in listed["envelopes"]} == {"cloudevents", "fluent-bit", "rsyslog"}
    assert all(name in shown for name in FORMATS)


@pytest.mark.parametrize("name", list(FORMATS))
def test_show_says_where_each_field_is(name: str) -> None:
    shown = run("show", name)
    assert shown.exit_code == 0
    if name != "canonical":
        for word in ("Event ids", "Authenticated", "Forged headers", "time ", "status "):
            assert word in shown.output


def test_show_goes_through_envelopes() -> None:
    assert "Fluent Bit" in run("show", "fluent-bit+nginx").output
    assert "request_id" in run("show", "fluent-bit+nginx").output


@pytest.mark.parametrize("name", NAMES)
def test_try_shows_what_the_fixture_of_each_format_becomes(name: str) -> None:
    result = run("try", name, FIXTURES / f"{name}.jsonl", "--routes", ROUTES, "--raw", "--json")
    assert result.exit_code == 0, result.output
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert [len(entry["events"]) for entry in told] == [len(events) for events in expected(name)]
    for entry, events in zip(told, expected(name), strict=True):
        for shown, event in zip(entry["events"], events, strict=True):
            assert shown["status"] == event["status"]
            assert len(shown.get("patients", [])) == len(event.get("patients", []))
            assert shown.get("credential", "").startswith("default/" if "realm" not in event else "")
    assert "SECRET" not in result.output


def test_try_cuts_ids_short_unless_it_is_told_otherwise() -> None:
    path = FIXTURES / "envoy.jsonl"
    result = run("try", "envoy", path)
    assert "p-…(7) of practice-3" in result.output
    assert "p-20391" not in result.output
    assert "192.0.2.17" not in result.output
    assert "p-20391 of practice-3" in run("try", "envoy", path, "--raw").output


def test_try_says_where_and_why_not() -> None:
    text = b'{"time":"now","status":200}\n\n{"time":"2026-03-01T10:00:00Z"}\n[1]\n{"started_at": \n'
    result = run("try", "envoy", "-", text=text)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "line 1: rejected, bad_value: time: expected a time after the year 2000, as rfc3339 or epoch_s",
        "line 3: rejected, missing: status: required, at status or response_code",
        "line 4: rejected, wrong_type: record: expected an object, got a list",
        "line 5: rejected, not_json: record: expected one well-formed JSON value",
    ]
    assert "4 line(s) cannot be read" in result.stderr


def test_try_names_the_event_of_a_batch_and_the_secrets() -> None:
    batch = orjson.dumps([{"started_at": 1}, orjson.loads(lines("kong-http-log")[0])])
    result = run("try", "kong-http-log", "-", text=batch)
    assert "line 1, event 1 of the batch: rejected, bad_value: time" in result.output
    assert result.exit_code == 1
    result = run("try", "kong-http-log", FIXTURES / "kong-http-log.jsonl")
    assert "request.headers.apikey holds a secret in 1 record(s): dropped" in result.stderr


def test_no_control_character_reaches_the_terminal() -> None:
    record = orjson.loads(lines("envoy")[0])
    for name in ("patient", "object", "tenant", "method", "route", "gateway", "client_ip"):
        record[name] = "\x1b[2J\x07\r\u202e" + name
    for option in ((), ("--raw",), ("--json", "--raw")):
        shown = run("try", "envoy", "-", *option, text=orjson.dumps(record)).output
        assert all(letter.isprintable() or letter == "\n" for letter in shown)


def test_an_own_format_and_own_routes(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("name: own\nextends: envoy\nfields: {tenant: org}\n", encoding="utf-8")
    record = {**orjson.loads(lines("envoy")[0]), "org": "o-1"}
    result = run("try", "own", "-", "--formats", tmp_path / "own.yaml", text=orjson.dumps(record))
    assert "tenant     o-1" in result.output
    with pytest.raises(ConfigurationError, match="no format 'own'"):
        run("try", "own", "-", text=b"")


def test_coverage_counts_what_successful_events_name() -> None:
    path = FIXTURES / "nginx.jsonl"
    result = run("coverage", "--format", "nginx", path, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert (found["records"], found["events"], found["successes"]) == (3, 3, 2)
    assert found["shares"] == {"principal": 1.0, "patient": 1.0, "tenant": 1.0, "route": 0.0}
    failed = run("coverage", "--format", "nginx", path, "--min", "route=0.5", "--min", "patient=1")
    assert failed.exit_code == 1
    assert "route is named in 0.0% of successful events, below 50.0%" in failed.stderr
    assert "patient is named" not in failed.stderr
    routed = run("coverage", "--format", "nginx", path, "--routes", ROUTES, "--min", "route=0.5", "--json")
    assert routed.exit_code == 0
    assert json.loads(routed.stdout)["unmatched"] == [{"path": "/{…}", "events": 1}]
    assert json.loads(routed.stdout)["categories"] == {"appointments": 1}


def test_coverage_of_a_source_takes_its_settings(tmp_path: Path) -> None:
    (tmp_path / "monitor.yaml").write_text(
        f"""
kafka: {{bootstrap_servers: ["127.0.0.1:1"]}}
privacy: {{key_file: nowhere}}
sources:
  - {{name: gate, topic: gate, format: nginx, realm: r, routes: ["{ROUTES}"], coverage: {{tenant: 1, route: 0.9}}}}
""",
        encoding="utf-8",
    )
    result = run("coverage", "-c", tmp_path / "monitor.yaml", FIXTURES / "nginx.jsonl")
    assert result.exit_code == 1
    assert "route is named in 50.0% of successful events, below 90.0%" in result.stderr
    assert (
        run(
            "coverage", "-c", tmp_path / "monitor.yaml", FIXTURES / "nginx.jsonl", "--min", "route=0.5"
        ).exit_code
        == 0
    )


def test_coverage_of_nothing_fails() -> None:
    assert run("coverage", "--format", "nginx", "-", text=b"").exit_code == 1
    assert run("coverage", "--format", "nginx", "-", "--min", "colour=1", text=b"").exit_code == 2
    assert run("coverage", "-", text=b"").exit_code == 2


def test_paths_are_shown_most_frequent_first_without_ids_or_names() -> None:
    watching = Watching(None)
    for number in range(300):
        watching(f"/patients/{number}/letters?secret={number}")
    for name in ("dupont", "martin", "smith", "O'Neil"):
        watching(f"/patients/{name}/letters")
    for _ in range(50):
        watching("/v2/health")
    assert watching.masked() == [("/patients/{…}/letters", 304), ("/v2/health", 50)]


def test_a_crawler_does_not_fill_the_memory() -> None:
    watching = Watching(None)
    for number in range(60_000):
        watching(f"/{number}/" + "x" * 5000)
    assert len(watching.unmatched) == 50_000
    assert max(sum(map(len, parts)) for parts in watching.unmatched) <= 2000
