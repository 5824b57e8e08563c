"""Rule files become the core's rules, or one list of all that is wrong in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from monitor.core.rules import (
    AllOf,
    AnyOf,
    Match,
    Negation,
)
from monitor.errors import ConfigurationError
from monitor.rulebook import load_rules

if TYPE_CHECKING:
    from pathlib import Path

    from monitor.core.rules import Condition, Rule

BASE = """\
title: A read
id: 3c1d0a0c-2f5e-4f0a-8b8f-5a7c0a7d2e11
name: read
logsource: {product: access-monitor, category: api_access}
detection:
  reading:
    status|gte: 200
    status|lt: 300
  condition: reading
"""
RULE = """\
title: Many patients
id: 5e5a3d3e-6f0b-4d6a-9c55-1f0e6b8a7c02
correlation:
  type: value_count
  rules: [read]
  group-by: [principal]
  timespan: 10m
  condition: {field: patient, gte: 200}
level: high
response: {action: suspend, ttl: 24h}
"""
READ = AllOf((Match("status", "gte", 200), Match("status", "lt", 300)))


def write(folder: Path, *documents: str) -> Path:
    path = folder / "rules.yml"
    path.write_text("---\n".join(documents), encoding="utf-8")
    return path


def only_rule(folder: Path, *documents: str) -> Rule:
    (rule,) = load_rules([write(folder, *documents)]).rule_set.rules
    return rule


def faults_of(folder: Path, *documents: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_rules([write(folder, *documents)])
    assert caught.value.exit_code == 78
    return [str(fault).removeprefix(f"{folder}/") for fault in caught.value.faults]


def condition_of(folder: Path, detection: str) -> Condition:
    base = BASE.split("detection:", maxsplit=1)[0] + "detection:\n" + detection
    return only_rule(folder, base, RULE).condition


def test_a_rule_is_read_whole(tmp_path: Path) -> None:
    rule = only_rule(tmp_path, BASE, RULE)
    assert rule.id == "5e5a3d3e-6f0b-4d6a-9c55-1f0e6b8a7c02"
    assert (rule.kind, rule.counted, rule.group_by) == ("value_count", "patient", ("principal",))
    assert (rule.timespan_ms, rule.threshold) == (600_000, 200)
    assert (rule.level, rule.action, rule.ttl_ms) == ("high", "suspend", 86_400_000)
    assert rule.condition == READ
    assert rule.revision


def test_a_rule_enforces_unless_it_says_shadow_and_alerts_unless_it_says_more(tmp_path: Path) -> None:
    """The ceiling `response.mode` is what holds a new installation back, not each rule."""
    assert only_rule(tmp_path, BASE, RULE).mode == "enforce"
    plain = only_rule(tmp_path, BASE, RULE.rsplit("response", 1)[0])
    assert (plain.action, plain.mode, plain.ttl_ms) == ("alert", "enforce", None)
    shadow = RULE.replace("ttl: 24h", "mode: shadow")
    assert only_rule(tmp_path, BASE, shadow).mode == "shadow"


def test_gt_is_one_more_than_gte(tmp_path: Path) -> None:
    assert only_rule(tmp_path, BASE, RULE.replace("gte: 200", "gt: 200")).threshold == 201


@pytest.mark.parametrize(
    ("detection", "expected"),
    [
        ("  a:\n    method: GET\n  condition: a\n", Match("method", "eq", "GET")),
        ("  a:\n    method|cased: GET\n  condition: a\n", Match("method", "eq", "GET", cased=True)),
        ("  a:\n    route: /fhir/*\n  condition: a\n", Match("route", "startswith", "/fhir/")),
        ("  a:\n    route: '*/export'\n  condition: a\n", Match("route", "endswith", "/export")),
        ("  a:\n    route|contains: pat\n  condition: a\n", Match("route", "contains", "pat")),
        ("  a:\n    route: /a\\*b\n  condition: a\n", Match("route", "eq", "/a*b")),
        (
            "  a:\n    route: /a.?/*b\n  condition: a\n",
            Match("route", "re", r"(?is)\A/a\x{2e}./.*b\z", cased=True),
        ),
        ("  a:\n    route|re: ^/v[12]/\n  condition: a\n", Match("route", "re", "^/v[12]/", cased=True)),
        (
            "  a:\n    route|re|i: ^/v[12]/\n  condition: a\n",
            Match("route", "re", "(?i)^/v[12]/", cased=True),
        ),
        (
            "  a:\n    client_ip|cidr: 10.0.0.0/8\n  condition: a\n",
            Match("client_ip", "cidr", "10.0.0.0/8"),
        ),
        (
            "  a:\n    client_ip: 192.0.2.7\n  condition: a\n",
            Match("client_ip", "cidr", "192.0.2.7/32"),
        ),
        ("  a:\n    status: 403\n  condition: a\n", Match("status", "eq", 403)),
        ("  a:\n    patient|exists: true\n  condition: a\n", Match("patient", "exists", value=True)),
        ("  a:\n    tenant: null\n  condition: a\n", Match("tenant", "exists", value=False)),
        (
            "  a:\n    method: [GET, HEAD]\n  condition: a\n",
            AnyOf((Match("method", "eq", "GET"), Match("method", "eq", "HEAD"))),
        ),
        (
            "  a:\n    route|contains|all: [x, y]\n  condition: a\n",
            AllOf((Match("route", "contains", "x"), Match("route", "contains", "y"))),
        ),
        (
            "  a:\n    - method: GET\n    - status: 404\n  condition: a\n",
            AnyOf((Match("method", "eq", "GET"), Match("status", "eq", 404))),
        ),
        (
            (
                "  sel_a:\n    method: GET\n  sel_b:\n    method: HEAD\n  not_me:\n    status: 404\n"
                "  condition: 1 of sel_* and not not_me\n"
            ),
            AllOf(
                (
                    AnyOf((Match("method", "eq", "GET"), Match("method", "eq", "HEAD"))),
                    Negation(Match("status", "eq", 404)),
                )
            ),
        ),
        (
            "  sel_a:\n    method: GET\n  sel_b:\n    status: 200\n  condition: all of sel_*\n",
            AllOf((Match("method", "eq", "GET"), Match("status", "eq", 200))),
        ),
    ],
)
def test_sigma_conditions_become_core_conditions(tmp_path: Path, detection: str, expected: Condition) -> None:
    assert condition_of(tmp_path, detection) == expected


def test_several_base_rules_count_together(tmp_path: Path) -> None:
    other = (
        BASE.replace("A read", "Refused")
        .replace("3c1d0a0c", "3c1d0a0d")
        .replace("name: read", "name: refused")
    )
    other = other.replace("status|gte: 200", "status|gte: 400").replace("status|lt: 300", "status|lt: 500")
    rule = only_rule(tmp_path, BASE, other, RULE.replace("[read]", "[read, refused]"))
    refused = AllOf((Match("status", "gte", 400), Match("status", "lt", 500)))
    assert rule.condition == AnyOf((READ, refused))


def test_a_folder_is_one_name_space_and_its_texts_are_kept(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "base.yaml").write_text(BASE, encoding="utf-8")
    (tmp_path / "a.yml").write_text(RULE, encoding="utf-8")
    (tmp_path / ".hidden.yml").write_text("nonsense", encoding="utf-8")
    loaded = load_rules([tmp_path])
    assert loaded.texts == {f"{tmp_path}/a.yml": RULE, f"{tmp_path}/b/base.yaml": BASE}
    assert [rule.title for rule in loaded.rule_set.rules] == ["Many patients"]


def test_revision_follows_the_meaning_not_the_words(tmp_path: Path) -> None:
    rule = only_rule(tmp_path, BASE, RULE)
    assert only_rule(tmp_path, BASE, RULE.replace("Many", "A lot of")).revision == rule.revision
    changed = only_rule(tmp_path, BASE, RULE.replace("200", "201"))
    assert changed.revision != rule.revision
    assert changed.window_key == rule.window_key


def test_all_faults_are_reported_at_once_with_line_and_path(tmp_path: Path) -> None:
    broken = (
        BASE.replace("status|gte: 200", "stauts|gte: 200\n    route|base64: x").replace(
            "status|lt: 300", "status: '200'\n    patient: p-1"
        ),
        RULE.replace("10m", "40d")
        .replace("gte: 200", "gte: 0")
        .replace("{action: suspend, ttl: 24h}", "{action: revoke, mode: on, ttl: 1h, why: x}")
        .replace("[read]", "[read, raed]"),
    )
    expected = (
        "7 'A read' detection.reading.stauts|gte: no field 'stauts' (do you mean status? fields are:",
        "8 'A read' detection.reading.route|base64: the modifier 'base64' is not supported",
        "9 'A read' detection.reading.status: status is a number (write status: 200, or",
        "10 'A read' detection.reading.patient: patient is a pseudonym behind intake",
        "17 'Many patients' correlation.rules: no base rule 'raed' (base rules are: read)",
        "19 'Many patients' correlation.timespan: longer than 30 days (from 1s to 30d)",
        "20 'Many patients' correlation.condition: a threshold of 0 (gte takes 1 to 100000",
        "22 'Many patients' response.why: not a key of response",
        "22 'Many patients' response.mode: not one of its values (mode is one of: enforce, shadow)",
        "22 'Many patients' response.ttl: a revocation ends only by a person",
    )
    faults = faults_of(tmp_path, *broken)
    assert len(faults) == len(expected), faults
    for fault, start in zip(faults, expected, strict=True):
        assert fault.startswith(f"rules.yml:{start}")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("value_count", "temporal"), "correlation.type: the type temporal is not supported"),
        (("value_count", "nonsense"), "correlation.type: 'nonsense' is no valid Sigma correlation type"),
        (("value_count", "event_count"), "condition.field: event_count counts events, not a field"),
        (("10m", "2w"), "correlation.timespan: the unit 'w' is not supported"),
        (("10m", "0s"), "correlation.timespan: Timespan '0s' must be greater than zero."),
        (("gte: 200", "lt: 200"), "condition: an event can only show that a count is reached"),
        (("gte: 200", "eq: 200"), "condition: a count moves on with the next event"),
        (("gte: 200", "gte: 100001"), "condition: a threshold of 100001"),
        (("gte: 200", "gte: 1.5"), "condition: the count must be a whole number"),
        (("gte: 200", "gte: yes"), "condition: the count must be a whole number"),
        (("gte: 200", "gte: 1, lte: 3"), "must have exactly one condition item"),
        (("field: patient", "field: pateint"), "condition.field: no field 'pateint' (do you mean patient?"),
        (("field: patient, ", ""), "Value count correlation rule without field reference"),
        (("field: patient", "field: principal"), "the rule groups by principal"),
        (("[principal]", "[patient]"), "each group has one patient"),
        (("[principal]", "[status]"), "group-by: status is a number"),
        (("[principal]", "[tenant]"), "response.action: a rule about a tenant cannot suspend a credential"),
        (("  group-by: [principal]\n", ""), "group-by: a rule must say per what it counts"),
        (("[read]", "[many]"), "correlation.rules: no base rule 'many'"),
        (("id: 5e5a3d3e-6f0b-4d6a-9c55-1f0e6b8a7c02\n", ""), "id: missing: a rule is known by its id"),
        (("5e5a3d3e-6f0b-4d6a-9c55-1f0e6b8a7c02", "x"), "id: Sigma rule identifier must be an UUID"),
        (("5e5a3d3e-6f0b-4d6a-9c55-1f0e6b8a7c02", "7"), "id: expected a text"),
        (
            ("5e5a3d3e-6f0b-4d6a-9c55-1f0e6b8a7c02", "3C1D0A0C-2f5e-4f0a-8b8f-5a7c0a7d2e11"),
            "id: the same id as 'A read' in",
        ),
        (("title: Many patients", "title: Many patients\nname: read"), "name: the same name as 'A read' in"),
        (("level: high", "level: hihg"), "level: 'hihg' is not a valid Sigma rule level"),
        (("level: high", "levle: high"), "'levle' is not a key of a rule"),
        (("level: high", "action: repeat"), "global, reset and repeat are not supported"),
        (
            ("  type: value_count", "  type: value_count\n  aliases: [x]"),
            "aliases: expected names with a field",
        ),
        (("  type: value_count", "  type: value_avg"), "the type value_avg is not supported"),
        (("  type: value_count", "  type: value_count\n  type: event_count"), "stands twice"),
        (("action: suspend", "action: block"), "response.action: not one of its values"),
        (("action: suspend, ", ""), "response.action: missing"),
        (("ttl: 24h", "ttl: 24"), "response.ttl: not a time from 1m to 365d"),
        (("action: suspend", "action: alert"), "response.ttl: an alert cuts nobody off"),
    ],
)
def test_each_fault_of_a_correlation_is_clear(tmp_path: Path, change: tuple[str, str], expected: str) -> None:
    assert change[0] in RULE
    faults = faults_of(tmp_path, BASE, RULE.replace(*change))
    assert expected in "\n".join(faults)
    assert len(faults) <= 2, faults


@pytest.mark.parametrize(
    ("detection", "expected"),
    [
        ("  a: word\n  condition: a\n", "a keyword without a field"),
        ("  a: []\n  condition: a\n", "an empty list matches nothing"),
        ("  a: {}\n  condition: a\n", "an empty selection matches everything"),
        ("  a:\n    status|gte: many\n  condition: a\n", "detection.a.status|gte:"),
        ("  a:\n    status|contains: '2'\n  condition: a\n", "status is a number"),
        ("  a:\n    status: 2.5\n  condition: a\n", "status is a whole number"),
        ("  a:\n    principal: 42\n  condition: a\n", "principal is a text, not a number"),
        ("  a:\n    tenant: true\n  condition: a\n", "tenant is a text, not a number"),
        ("  a:\n    object: a-1\n  condition: a\n", "object is a pseudonym behind intake"),
        ("  a:\n    route|re: '(?=x)y'\n  condition: a\n", "not a pattern of RE2"),
        ("  a:\n    route|re: [5]\n  condition: a\n", "a pattern must be a text"),
        ("  a:\n    client_ip: 10.*\n  condition: a\n", "client_ip compares with addresses"),
        ("  a:\n    client_ip|cidr: 10.0.0.1/8\n  condition: a\n", "Invalid CIDR expression"),
        ("  a:\n    client_ip|cidr: 2001:db8::/65\n  condition: a\n", "only the first 64 bits"),
        ("  a:\n    method|cidr: 10.0.0.0/8\n  condition: a\n", "method is no address"),
        ("  a:\n    method: []\n  condition: a\n", "an empty list matches nothing"),
        ("  a:\n    method: {x: 1}\n  condition: a\n", "a value must be a text"),
        ("  a:\n    method: GET\n  condition: a and b\n", "Detection 'b' not defined"),
        ("  a:\n    method: GET\n  condition: a and (\n", "detection.condition:"),
        ("  a:\n    method: GET\n", "at least one condition"),
        ("  a:\n    method: GET\n  condition: a | count() > 5\n", "pipe syntax"),
    ],
)
def test_each_fault_of_a_base_rule_is_clear(tmp_path: Path, detection: str, expected: str) -> None:
    base = BASE.split("detection:", maxsplit=1)[0] + "detection:\n" + detection
    faults = faults_of(tmp_path, base, RULE)
    assert expected in "\n".join(faults)
    assert len(faults) == 1, faults


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no correlation rule"),
        ("a: [", "not YAML"),
        ("- x\n", "rules.yml:1: not a rule"),
        ("title: x\n", "neither a base rule, a correlation nor a filter"),
        ("? [a]\n: b\n", "not YAML"),
        ("a: !!python/object/apply:os.system [x]\n", "not YAML"),
        (BASE.replace("api_access", "web"), "logsource.category: not where access events come from"),
        (
            BASE.replace("logsource: {product: access-monitor, category: api_access}\n", ""),
            "logsource: missing",
        ),
        (BASE + "response: {action: alert}\n", "response: 'response' is not a key of a rule (it belongs"),
        (BASE, "no correlation rule"),
    ],
)
def test_what_is_no_rule_file_is_said_so(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in "\n".join(faults_of(tmp_path, text))


def test_hostile_yaml_is_refused_without_a_traceback(tmp_path: Path) -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)
    )
    assert faults_of(tmp_path, BASE.replace("  condition: reading", "  condition: reading\n") + bomb)
    assert faults_of(tmp_path, "title: " + "[" * 5000)
    for part in ("5", "[1]", "x", "{1: 2}"):
        assert faults_of(tmp_path, f"title: {part}\nid: {part}\ncorrelation: {part}\n")
        assert faults_of(tmp_path, f"title: {part}\nname: {part}\nlogsource: {part}\ndetection: {part}\n")
        assert faults_of(tmp_path, f"title: {part}\nlogsource: {part}\nfilter: {part}\n")
        for key in ("level", "response", "date", "status"):
            assert faults_of(tmp_path, BASE, RULE.rsplit("level", 1)[0] + f"{key}: {part}\n")
        for key in ("type", "rules", "group-by", "timespan", "condition", "aliases"):
            assert faults_of(
                tmp_path, BASE, RULE.replace("  type: value_count", f"  type: value_count\n  {key}: {part}")
            )


def test_words_of_a_wrong_type_are_faults(tmp_path: Path) -> None:
    for key in ("falsepositives", "description", "runbook", "references", "author", "tags"):
        (fault,) = faults_of(tmp_path, BASE, f"{RULE}{key}: 5\n")
        assert f"{key}:" in fault


def test_paths_that_hold_nothing_are_faults(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError) as caught:
        load_rules([tmp_path / "gone.yml", tmp_path / "empty", "pack:none", "pack:../x"])
    assert [fault.problem for fault in caught.value.faults] == [
        "a folder without rule files",
        "no such file or folder",
        "no such pack",
        "no such pack",
    ]


def test_own_rules_stand_beside_the_pack_and_use_its_base_rules(tmp_path: Path) -> None:
    own = write(tmp_path, RULE.replace("[read]", "[patient_read]").replace("5e5a3d3e", "5e5a3d3f"))
    alone = len(load_rules(["pack:default"]).rule_set.rules)
    assert len(load_rules(["pack:default", own]).rule_set.rules) == alone + 1
