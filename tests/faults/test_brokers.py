"""Brokers are away, slow, answer with errors, move and die: nothing is lost, nothing counts twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.conftest import RUN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.world import Result

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(RUN_SECONDS)]


@pytest.mark.parametrize(("row", "seed"), [(6, 1), (6, 2), (6, 3), (7, 1), (8, 1), (9, 1), (10, 1), (14, 1)])
def test_of_brokers(row: int, seed: int, run: Callable[[int, int], Result]):
    run(row, seed)
