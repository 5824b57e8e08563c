"""The parts of the native code, each beside what it must equal."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import engine
from monitor.core.conditions import compile_conditions
from monitor.core.events import TIME
from monitor.core.leaves import describe
from monitor.core.rules import Condition, Match
from tests.core.samples import compile_pattern
from tests.core.test_conditions import conditions, odd_rows
from tests.rig.native import native

if TYPE_CHECKING:
    from collections.abc import Callable

pack = msgspec.msgpack.encode
many_rows = st.lists(odd_rows(), min_size=1, max_size=8)


@settings(max_examples=600)
@given(st.lists(conditions, max_size=6), many_rows, st.integers(0, 7))
def test_what_a_row_meets_is_what_python_says(several: list[Condition], rows: list[Any], again: int) -> None:
    router = native(engine.router)
    rows = [*rows, rows[again % len(rows)]]
    expected = [compile_conditions(several, compile_pattern)(row) for row in rows]
    masks, ids = router.probe_conditions(describe(several, compile_pattern), [pack(row) for row in rows])
    assert masks == expected
    # Small numbers: equal for equal masks, none left out.
    assert len(set(zip(ids, masks, strict=True))) == len(set(masks)) == max(ids) + 1


@given(st.sampled_from(("eq", "gt", "gte", "lt", "lte")), st.integers(-(2**65), 2**65), st.data())
def test_numbers_of_any_size_compare_as_in_python(operator: Any, wanted: int, data: st.DataObject) -> None:
    router = native(engine.router)
    near = st.sampled_from((wanted - 1, wanted, wanted + 1, -(2**63), 2**63 - 1, 2**63, 2**64 - 1))
    numbers = data.draw(st.lists(near.filter(lambda number: -(2**63) <= number < 2**64), min_size=1))
    several = [Match(field, operator, wanted) for field in ("bytes", "time", "status")]
    rows = [[None] * TIME + [number] * (21 - TIME) for number in numbers]
    masks, _ = router.probe_conditions(describe(several, compile_pattern), [pack(row) for row in rows])
    assert masks == [compile_conditions(several, compile_pattern)(row) for row in rows]


def test_each_value_is_asked_once() -> None:
    router, asked = native(engine.router), list[str]()

    def compiled(_: str) -> Callable[[str], bool]:
        def test(value: str) -> bool:
            asked.append(value)
            return value.startswith("a")

        return test

    spec = describe([Match("object", "re", "^a"), Match("patient", "re", "^a")], compiled)
    rows = [[None] * 9 + [name, [[name, None]]] + [None] * 10 for name in ("ab", "b", "ab", "b", "ac")]
    masks, _ = router.probe_conditions(spec, [pack(row) for row in rows])
    assert masks == [3, 0, 3, 0, 3]
    # By the two leaves, and by the compiled conditions for the two different answers.
    assert len(asked) == 2 * 3 + 2 * 2


@settings(max_examples=300)
@given(st.binary(max_size=400), st.binary(max_size=64), st.binary(max_size=16), st.integers(1, 64))
def test_blake2b_is_the_one_of_hashlib(message: bytes, key: bytes, person: bytes, size: int) -> None:
    router = native(engine.router)
    expected = hashlib.blake2b(message, digest_size=size, key=key, person=person).digest()
    assert router.probe_blake2b(message, key, person, size) == expected


def test_blake2b_at_the_ends_of_blocks() -> None:
    router = native(engine.router)
    for length in (0, 1, 127, 128, 129, 255, 256, 257, 1000):
        for key in (b"", b"k" * 32):
            message = bytes(n % 251 for n in range(length))
            expected = hashlib.blake2b(message, digest_size=12, key=key).digest()
            assert router.probe_blake2b(message, key, b"", 12) == expected
