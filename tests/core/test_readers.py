"""What a row adds to a counter, read alone and with others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.events import COLUMN
from monitor.core.readers import batch_reader, reader
from monitor.core.rules import Base
from monitor.core.values import numbering, pseudonym_number, text_number
from tests.core.samples import ANY, event

if TYPE_CHECKING:
    from monitor.core.rules import RuleKind

BASES: tuple[tuple[RuleKind, Base], ...] = (
    ("event_count", Base(ANY, ("principal",))),
    ("event_count", Base(ANY, ("principal", "tenant"))),
    ("value_count", Base(ANY, ("principal",), "patient")),
    ("value_count", Base(ANY, ("principal",), "tenant")),
    ("value_count", Base(ANY, ("principal",), "route")),
    ("value_count", Base(ANY, ("principal",), "bytes")),
    ("value_count", Base(ANY, ("principal", "tenant"), "patient")),
    ("value_sum", Base(ANY, ("principal",), "records")),
    ("value_sum", Base(ANY, ("principal", "route"), "records")),
)
numbers = st.sampled_from((None, -1, 0, 1, 7, 1 << 40, (1 << 64) - 1, 1 << 64, "3"))
rows = st.builds(
    event,
    st.just(0),
    st.just(0),
    patients=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(("t1", "t2", None))), max_size=3),
    tenant=st.sampled_from((None, "t1", "t3")),
    route=st.sampled_from(("/a", "/b")),
    records=numbers,
    bytes=numbers,
)


@pytest.mark.parametrize(("kind", "base"), BASES)
@given(read=st.lists(rows, min_size=1, max_size=6), gaps=st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_several_rows_are_read_as_each_of_them_alone(
    kind: RuleKind, base: Base, read: list[Any], gaps: list[int]
) -> None:
    timed = [(sum(gaps[: number + 1]), row) for number, row in enumerate(read)]
    alone = reader(kind, [base])
    expected: dict[Any, tuple[int, list[tuple[int, int]]]] = {}
    for at, row in timed:
        for group, values in alone(row):
            _, entries = expected.get(group, (at, []))
            entries += [(at, 0)] if kind == "event_count" else [(at, value) for value in values]
            expected[group] = at, entries
    assert batch_reader(kind, base)(timed) == expected


@pytest.mark.parametrize("records", [None, 0, -5, "7", 1.5])
def test_what_is_no_amount_adds_nothing_even_where_the_event_has_an_id(records: Any) -> None:
    read = reader("value_sum", [Base(ANY, ("principal",), "records")])
    assert list(read(event(0, 0, records=records, event_id="e"))) == [((), ())]
    assert list(read(event(0, 0, records=3, event_id="e"))) == [((), (3, text_number("e")))]


def test_a_number_counts_where_a_window_can_hold_it() -> None:
    number = numbering("status")
    assert [number(value) for value in (0, 404, 2**64 - 1)] == [0, 404, 2**64 - 1]
    assert [number(value) for value in (-1, 2**64, 4.0, None, True)] == [None] * 5


def test_a_pseudonym_is_its_last_digits_and_any_other_text_is_hashed() -> None:
    digits = "0123456789abcdef01234567"
    assert pseudonym_number(f"k1:{digits}") == 0x89ABCDEF01234567
    for other in (digits, f"k1:{digits}0", f"k1:{digits[1:]}", f"k1:{digits[:-1]}x", f"k1-{digits}", ":"):
        assert pseudonym_number(other) == text_number(other)


def test_fields_stand_in_columns_of_their_own() -> None:
    row = event(0, 0, tenant="t", object="o", client_ip="c", bytes=1, records=2, gateway="g")
    values = {name: row[column] for name, column in COLUMN.items()}
    assert (values["bytes"], values["records"], values["gateway"], values["object"]) == (1, 2, "g", "o")
    assert len(set(COLUMN.values())) == len(COLUMN)
