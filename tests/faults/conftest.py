"""One run of a plan, as a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.plan import make
from tests.faults.rows import ROWS
from tests.faults.world import World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.world import Result

#: Of a run on a loaded machine, in seconds.
RUN_SECONDS = 500


@pytest.fixture
def run(tmp_path: Path, kafka: str) -> Callable[[int, int], Result]:
    """Return a function that does the run of a row and a seed, and fails where something did not hold."""

    def do(row: int, seed: int) -> Result:
        result = World(make(row, seed, ROWS), tmp_path, kafka).run()
        assert not result.violations, (result.violations, result.ends)
        assert result.faults
        return result

    return do
