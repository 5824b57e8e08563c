"""Both detectors, the one in Python and the one whose subjects are in C++, stand the same tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from monitor import engine
from monitor.core.detector import Detector
from tests.core.samples import detectors_of
from tests.rig.native import native

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", params=["pure", "native"])
def both_detectors(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run a module's tests once for each; where the native one is missing, that is a failure in CI."""
    kind = Detector
    if request.param == "native":
        native(engine.store)
        from monitor.engine.native import NativeDetector

        kind = NativeDetector
    with detectors_of(kind):
        yield
