"""`monitor rules test`: what cases may say, what they catch, and how a wrong file is reported."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from monitor.cli import cli
from monitor.errors import ConfigurationError
from tests.rulebook.sigma_texts import READ, correlation

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

RULES = f"{READ}---\n{correlation(condition='{field: patient, gte: 3}')}"
EVENTS = "[{at: 0s, every: 10s, times: 3, principal: partner-1, patient: 'p-{n}', method: GET}]"
FOUND = "{rule: Many, subject: partner-1, at: 20s, value: 3}"


def case(expect: str, events: str = EVENTS, name: str = "three patients", **parts: str) -> str:
    lines = "".join(f"    {key}: {value}\n" for key, value in parts.items())
    return f"cases:\n  - name: {name}\n    events: {events}\n    expect: {expect}\n{lines}"


def run(folder: Path, text: str, *options: str) -> Result:
    (folder / "many.yml").write_text(RULES, encoding="utf-8")
    (folder / "many.test.yml").write_text(text, encoding="utf-8")
    return CliRunner().invoke(cli, ["rules", "test", str(folder / "many.yml"), *options])


@pytest.mark.parametrize(
    "expect",
    [
        f"{{exactly: [{FOUND}]}}",
        "{exactly: [{rule: 5e5a3daa}]}",
        "{exactly: 1}",
        "{at_least: 1, at_most: 1}",
        "{at_least: [{subject: partner-1, straggler: false}]}",
    ],
)
def test_a_case_that_holds_passes(tmp_path: Path, expect: str):
    result = run(tmp_path, case(expect))
    assert (result.exit_code, result.stdout) == (
        0,
        f"passed  {tmp_path}/many.test.yml: three patients\n1 passed, 0 failed\n",
    )


@pytest.mark.parametrize(
    ("expect", "problem"),
    [
        ("none", "found, and not expected: Many: partner-1 read 3 different patients"),
        ("{exactly: [{at: 21s}]}", "not found: at_ms"),
        (f"{{exactly: [{FOUND}, {{rule: Many}}]}}", "not found: rule"),
        ("{exactly: 2}", "at least 2 findings expected, 1 found"),
        ("{at_least: [{subject: partner-2}]}", "not found: subject partner-2"),
        ("{at_most: 0}", "at most 0 findings expected, 1 found"),
        ("{at_least: [{value: 4}]}", "not found: value 4"),
        ("{at_least: [{straggler: true}]}", "not found: straggler True"),
    ],
)
def test_a_case_that_does_not_hold_says_what_came(tmp_path: Path, expect: str, problem: str):
    result = run(tmp_path, case(expect))
    assert result.exit_code == 1
    assert f"FAILED  {tmp_path}/many.test.yml:2: three patients" in result.stdout
    assert problem in result.stdout
    assert "there was: Many (5e5a3daa): partner-1 read 3 different patients" in result.stdout


def test_a_rule_about_a_category_finds_what_the_routes_name_so(tmp_path: Path):
    """The category comes from the path's template, or that of the route that the gateway names."""
    (tmp_path / "routes.yaml").write_text(
        "routes:\n"
        "- {template: '/documents/{patient}', name: '/documents/{id}', category: documents}\n"
        "- {template: '/letters/{patient}', category: letters}\n"
        "- {template: '/other/{patient}'}\n",
        encoding="utf-8",
    )
    (tmp_path / "many.yml").write_text(RULES.replace("method: GET", "category: documents"), encoding="utf-8")
    events = "[{at: 0s, every: 10s, times: 3, principal: partner-1, PLACE}]"
    for place, expect in {
        "path: '/documents/p-{n}?x=1'": f"{{exactly: [{FOUND}]}}",
        "route: '/documents/{id}', patient: 'p-{n}'": f"{{exactly: [{FOUND}]}}",
        "path: '/letters/p-{n}'": "none",
        "path: '/other/p-{n}'": "none",
        "route: '/documents', patient: 'p-{n}'": "none",
    }.items():
        text = "routes: [routes.yaml]\n" + case(expect, events.replace("PLACE", place))
        (tmp_path / "many.test.yml").write_text(text, encoding="utf-8")
        result = CliRunner().invoke(cli, ["rules", "test", str(tmp_path / "many.yml")])
        assert (result.exit_code, result.stdout[:6]) == (0, "passed"), (place, result.stdout)


def test_expected_findings_are_paired_as_well_as_they_can_be(tmp_path: Path):
    """The first entry would take the only finding that the second one can have."""
    events = "[{at: 0s, times: 3, principal: '{p}-1', patient: 'p-{n}', method: GET}, {at: 0s, times: 3, principal: b, patient: 'p-{n}', method: GET}]"
    text = case("{exactly: [{rule: Many}, {subject: a-1}]}", events.replace("{p}", "a"))
    assert run(tmp_path, text).exit_code == 0


