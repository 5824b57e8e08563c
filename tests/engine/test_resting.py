"""Subjects at rest in memory: squeezed, and given back byte for byte."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import engine
from monitor.core.windows import NEVER
from monitor.engine.native import NativeDetector
from tests.core.samples import compile_pattern
from tests.rig.native import native

NAME = ("principal", "gw/p")
NOW_MS = 1_772_359_200_000

pack = msgspec.msgpack.encode
numbers = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(NOW_MS - 10**9, NOW_MS + 10**9),
    st.integers(-200, 200),
    st.just(NEVER),
    st.sampled_from((2**63 - 1, -(2**63), NEVER - 1, NEVER + 1)),
)
texts = st.sampled_from(("2c427b059b4d816e", "88e888cb682cc708", "", "k" * 40, "ü"))
anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.text(max_size=4), st.binary(max_size=9)
    ),
    lambda parts: st.lists(parts, max_size=3),
    max_leaves=5,
)


@st.composite
def windows(draw: st.DrawFn) -> list[Any]:
    """Return a window of any kind and any content, right or nearly so."""
    kind = draw(st.sampled_from((0, 0, 1, 1, 2, 2, 3)))
    size = 8 * draw(st.integers(0, 5))
    times = draw(st.lists(numbers, min_size=size // 8, max_size=size // 8))
    column = st.one_of(st.binary(min_size=size, max_size=size), st.just(b""), st.binary(max_size=9))
    packed = b"".join(time.to_bytes(8, "little", signed=True) for time in times)
    columns = [draw(column) for _ in range(2 if kind == 2 else 1)]
    version = draw(st.sampled_from((2, 2, 2, 1)))
    lost = draw(st.one_of(st.just(NEVER), numbers))
    return [version, kind, draw(numbers), draw(numbers), lost, packed, *columns]


@st.composite
def subjects(draw: st.DrawFn) -> list[Any]:
    """Return a subject's snapshot, right or nearly so."""
    series = [
        [
            draw(texts),
            draw(st.one_of(st.just([]), st.lists(texts, max_size=2))),
            draw(numbers),
            draw(numbers),
            draw(numbers),
            draw(windows()),
            draw(st.one_of(st.just([]), st.lists(st.tuples(texts, numbers), max_size=2))),
            draw(st.one_of(st.just([]), st.lists(texts, max_size=2))),
        ]
        for _ in range(draw(st.integers(0, 4)))
    ]
    history = [draw(windows()), draw(st.lists(texts, max_size=3)), draw(st.lists(numbers, max_size=3))]
    plain = [
        2,
        draw(numbers),
        draw(numbers),
        series,
        draw(st.sampled_from((None, history))),
        None,
        draw(numbers),
    ]
    plain[5] = draw(st.one_of(st.none(), anything))
    if draw(st.integers(0, 9)) == 0:
        plain[draw(st.integers(0, 6))] = draw(anything)
    return plain


def new_store() -> Any:
    native(engine.store)
    return NativeDetector(3, allowed_lateness_ms=0, compile_pattern=compile_pattern).store


def given_back(store: Any, packed: bytes) -> bytes:
    store.restore(*NAME, 7, packed, False, 9)
    stamp, until_ms, content, is_whole = store.give_back(*NAME)
    assert (stamp, until_ms, is_whole) == (7, 9, True)
    found: bytes = content
    return found


@settings(max_examples=600)
@given(st.lists(subjects(), min_size=1, max_size=5), st.data())
def test_what_rests_is_given_back_byte_for_byte(several: list[list[Any]], data: st.DataObject) -> None:
    """Also what is cut, changed in a byte, or longer than it says."""
    store = new_store()
    for plain in several:
        packed = bytearray(pack(plain))
        at = data.draw(st.integers(0, 3 * len(packed)))
        if at < len(packed):
            packed[at] = data.draw(st.integers(0, 255))
        elif at < 2 * len(packed) - 1:
            del packed[at - len(packed) + 1 :]
        elif at % 5 == 0:
            packed += b"\0"
        assert given_back(store, bytes(packed)) == packed


@given(st.binary(min_size=1, max_size=100))
def test_any_bytes_are_given_back(packed: bytes) -> None:
    assert given_back(new_store(), packed) == packed


def series(number: int, kind: int, *columns: bytes) -> list[Any]:
    """Return a series with one event, as most subjects have."""
    at = NOW_MS + 1_000 * number
    window = [2, kind, 4_000, at, NEVER, at.to_bytes(8, "little"), *columns]
    return [f"{kind:016x}", [], 0, 1, at + 86_400_000, window, [], []]


def test_a_subject_that_did_little_takes_a_fifth_of_its_record() -> None:
    """Also where more shapes come than are kept: those rest as they stand in their records."""
    store, size = new_store(), 0
    for number in range(100):
        value = (number * 7_919 << 40).to_bytes(8, "little")
        did = [
            series(number, 0, b""),
            series(number, 1, value),
            series(number, 2, (1).to_bytes(8, "little"), b""),
        ]
        packed = pack([2, 1, NOW_MS, did, None, None, NEVER])
        size += len(packed)
        store.restore("principal", f"gw/{number}", 7, packed, False, 2 * NOW_MS)
    assert rested(store) < size / 5
    many = [[f"key {number}", *series(number, 0, b"")[1:]] for number in range(5_000)]
    for one in many:
        packed = pack([2, 1, NOW_MS, [one], None, None, NEVER])
        assert given_back(store, packed) == packed


def rested(store: Any) -> int:
    """Return how many bytes are at rest, as a round of the sweep finds it."""
    store.sweep(NOW_MS, 100, len(store) + 1)
    store.sweep(NOW_MS, 100, len(store) + 1)
    held: int = store.census()[1]
    return held
