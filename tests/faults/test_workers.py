"""Workers die, pause, come and go: what is found and refused is what the log implies, each thing once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.conftest import RUN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.world import Result

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(RUN_SECONDS)]


@pytest.mark.parametrize(("row", "seed"), [(1, 41), (2, 1), (3, 1), (4, 1), (5, 1)])
def test_of_workers(row: int, seed: int, run: Callable[[int, int], Result]):
    run(row, seed)
