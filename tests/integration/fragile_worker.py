"""A worker that some events end at once, as a crash in native code would: ``python -m …fragile_worker worker …``."""

from __future__ import annotations

import os
from typing import Any, Final

from monitor.cli import main
from monitor.core.detector import Detector
from monitor.core.events import SUBJECT
from monitor.stream.intake import SourcePartition

#: Ends intake; ends detect.
FATAL_TO_INTAKE: Final = "fatal-to-intake"
FATAL_TO_DETECT: Final = "fatal-to-detect"
_CODE: Final = 139


def _fragile() -> None:
    rows, apply = SourcePartition.rows, Detector.apply

    def fragile_rows(self: SourcePartition, records: Any, *arguments: Any) -> None:
        left_out = self.left_out
        if any(
            FATAL_TO_INTAKE.encode() in (record.value or b"") and record.offset not in left_out
            for record in records
        ):
            os._exit(_CODE)
        rows(self, records, *arguments)

    def fragile_apply(self: Detector, record: Any, *arguments: Any) -> None:
        if any(row[SUBJECT] == f"gate/{FATAL_TO_DETECT}" for row in record.rows):
            os._exit(_CODE)
        apply(self, record, *arguments)

    SourcePartition.rows = fragile_rows  # type: ignore[method-assign, assignment]
    Detector.apply = fragile_apply  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    _fragile()
    main()
