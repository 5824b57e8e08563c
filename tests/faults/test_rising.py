"""The highest value below a place, against a walk over all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.faults.rising import Rising

SMALL = st.integers(-1, 20)


@given(st.lists(st.tuples(SMALL, SMALL)), SMALL)
def test_it_is_what_a_walk_finds(pairs: list[tuple[int, int]], place: int):
    walked = max((value for at, value in pairs if at < place), default=-7)
    assert Rising(pairs).below(place, -7) == walked
