"""The bytes of `state`: read back as written, never misread, and no more written than what changed."""

from __future__ import annotations

from array import array
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.errors import InvariantError
from monitor.wire import state

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY = ("principal", "clinic/p-1")


def records_of(stamp: int, content: Any, until_ms: int | None = None) -> list[tuple[bytes, bytes]]:
    """Return the records of a subject, its pages first."""
    encoded = state.encode_subject(KEY, stamp, until_ms, content)
    return [*encoded.pages.items(), (encoded.key, encoded.value)]


def subjects_in(records: Sequence[tuple[bytes, bytes | None]]) -> list[tuple[int, int | None, Any]]:
    """Return (stamp, until, content) of what is recovered; content None where it was freed."""
    recovered = state.RecoveredState("state-0")
    for key, value in records:
        recovered.add(key, value, 4)
    found = []
    for subject in chain.from_iterable(recovered.subjects()):
        assert subject.key == KEY
        plain = subject.plain if subject.packed is None else state.unpack_subject(subject.packed)
        found.append((subject.stamp, subject.until_ms, plain))
    return found


@given(st.lists(st.tuples(st.integers(0, 50), st.binary(max_size=200)), min_size=1, max_size=8), st.randoms())
def test_the_highest_stamp_wins_in_whatever_order_records_stand(states: list[tuple[int, bytes]], random: Any):
    by_stamp = dict(states)
    records = [
        pair for stamp, content in by_stamp.items() for pair in records_of(stamp, [content], stamp + 7)
    ]
    random.shuffle(records)
    newest = max(by_stamp)
    assert subjects_in(records) == [(newest, newest + 7, [by_stamp[newest]])]


def numbers(first: int, count: int, step: int = 7_919) -> bytes:
    """Return packed times, `step` ms apart."""
    return array("q", range(first, first + count * step, step)).tobytes()


def test_a_large_subject_stands_in_pages():
    content = [1, [numbers(10**12, 50_000), b"short"], "text", None]
    records = records_of(3, content, 5)
    assert len(records) > 8
    assert all(len(value) <= 64_000 for _, value in records)
    assert subjects_in(records) == [(3, 5, content)]
    assert subjects_in(records[::-1]) == [(3, 5, content)]


@settings(max_examples=50)
@given(
    st.integers(0, 40_000), st.integers(0, 200), st.integers(0, 200), st.sampled_from((1, 1_000, 60_000, 7))
)
def test_only_pages_that_changed_are_new(at: int, dropped: int, added: int, step: int):
    """Entries go at the front, one in the middle; others come at the end: a few pages of many."""
    before = numbers(1_772_359_200_000, 40_000, step)
    after = before[8 * dropped :]
    after = after[: 8 * at] + after[8 * (at + 1) :] + numbers(1_900_000_000_000, added, step)
    old = state.encode_subject(KEY, 1, None, [before]).pages
    new = state.encode_subject(KEY, 2, None, [after]).pages
    assert len(new.keys() - old.keys()) <= 6
    assert subjects_in(records_of(2, [after])) == [(2, None, [after])]


def test_a_subject_of_many_small_parts_stands_in_pages_too():
    content = [[f"group {number}", number, b"x" * 20] for number in range(5_000)]
    records = records_of(3, content)
    assert all(len(value) <= 64_000 for _, value in records)
    assert subjects_in(records) == [(3, None, content)]
    changed = state.encode_subject(KEY, 4, None, [*content[:2_500], ["new", 1, b"y"], *content[2_500:]])
    assert len(changed.pages.keys() - {key for key, _ in records}) <= 4


def test_a_page_that_is_missing_stops():
    records = records_of(3, [numbers(0, 50_000)])
    with pytest.raises(InvariantError, match="a page of a subject is missing"):
        subjects_in(records[1:])


def test_a_subject_that_is_nothing_but_pages_is_not_taken_without_them():
    records = records_of(3, [[number, b"x" * 20] for number in range(5_000)])
    assert isinstance(msgspec.msgpack.decode(records[-1][1])[-1], msgspec.msgpack.Ext)
    with pytest.raises(InvariantError, match="a page of a subject is missing"):
        subjects_in(records[-1:])


def test_a_freed_subject_stays_freed_until_something_newer():
    records = [*records_of(1, ["x"]), state.encode_freed(KEY, 5)]
    assert subjects_in(records) == [(5, None, None)]
    assert subjects_in([*records, *records_of(7, ["y"])]) == [(7, None, ["y"])]


