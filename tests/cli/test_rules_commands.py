"""`monitor rules` without a broker: what is read from files, shown, and said in words."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from monitor.cli.lazy import LazyGroup
from monitor.cli.rule_changes import plain_difference, print_difference
from monitor.cli.rule_words import allow_list_warnings, condition, field_text, finds, response, span
from monitor.cli.rules import COMMANDS, command
from monitor.core.rules import AllOf, AllowList, AnyOf, Base, Match, Negation, Rule, RuleSet
from monitor.response.difference import difference

if TYPE_CHECKING:
    from pathlib import Path

RULES = """\
title: A read
id: 11111111-1111-4111-8111-111111111111
name: a_read
logsource: {product: access-monitor, category: api_access}
detection: {any: {status|gte: 200}, condition: any}
---
title: Another read
id: 44444444-4444-4444-8444-444444444444
name: another_read
logsource: {product: access-monitor, category: api_access}
detection: {any: {status|lt: 200}, condition: any}
---
title: Many reads
id: 22222222-2222-4222-8222-222222222222
name: many_reads
description: What nobody does.
references: [https://owasp.org/]
correlation: {type: event_count, rules: [a_read], group-by: [principal], timespan: 1m, condition: {gte: 50}}
falsepositives: [A nightly copy.]
level: high
response: {action: suspend, ttl: 24h}
runbook: docs/runbooks.md#many
---
title: Many reads of one patient
id: 23333333-3333-4333-8333-333333333333
correlation: {type: event_count, rules: [a_read], group-by: [patient], timespan: 1m, condition: {gte: 9}}
"""
FILTER = """\
---
title: Nightly copy
id: 55555555-5555-4555-8555-555555555555
owner: Integration team
expires: 2020-01-01
logsource: {product: access-monitor, category: api_access}
filter: {rules: [a_read], who: {principal: copy-1}, condition: not who}
"""
DAY_MS = 86_400_000


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "own.yml").write_text(RULES, encoding="utf-8")
    return str(tmp_path / "own.yml")


def run(*arguments: str) -> Any:
    return CliRunner().invoke(command, list(arguments))


# The group


def test_help_names_the_commands_without_importing_them():
    said = run("--help").output
    assert all(f"\n  {name} " in said for name in ("check", "list", "show", "diff", "publish", "rollback"))
    assert run("nonsense").exit_code == 2


@pytest.mark.parametrize("name", ["check", "list", "show", "diff", "publish", "rollback", "history"])
def test_each_has_help(name: str):
    done = run(name, "--help")
    assert done.exit_code == 0
    assert len(done.output) > 150
    assert name in COMMANDS


def test_a_group_is_lazy():
    group = LazyGroup("x", modules={"check": ("rules_check", "Checks."), "other": ("no_such_module", "…")})
    context = click.Context(group)
    assert group.list_commands(context) == ["check", "other"]
    assert group.get_command(context, "gone") is None
    found = group.get_command(context, "check")
    assert found is not None


# Files


def test_check_warns_of_allow_lists_that_have_ended(tmp_path: Path, path: str):
    (tmp_path / "own.yml").write_text(RULES + FILTER, encoding="utf-8")
    done = run("check", path)
    assert done.exit_code == 0
    assert "2 rules in 1 files, revision " in done.stdout
    assert "allow-list 'Nightly copy' of Integration team ended at 2020-01-0" in done.stderr
    answer = json.loads(run("check", "--json", path).stdout)
    assert len(answer["warnings"]) == 1


def test_list_of_files_needs_no_configuration(path: str):
    lines = run("list", path).output.splitlines()
    assert len(lines) == 3
    assert "50 events per principal in 1m" in lines[1]
    first = json.loads(run("list", "--json", path).output.splitlines()[0])
    assert (first["title"], first["action"], first["ttl_ms"]) == ("Many reads", "suspend", DAY_MS)


@pytest.mark.parametrize("called", ["222", "many_reads", "Many reads", "many READS"])
def test_show_finds_a_rule_by_what_it_is_called(path: str, called: str):
    said = run("show", called, path).output
    for part in (
        "Many reads\n",
        "finds            50 events per principal in 1m",
        "counts events    status ≥ 200",
        "response         suspend 1d, enforce",
        "description      What nobody does.",
        "false positives  A nightly copy.",
        "references       https://owasp.org/",
        "runbook          docs/runbooks.md#many",
        f"# {path}:13\ntitle: Many reads\n",
        f"# {path}:1\ntitle: A read\n",
    ):
        assert part in said
    assert "Another read" not in said
    assert "one patient" not in said


def test_show_includes_the_filters_on_what_it_counts(tmp_path: Path, path: str):
    (tmp_path / "own.yml").write_text(RULES + FILTER, encoding="utf-8")
    said = run("show", "many_reads", path).output
    assert "owner: Integration team" in said
    assert "time ≥ 2020-01-0" in said


@pytest.mark.parametrize(
    ("called", "problem"),
    [("2", "2 rules are called so"), ("read", "2 rules are called so"), ("zzz", "no rule is called so")],
)
def test_show_says_what_there_is(path: str, called: str, problem: str):
    done = run("show", called, path)
    assert done.exit_code == 2
    assert problem in done.output
    assert "22222222 Many reads; 23333333 Many reads of one patient" in done.output


# Words

MATCH = Match("status", "gte", 200)
RULE = Rule("r-1", "Many", "value_count", MATCH, ("principal",), 600_000, 1_000, counted="patient")


def test_a_rule_in_words():
    assert finds(RULE) == "1,000 different patients per principal in 10m"
    total = replace(RULE, kind="value_sum", counted="records", group_by=("principal", "tenant"))
    assert finds(total) == "1,000 records in all per principal and tenant in 10m"
    assert response(replace(RULE, action="suspend", ttl_ms=DAY_MS)) == "suspend 1d"
    assert [span(value) for value in (30 * DAY_MS, 90_000, 1_500)] == ["30d", "90s", "1500ms"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (Match("patient", "exists", value=True), "patient is there"),
        (Match("patient", "exists", value=False), "patient is absent"),
        (Match("route", "startswith", "/a"), "route starts with '/a'"),
        (
            AllOf((MATCH, AnyOf((MATCH, Negation(MATCH))))),
            "status ≥ 200 and (status ≥ 200 or not status ≥ 200)",
        ),
        (Negation(AllOf((MATCH, MATCH))), "not (status ≥ 200 and status ≥ 200)"),
        (Match("time", "lt", 0), "time < 1970-01-01 00:00:00Z"),
        (AllOf(()), "every event"),
        (AnyOf(()), "no event"),
    ],
    ids=str,
)
def test_a_condition_in_words(given: Any, words: str):
    assert condition(given) == words


def test_the_fields_of_a_rule_in_words():
    bases = (Base(MATCH, ("principal", "object")), Base(MATCH, ("principal", "patient")))
    assert (
        field_text("aliases", bases)
        == "status ≥ 200 by principal, object; status ≥ 200 by principal, patient"
    )
    assert field_text("ttl_ms", None) == "none"
    assert field_text("falsepositives", ("a", "b")) == "a, b"


def test_an_allow_list_is_warned_of_two_weeks_before_its_end():
    def warned(days: float) -> str:
        entry = AllowList("a", "Copy", "ops", int(100 * DAY_MS))
        return "".join(allow_list_warnings(RuleSet((), (entry,)), int((100 - days) * DAY_MS)))

    assert warned(15) == ""
    assert warned(14) == "allow-list 'Copy' of ops ends at 1970-04-11 00:00:00Z, in 14 days"
    assert warned(1.5).endswith("in 36 hours")
    assert "ended" in warned(0)
    assert "ended" in warned(-1)


def test_a_difference_in_words_and_as_json(capsys: pytest.CaptureFixture[str]):
    classes = {f"gate/c-{number:02}": "partner" for number in range(25)}
    before = RuleSet((RULE, replace(RULE, id="r-2", title="Old")), (AllowList("a", "Copy", "ops", 0),))
    long = AnyOf(tuple(Match("route", "eq", f"/some/longer/route/{number}") for number in range(3)))
    changed = replace(RULE, threshold=40, condition=long, timespan_ms=60_000)
    after = RuleSet((changed, replace(RULE, id="r-3")), (AllowList("a", "Copy", "it", DAY_MS),), classes)
    found = difference(before, after)
    print_difference(found, after)
    lines = capsys.readouterr().out.splitlines()
    for line in (
        "+ rule r-3 'Many': 1,000 different patients per principal in 10m, alert, shadow",
        "- rule r-2 'Old': 1,000 different patients per principal in 10m, alert, shadow",
        "~ rule r-1 'Many'",
        "    threshold: 1,000 → 40",
        "    timespan: 10m → 1m",
        "    condition:",
        "      - status ≥ 200",
        "    its window starts anew: warming for 1m",
        "    its window stays",
        "    owner: ops → it",
        "    expires: 1970-01-01 00:00:00Z → 1970-01-02 00:00:00Z",
        "~ credential gate/c-00: default class → partner",
        "~ and 5 more credentials change their class",
    ):
        assert line in lines
    plain = json.loads(json.dumps(plain_difference(found, after)))
    (change,) = plain["rules"]["changed"]
    assert change["changes"]["threshold"] == [1000, 40]
    assert change["changes"]["condition"][0] == ["status", "gte", 200, False]
    assert (change["window"], change["warming_ms"]) == ("anew", 60_000)
    assert plain["classes"]["gate/c-24"] == [None, "partner"]
    assert len(plain["warnings"]) == 1
