"""The test modules that notice mutants, as a pytest id begins that one of their tests ends."""

from __future__ import annotations

from typing import Final

ALLOW: Final = "tests/rulebook/test_allow_lists.py::test_"
BOUNDS: Final = "tests/core/test_bounds.py::test_"
COVERAGE: Final = "tests/core/test_coverage.py::test_"
DETECTOR: Final = "tests/core/test_detector.py::test_"
EXACT: Final = "tests/core/test_detector_exact.py::test_"
FLUSH: Final = "tests/core/test_flush_model.py::test_"
NETWORKS: Final = "tests/core/test_networks.py::test_"
READERS: Final = "tests/core/test_readers.py::test_"
ROWS: Final = "tests/intake/test_rows.py::test_"
TOLD: Final = "tests/core/test_told.py::test_"
WAITING: Final = "tests/core/test_waiting.py::test_"
WINDOWS: Final = "tests/core/test_windows.py::test_"
