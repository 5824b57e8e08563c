"""Compiled conditions against the interpreter, and what they mean."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.conditions import compile_conditions, matches
from monitor.core.events import COLUMN, EVENT_LENGTH, FIELDS, PATIENTS, TENANT
from monitor.core.rules import AllOf, AnyOf, Condition, Match, Negation
from tests.core.samples import compile_pattern, event

TEXTS = ("GET", "get", "/a/b", "ß", "SS", "", "10.0.0.7", "::ffff:10.0.0.7", "2001:db8::1", "x")
NUMBERS = (0, 1, 200, 404)
texts, numbers = st.sampled_from(TEXTS), st.sampled_from(NUMBERS)
odd_values = st.one_of(st.none(), texts, numbers, st.booleans(), st.floats(0, 300), st.just([1]))


@st.composite
def matches_of_any_type(draw: st.DrawFn) -> Match:
    name = draw(st.sampled_from(sorted(FIELDS)))
    operator: Any = draw(
        st.sampled_from(
            ("eq", "contains", "startswith", "endswith", "re", "cidr", "gt", "gte", "lt", "lte", "exists")
        )
    )
    value: Any
    match operator:
        case "exists":
            value = draw(st.booleans())
        case "cidr":
            value = draw(st.sampled_from(("10.0.0.0/8", "2001:db8::/32", "10.0.0.7/32", "0.0.0.0/0")))
        case "re":
            value = draw(st.sampled_from(("^g", "GET|b$", "s+", ".")))
        case _:
            value = draw(st.one_of(texts, numbers, st.booleans()))
    return Match(name, operator, value, draw(st.booleans()))


conditions = st.recursive(
    matches_of_any_type(),
    lambda part: st.one_of(
        st.lists(part, max_size=3).map(lambda parts: AllOf(tuple(parts))),
        st.lists(part, max_size=3).map(lambda parts: AnyOf(tuple(parts))),
        part.map(Negation),
    ),
    max_leaves=6,
)


@st.composite
def odd_rows(draw: st.DrawFn) -> list[Any]:
    row: list[Any] = [None] * EVENT_LENGTH
    for column in COLUMN.values():
        row[column] = draw(odd_values)
    row[PATIENTS] = draw(st.lists(st.tuples(odd_values, odd_values), max_size=3))
    row[TENANT] = draw(odd_values)
    return row


@settings(max_examples=600)
@given(st.lists(conditions, max_size=4), odd_rows())
def test_compiled_conditions_say_what_the_interpreter_says(several: list[Condition], row: list[Any]) -> None:
    mask = compile_conditions(several, compile_pattern)(row)
    expected = [matches(condition, row, compile_pattern) for condition in several]
    assert [bool(mask & (1 << number)) for number in range(len(several))] == expected
    assert mask < 1 << len(several)


def test_a_comparison_with_false_is_not_taken_for_the_one_with_0_beside_it() -> None:
    several = [Match("status", "gt", 0), Match("status", "gt", value=False)]
    assert compile_conditions(several, compile_pattern)(event(0, 0, status=200)) == 0b01


ROW = event(
    0,
    0,
    patients=[("ann", "t1"), ("bob", None)],
    tenant="t9",
    status=404,
    route="/Patients/{id}",
    client_ip="::ffff:10.0.0.7",
)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Match("route", "eq", "/patients/{ID}"), True),
        (Match("route", "eq", "/patients/{ID}", cased=True), False),
        (Match("route", "contains", "PATIENTS"), True),
        (Match("route", "startswith", "/Pat", cased=True), True),
        (Match("route", "endswith", "{ID}"), True),
        (Match("route", "re", "^/patients"), True),
        (Match("route", "re", "^/patients", cased=True), False),
        (Match("status", "eq", 404), True),
        (Match("status", "eq", "404"), False),
        (Match("status", "gte", 405), False),
        (Match("client_ip", "cidr", "10.0.0.0/8"), True),
        (Match("client_ip", "cidr", "192.0.2.0/24"), False),
        (Match("bytes", "gt", 0), False),
        (Match("bytes", "exists", value=False), True),
        (Match("status", "exists", value=True), True),
        (Match("patient", "eq", "bob"), True),
        (Match("patient", "exists", value=True), True),
        (Match("tenant", "eq", "t1"), True),
        (Match("tenant", "eq", "t9"), True),
        (Negation(Match("tenant", "eq", "t9")), False),
        (AllOf(()), True),
        (AnyOf(()), False),
        (Negation(AllOf((Match("status", "lt", 300), Match("method", "eq", "get")))), True),
    ],
)
def test_what_a_condition_means(condition: Condition, expected: bool) -> None:
    assert matches(condition, ROW, compile_pattern) is expected
    assert compile_conditions([condition], compile_pattern)(ROW) == int(expected)


def test_texts_of_rules_never_become_source() -> None:
    evil = Match("route", "eq", '") or __import__("os").abort() or ("')
    assert compile_conditions([evil], compile_pattern)(ROW) == 0


@pytest.mark.parametrize(
    "condition",
    [Match("nonsense", "eq", "x"), Match("client_ip", "cidr", "no network"), Match("colour", "exists", True)],
)
def test_what_cannot_be_compiled_is_refused(condition: Match) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the text is of ipaddress or names the field
        compile_conditions([condition], compile_pattern)
