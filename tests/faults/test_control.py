"""Plain Faust counts wrong under what the monitor stands: a rig that does not see that is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.control import count_naively

if TYPE_CHECKING:
    from pathlib import Path

#: A fault may by luck hit right after a commit, and a machine that stalls is a fault, too.
ATTEMPTS = 3

pytestmark = pytest.mark.timeout(ATTEMPTS * 120)


def test_left_alone_plain_faust_counts_right(tmp_path: Path):
    for _ in range(ATTEMPTS):
        miscount = count_naively("none", tmp_path)
        if miscount.counted == miscount.events and not miscount.wrong_keys:
            return
    pytest.fail("plain Faust counts wrong without a fault: the rig itself hurts it")


@pytest.mark.parametrize("fault", ["kill", "join"])
def test_plain_faust_counts_wrong(fault: str, tmp_path: Path):
    for _ in range(ATTEMPTS):
        miscount = count_naively(fault, tmp_path)
        if miscount.wrong_keys:
            return
    pytest.fail(f"plain Faust survived {fault}: the rig does not hurt")