def test_a_tombstone_takes_a_subject_away():
    assert subjects_in([*records_of(1, ["x"]), (state.subject_tombstone(KEY), None)]) == []


def of_version_1(stamp: int, content: Any, piece_bytes: int = 60_000) -> list[tuple[bytes, bytes]]:
    """Return the records of a subject as the version before wrote them."""
    blob = msgspec.msgpack.encode(content)
    pieces = [blob[at : at + piece_bytes] for at in range(0, len(blob), piece_bytes)]
    return [
        (b"sprincipal\0clinic/p-1\0%d" % index, msgspec.msgpack.encode((1, stamp, len(pieces), piece)))
        for index, piece in enumerate(pieces)
    ]


def test_the_version_before_is_read_beside_this_one():
    old, large = of_version_1(4, ["old"]), of_version_1(4, ["l" * 150_000])
    assert subjects_in(list(old)) == [(4, None, ["old"])]
    assert subjects_in(list(large)) == [(4, None, ["l" * 150_000])]
    assert subjects_in([*old, *records_of(9, ["new"])]) == [(9, None, ["new"])]
    assert subjects_in([*records_of(3, ["late"]), *old]) == [(4, None, ["old"])]
    freed = b"sprincipal\0clinic/p-1\x000", msgspec.msgpack.encode((1, 8, 0, b""))
    assert subjects_in([*old, freed]) == [(8, None, None)]


def test_of_the_version_before_a_torn_subject_is_not_taken():
    first, second = of_version_1(1, ["o" * 150_000]), of_version_1(2, ["n" * 200_000])
    assert subjects_in([*first, *second[:-1]]) == [(1, None, ["o" * 150_000])]
    assert subjects_in([*first, *second]) == [(2, None, ["n" * 200_000])]


def test_pieces_of_the_version_before_are_known_to_be_deleted():
    recovered = state.RecoveredState("state-0")
    for key, value in [*of_version_1(1, ["o" * 150_000]), *records_of(5, [numbers(0, 20_000)])]:
        recovered.add(key, value, 4)
    ((subject,),) = recovered.subjects()
    assert {b"sprincipal\0clinic/p-1\x001", b"sprincipal\0clinic/p-1\x002"} < subject.extra
    assert subject.extra > {key for key, _ in records_of(5, [numbers(0, 20_000)])[:-1]}


def test_marks_and_rules_are_of_the_highest_stamp():
    recovered = state.RecoveredState("state-0")
    for stamp in (3, 9, 5):
        recovered.add(state.MARKS_KEY, state.encode_single(stamp, [stamp]), 4)
    assert recovered.single(state.MARKS_KEY) == (9, [9])
    assert recovered.single(state.RULES_KEY) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, b"x"),
        (b"m", b"not msgpack \xc1"),
        (b"m", msgspec.msgpack.encode((9, 1, 1, b""))),
        (b"zz", msgspec.msgpack.encode((1, 1, 1, b""))),
        (b"zz", msgspec.msgpack.encode((2, 1, 1, b""))),
        (b"p", b"x"),
        (b"s", msgspec.msgpack.encode((2, 1, 1, b"x"))),
        (b"sa\0b\x001", msgspec.msgpack.encode((2, 1, 1, b"x"))),
        (b"sa\0b\0c\x000", msgspec.msgpack.encode((2, 1, 1, b"x"))),
        (b"sa\0\xff\x000", msgspec.msgpack.encode((2, 1, 1, b"x"))),
        (b"sa\0b\x000", msgspec.msgpack.encode((2, "1", 1, b"x"))),
        (b"sa\0b\x000", msgspec.msgpack.encode((2, 1, "1", b"x"))),
        (b"sa\0b\x000", msgspec.msgpack.encode((2, 1, 1, b""))),
        (b"sa\0b\x000", msgspec.msgpack.encode((2, 1, 1, "x"))),
        (b"sa\0b\x000", msgspec.msgpack.encode((2, 1, 1))),
        (b"sa\0b\x000", msgspec.msgpack.encode((2, 1, 1, b"x")) + b"\0"),
    ],
)
def test_a_state_record_of_somebody_else_stops_with_its_place(key: bytes | None, value: bytes):
    with pytest.raises(InvariantError, match="state-0 offset 4"):
        state.RecoveredState("state-0").add(key, value, 4)
