"""Filters are allow-lists that somebody answers for and that end by themselves."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from monitor.core.conditions import matches
from monitor.core.rules import AllowList, rule_set_document, rule_set_from_document
from monitor.rulebook import compile_pattern
from tests.core.samples import event, rules_record
from tests.core.test_detector import NOW, Feed
from tests.rulebook.sigma_texts import EXPORT, READ, correlation, faults_of, load, load_one

if TYPE_CHECKING:
    from pathlib import Path

ALLOW = """\
title: The nightly synchronisation is known
id: 7f5a3d3e-6f0b-4d6a-9c55-1f0e6b8a7c09
logsource: {product: access-monitor, category: api_access}
owner: Integration team
expires: 2027-03-31
filter:
  rules: [read]
  nightly: {principal: sync-1}
  condition: not nightly
"""
END_MS = int(datetime(2027, 4, 1, tzinfo=UTC).timestamp() * 1000)


def test_it_leaves_out_whom_it_names_until_the_end_of_its_last_day(tmp_path: Path):
    rule = load_one(tmp_path, READ, correlation(), ALLOW)

    def counts(time_ms: int, principal: str) -> bool:
        return matches(rule.condition, event(1, time_ms, principal=principal), compile_pattern)

    assert not counts(END_MS - 1, "sync-1")
    assert counts(END_MS, "sync-1")
    assert counts(END_MS - 1, "somebody")


def test_it_stands_in_the_rule_set_for_those_who_watch_its_end(tmp_path: Path):
    rule_set = load(tmp_path, READ, correlation(), ALLOW)
    expected = AllowList(
        "7f5a3d3e-6f0b-4d6a-9c55-1f0e6b8a7c09",
        "The nightly synchronisation is known",
        "Integration team",
        END_MS,
    )
    assert rule_set.allow_lists == (expected,)
    assert rule_set_from_document(rule_set_document(rule_set)) == rule_set
    # Its meaning is part of the rules, so a change of it is a change of the set.
    assert rule_set.revision == load(tmp_path, READ, correlation(), ALLOW).revision
    assert rule_set.revision != load(tmp_path, READ, correlation(), ALLOW.replace("03-31", "03-30")).revision


@pytest.mark.parametrize(
    ("expires", "end"),
    [
        ("2027-03-31", datetime(2027, 4, 1, tzinfo=UTC)),
        ("'2027-03-31T18:00:00Z'", datetime(2027, 3, 31, 18, tzinfo=UTC)),
        ("2027-03-31T18:00:00+02:00", datetime(2027, 3, 31, 16, tzinfo=UTC)),
    ],
)
def test_its_end_is_a_day_or_a_time(tmp_path: Path, expires: str, end: datetime):
    rule_set = load(tmp_path, READ, correlation(), ALLOW.replace("2027-03-31", expires))
    assert rule_set.allow_lists[0].expires_ms == end.timestamp() * 1000


def test_it_applies_to_the_base_rules_that_it_names(tmp_path: Path):
    other = correlation("3", "Other", rules="[export]")
    texts = (READ, EXPORT, correlation(), other)
    plain = {rule.title: rule.condition for rule in load(tmp_path, *texts).rules}
    by_name = {rule.title: rule.condition for rule in load(tmp_path, *texts, ALLOW).rules}
    assert by_name["Other"] == plain["Other"]
    assert by_name["Many"] != plain["Many"]
    by_id = ALLOW.replace("[read]", "[3c1d0aaa-2f5e-4f0a-8b8f-5a7c0a7d2e12]")
    assert load(tmp_path, *texts, by_id).rules[0].condition == plain["Many"]
    everywhere = load(tmp_path, *texts, ALLOW.replace("[read]", "any"))
    assert all(rule.condition != plain[rule.title] for rule in everywhere.rules)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("owner: Integration team\n", ""), "owner: missing (write who answers for it"),
        (("Integration team", "5"), "owner: expected a text"),
        (
            ("expires: 2027-03-31\n", ""),
            "expires: missing: an allow-list without an end is a hole that stays",
        ),
        (("2027-03-31", "soon"), "expires: not a day and not a time"),
        (("2027-03-31", "5"), "expires: not a day and not a time"),
        (("2027-03-31", "2027-03-31T18:00:00"), "expires: a time without a time zone"),
        (("[read]", "[raed]"), "filter.rules[0]: no base rule 'raed'; filters apply to base rules"),
        (("not nightly", "not daily"), "filter.condition:"),
        (("principal: sync-1", "patient: p"), "patient is a pseudonym behind intake"),
    ],
)
def test_each_fault_of_a_filter_is_clear(tmp_path: Path, change: tuple[str, str], expected: str):
    assert change[0] in ALLOW
    (fault,) = faults_of(tmp_path, READ, correlation(), ALLOW.replace(*change))
    assert "'The nightly synchronisation is known' " in fault
    assert expected in fault


def test_windows_outlive_a_change_of_allow_lists_and_say_that_they_are_warming(tmp_path: Path):
    plain = load_one(tmp_path, READ, correlation())
    allowed = load_one(tmp_path, READ, correlation(), ALLOW)
    assert allowed.window_key == plain.window_key
    assert allowed.revision != plain.revision
    feed = Feed(plain, at_ms=NOW - 3_600_000)
    for number in range(48):
        feed.event(NOW + number, patients=[(f"p{number}", None)])
    feed.detector.activate(rules_record([allowed], 2), NOW + 100)
    feed.event(NOW + 101, patients=[("p48", None)])
    feed.event(NOW + 102, principal="sync-1", patients=[("p48", None)])
    (found,) = feed.event(NOW + 103, patients=[("p49", None)]).findings
    assert (found["subject"], found["warming"]) == ("gw/p", True)


def test_base_rules_that_differ_by_an_allow_list_only_have_windows_of_their_own(tmp_path: Path):
    twin = READ.replace("A read", "A twin").replace("2e11", "2e99").replace("name: read", "name: twin")
    rules = load(tmp_path, READ, twin, correlation(), correlation("3", "Other", rules="[twin]"), ALLOW).rules
    assert len({rule.window_key for rule in rules}) == 2
