"""The bytes of `routed`: read back as written, and never misread."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.events import HANDLE, RowsRecord, RulesRecord, SourceId
from monitor.errors import InvariantError
from monitor.wire import routed

contents = st.recursive(
    st.none() | st.integers(-(2**60), 2**60) | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=10,
)


@given(st.lists(st.lists(contents, max_size=5), max_size=5), st.booleans())
def test_rows_are_read_as_they_were_written(rows: list[Any], resume: bool):
    source = SourceId("cluster", "id", "topic", 3)
    value = routed.encode_rows(source, 5, 9, rows, resume=resume)
    assert routed.decode(value, "here") == RowsRecord(source, 5, 9, resume, rows)


def test_rules_are_read_as_they_were_written():
    record = RulesRecord(3, "r", {"version": 1, "rules": []})
    assert routed.decode(routed.encode_rules(record), "here") == record


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{}",
        b"\xc1",
        msgspec.msgpack.encode((3, 0)),
        msgspec.msgpack.encode((1, 9)),
        b"\x92\x01\x00",
    ],
)
def test_a_routed_record_of_somebody_else_stops_with_its_place(value: bytes | None):
    with pytest.raises(InvariantError, match="routed-3 offset 7"):
        routed.decode(value, "routed-3 offset 7")


@pytest.mark.parametrize(("version", "after"), [(2, ()), (3, ({"a": ["b"]},))])
def test_rows_of_the_version_before_have_no_category(version: int, after: tuple[Any, ...]):
    """What came after the new column, the sealed handle, stays what it was."""
    source = SourceId("cluster", "id", "topic", 3)
    event = [4, 0, "principal", "r/p", 5, None, "r", "p", "session", *[None] * 10, "account"]
    status = [5, 1, "principal", "r/p", 5, 1, "active", None]
    rows = [event, [*event, "sealed"], status]
    old = msgspec.msgpack.encode((version, 0, ["cluster", "id", "topic", 3], 4, 5, False, rows, *after))
    read = routed.decode(old, "here")
    assert read == RowsRecord(source, 4, 5, False, [[*event, None], [*event, None, "sealed"], status], *after)
    assert read.rows[1][HANDLE] == "sealed"


def test_a_version_that_is_not_known_is_refused_whatever_it_holds():
    with pytest.raises(InvariantError, match="this monitor reads 2 to 5"):
        routed.decode(msgspec.msgpack.encode((6, 0, [], 4, 5, False, [])), "here")