def test_late_events_and_statuses_go_the_way_they_go_live(tmp_path: Path):
    late = (
        "{at: 10s, delivered: 30m, every: 1s, times: 3, principal: partner-1, patient: 'q-{n}', method: GET}"
    )
    now = "{at: 25m, principal: partner-1, patient: p, method: GET}"
    expect = "{exactly: [{straggler: true, at: 12s}]}"
    assert run(tmp_path, case(expect, f"[{now}, {late}]")).exit_code == 0

    again = "{at: 1m, every: 1s, times: 3, principal: partner-1, patient: 'p-{n}', method: GET}"
    ended = "{at: 30s, status_of: partner-1, becomes: active}"
    assert run(tmp_path, case("{exactly: 1}", f"[{EVENTS[1:-1]}, {again}]")).exit_code == 0
    assert run(tmp_path, case("{exactly: 2}", f"[{EVENTS[1:-1]}, {ended}, {again}]")).exit_code == 0


def test_people_are_called_in_a_case_what_they_are_called_in_events(tmp_path: Path):
    """Live they are pseudonyms from intake on."""
    who = "principal: dr-smith, principal_kind: account"
    once = f"{{at: 0s, every: 10s, times: 3, {who}, patient: 'p-{{n}}', method: GET}}"
    ended = "{at: 30s, status_of: dr-smith, becomes: active}"
    again = once.replace("0s", "1m", 1)
    found = "{subject: dr-smith, at: 20s}"
    assert run(tmp_path, case(f"{{exactly: [{found}]}}", f"[{once}, {again}]")).exit_code == 0
    both = f"{{exactly: [{found}, {{subject: dr-smith}}]}}"
    assert run(tmp_path, case(both, f"[{once}, {ended}, {again}]")).exit_code == 0


def test_only_the_rules_that_a_file_is_about_count(tmp_path: Path):
    rules = "rules: [many.yml, pack:default]\n"
    assert run(tmp_path, rules + "about: [Many]\n" + case("{exactly: 1}")).exit_code == 0
    other = case("none", about="[One patient is read by many credentials in 10 minutes]")
    assert run(tmp_path, rules + other).exit_code == 0


def test_json_and_junit_hold_every_case_whatever_its_name(tmp_path: Path):
    text = case("none", name='"<b> & \\"]]>\\x01"') + case(f"{{exactly: [{FOUND}]}}").removeprefix("cases:\n")
    report = tmp_path / "report.xml"
    result = run(tmp_path, text, "--junit", str(report), "--json")
    assert result.exit_code == 1
    assert [json.loads(line)["passed"] for line in result.stdout.splitlines()] == [False, True]
    root = ET.fromstring(report.read_bytes())
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    first, second = root.findall("./testsuite/testcase")
    assert first.get("name") == '<b> & "]]>\ufffd'
    assert "found, and not expected" in str(first.find("failure").get("message"))  # type: ignore[union-attr]
    assert second.find("failure") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("case: []\n", "'case' is not a key here"),
        ("cases: []\n", "cases: missing, or no list of cases"),
        ("rules: 5\n" + case("none"), "rules: expected a list of paths"),
        ("rules: [gone.yml]\n" + case("none"), "gone.yml: no such file or folder"),
        ("routes: 5\n" + case("none"), "routes: expected a list of paths"),
        ("routes: [gone.yaml]\n" + case("none"), "gone.yaml: cannot be read"),
        ("now: yesterday\n" + case("none"), "now: expected a time with its zone"),
        ("classes: [x]\n" + case("none"), "classes: expected credentials with a class each"),
        ("about: [Manny]\n" + case("none"), "about: no such rule (rules are: Many)"),
        (case("none", name="5"), "cases[0].name: missing, or no text"),
        (case("some"), "cases[0].expect: missing, or nothing expected"),
        (case("{at_most: [x]}"), "cases[0].expect.at_most: expected a number"),
        (case("{exactly: [{wen: 5s}]}"), "cases[0].expect.exactly[0].wen: 'wen' is not a key here"),
        (case("{exactly: [{value: x}]}"), "cases[0].expect.exactly[0].value: expected a int"),
        (case("none", "5"), "cases[0].events: expected a list of events"),
        (case("none", "[{principal: p}]"), "cases[0].events[0].at: missing"),
        (case("none", "[{at: soon}]"), "cases[0].events[0].at: no length of time (such as 30s or 1h30m)"),
        (case("none", "[{at: 0s, times: 0}]"), "cases[0].events[0].times: expected a whole number"),
        (case("none", "[{at: 0s, statuss: 5}]"), "cases[0].events[0]: no event: record: a field that"),
        (case("none", "[{at: 0s, tenant: !!binary aGk=}]"), "no event: a value that JSON does not have"),
        (case("none", "[{at: 0s, status: x}]"), "cases[0].events[0]: no event: status: expected int"),
        (
            case("none", "[{at: 0s, status_of: p, becomes: gone}]"),
            "becomes: expected one of active, suspended",
        ),
    ],
)
def test_each_fault_of_a_test_file_names_its_place(tmp_path: Path, text: str, expected: str):
    result = run(tmp_path, text)
    assert isinstance(result.exception, ConfigurationError)
    assert expected in str(result.exception)


def test_a_path_without_tests_is_a_fault(tmp_path: Path):
    (tmp_path / "alone.yml").write_text(RULES, encoding="utf-8")
    paths = [str(tmp_path / "alone.yml"), str(tmp_path / "gone.yml")]
    result = CliRunner().invoke(cli, ["rules", "test", *paths])
    assert isinstance(result.exception, ConfigurationError)
    assert [fault.problem for fault in result.exception.faults] == [
        "no test file beside it or in it",
        "no such file or folder",
    ]
