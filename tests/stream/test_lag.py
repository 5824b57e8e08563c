"""How long a record has waited, told from looks at a partition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from monitor.stream.lag import Waiting

STEPS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=30)


def test_nothing_waits_where_all_is_taken():
    waiting = Waiting()
    assert [waiting.look(7, 7, 10.0), waiting.look(9, 9, 12.0), waiting.look(9, 9, 99.0)] == [0, 0, 0]


def test_a_record_ages_until_it_is_taken_and_idle_time_before_it_does_not_count():
    waiting = Waiting()
    waiting.look(7, 7, 0.0)
    waiting.look(7, 8, 3_600.0)
    assert waiting.look(7, 8, 3_610.0) == 10
    assert waiting.look(7, 12, 3_620.0) == 20
    assert waiting.look(8, 12, 3_625.0) == 5  # the next one came with the look at 3,620
    assert waiting.look(12, 12, 3_626.0) == 0


@given(STEPS)
def test_the_age_is_that_of_the_first_look_that_saw_the_record(steps: list[tuple[int, int]]):
    waiting, seen_at, position, end = Waiting(), dict[int, float](), 0, 0
    for now, (arrive, take) in enumerate(steps):
        for offset in range(end, end + arrive):
            seen_at[offset] = float(now)
        end += arrive
        position = min(end, position + take)
        expected = now - seen_at[position] if position < end else 0.0
        assert waiting.look(position, end, float(now)) == expected
