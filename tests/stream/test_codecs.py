"""The bytes of `routed` and `state`: read back as written, and never misread."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.events import RowsRecord, RulesRecord, SourceId
from monitor.errors import InvariantError
from monitor.wire import routed, state

KEY = ("principal", "clinic/p-1")
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


def test_rows_of_the_version_before_get_the_default_class_of_their_kind():
    source = SourceId("cluster", "id", "topic", 3)
    event = [4, 0, "principal", "r/p", 5, None, "r", "p", "session", *[None] * 10]
    status = [5, 1, "principal", "r/p", 5, 1, "active", None]
    old = msgspec.msgpack.encode((1, 0, ["cluster", "id", "topic", 3], 4, 5, False, [event, status]))
    read = routed.decode(old, "here")
    assert read == RowsRecord(source, 4, 5, False, [[*event, "account"], status])


@given(st.lists(st.tuples(st.integers(0, 50), st.binary(max_size=200)), min_size=1, max_size=8), st.randoms())
def test_the_highest_stamp_wins_in_whatever_order_records_stand(states: list[tuple[int, bytes]], random: Any):
    by_stamp = dict(states)
    records = [
        pair for stamp, content in by_stamp.items() for pair in state.encode_subject(KEY, stamp, content)
    ]
    random.shuffle(records)
    recovered = state.RecoveredState()
    for key, value in records:
        recovered.add(key, value, "here")
    newest = max(by_stamp)
    assert list(recovered.subjects()) == [(KEY, newest, 1, by_stamp[newest])]


def test_a_large_subject_spans_pieces_and_a_torn_one_is_not_taken():
    old, new = b"o" * 150_000, b"n" * 200_000
    first, second = state.encode_subject(KEY, 1, old), state.encode_subject(KEY, 2, new)
    assert len(first) == 3
    assert all(len(value) < 64_000 for _, value in second)
    recovered = state.RecoveredState()
    for key, value in [*first, *second[:-1]]:
        recovered.add(key, value, "here")
    assert list(recovered.subjects()) == [(KEY, 1, 3, old)]
    recovered.add(*second[-1], "here")
    assert list(recovered.subjects()) == [(KEY, 2, 4, new)]


def test_a_freed_subject_stays_freed_until_something_newer():
    recovered = state.RecoveredState()
    for key, value in [*state.encode_subject(KEY, 1, b"x"), state.encode_freed(KEY, 5)]:
        recovered.add(key, value, "here")
    assert list(recovered.subjects()) == [(KEY, 5, 0, None)]
    for key, value in state.encode_subject(KEY, 7, b"y"):
        recovered.add(key, value, "here")
    assert list(recovered.subjects()) == [(KEY, 7, 1, b"y")]


def test_a_tombstone_takes_a_subject_away():
    recovered = state.RecoveredState()
    for key, value in state.encode_subject(KEY, 1, b"x"):
        recovered.add(key, value, "here")
    for key in state.subject_tombstones(KEY, 1):
        recovered.add(key, None, "here")
    assert list(recovered.subjects()) == []


def test_marks_and_rules_are_of_the_highest_stamp():
    recovered = state.RecoveredState()
    for stamp in (3, 9, 5):
        recovered.add(state.MARKS_KEY, state.encode_single(stamp, [stamp]), "here")
    assert recovered.single(state.MARKS_KEY) == (9, [9])
    assert recovered.single(state.RULES_KEY) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, b"x"),
        (b"m", b"not msgpack \xc1"),
        (b"m", msgspec.msgpack.encode((9, 1, 1, b""))),
        (b"zz", msgspec.msgpack.encode((1, 1, 1, b""))),
    ],
)
def test_a_state_record_of_somebody_else_stops_with_its_place(key: bytes | None, value: bytes):
    with pytest.raises(InvariantError, match="state-0 offset 4"):
        state.RecoveredState().add(key, value, "state-0 offset 4")
