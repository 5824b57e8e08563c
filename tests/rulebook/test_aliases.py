"""One name for what base rules call by different fields, and sums of records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from monitor.core.rules import AnyOf, Base, Match, rule_set_document, rule_set_from_document
from tests.rulebook.sigma_texts import EXPORT, READ, correlation, faults_of, load, load_one

if TYPE_CHECKING:
    from pathlib import Path

READING = Match("method", "eq", "GET")
EXPORTING = Match("route", "eq", "/export")
BOTH = "[read, export]"


def test_what_is_counted_may_have_another_field_in_each_base_rule(tmp_path: Path):
    rule = load_one(
        tmp_path,
        READ,
        EXPORT,
        correlation(
            rules=BOTH,
            group_by="[principal, where]",
            aliases="{what: {read: patient, export: object}, where: {read: tenant, export: gateway}}",
            condition="{field: what, gte: 3}",
        ),
    )
    assert rule.bases == (
        Base(READING, ("principal", "tenant"), "patient"),
        Base(EXPORTING, ("principal", "gateway"), "object"),
    )
    assert (rule.group_by, rule.counted) == (("principal", "where"), "what")
    assert rule.condition == AnyOf((READING, EXPORTING))
    rule_set = load(tmp_path, READ, correlation())
    assert rule_set_from_document(rule_set_document(rule_set)) == rule_set


def test_aliases_that_all_mean_one_field_are_that_field(tmp_path: Path):
    rule = load_one(
        tmp_path,
        READ,
        EXPORT,
        correlation(rules=BOTH, group_by="[who]", aliases="{who: {read: principal, export: principal}}"),
    )
    assert (rule.group_by, rule.counted, rule.aliases) == (("principal",), "patient", ())
    assert rule == load_one(tmp_path, READ, EXPORT, correlation(rules=BOTH))


def test_the_window_of_an_aliased_rule_is_kept_whatever_its_threshold(tmp_path: Path):
    def key(limit: int) -> str:
        parts = {"aliases": "{what: {read: patient, export: object}}", "rules": BOTH}
        text = correlation(**parts, condition=f"{{field: what, gte: {limit}}}")
        return load_one(tmp_path, READ, EXPORT, text).window_key

    assert key(3) == key(4)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"aliases": "{patient: {read: object, export: object}}"}, "'patient' is a field"),
        ({"aliases": "{what: {read: patient}}"}, "what has no field for export"),
        ({"aliases": "{what: {read: patient, export: object, raed: object}}"}, "what speaks of 'raed'"),
        ({"aliases": "{what: {read: patient, export: objekt}}"}, "no field 'objekt' (do you mean object?"),
        ({"aliases": "{what: {read: patient, export: 5}}"}, "aliases: expected names with a field each"),
        (
            {"aliases": "{who: {read: principal, export: client_ip}}", "group_by": "[who]"},
            "who means client_ip and principal: whom a rule is about is one field",
        ),
        (
            {"aliases": "{what: {read: patient, export: principal}}", "condition": "{field: what, gte: 3}"},
            "the rule groups by principal, so each group has one principal",
        ),
    ],
)
def test_each_fault_of_an_alias_is_clear(tmp_path: Path, parts: dict[str, str], expected: str):
    (fault,) = faults_of(tmp_path, READ, EXPORT, correlation(**{"rules": BOTH, **parts}))
    assert expected in fault


def test_records_are_added_up(tmp_path: Path):
    rule = load_one(tmp_path, READ, correlation(type="value_sum", condition="{field: records, gt: 999}"))
    assert (rule.kind, rule.counted, rule.threshold) == ("value_sum", "records", 1000)


def test_only_records_are_added_up(tmp_path: Path):
    for field in ("bytes", "status", "patient"):
        text = correlation(type="value_sum", condition=f"{{field: {field}, gte: 5}}")
        (fault,) = faults_of(tmp_path, READ, text)
        assert "correlation.condition.field: value_sum adds up records" in fault
