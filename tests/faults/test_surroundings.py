"""The webhook's receiver fails in each way, sources hold poison and disorder, and all faults come mixed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.conftest import RUN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.world import Result

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(RUN_SECONDS)]


@pytest.mark.parametrize(("row", "seed"), [(11, 1), (12, 1), (13, 1), (15, 1)])
def test_of_surroundings(row: int, seed: int, run: Callable[[int, int], Result]):
    run(row, seed)
