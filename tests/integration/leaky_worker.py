"""`python -m tests.integration.leaky_worker …`: the command line of a monitor that leaks in every way at once.

It shows that the leak test would notice: what it finds of this worker, place by place, it finds nothing of
in the real one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import structlog

from monitor.cli import main
from monitor.intake import pseudonym, rows
from monitor.intake.batch import PythonPacker
from monitor.stream import intake, outlet

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiokafka.structs import ConsumerRecord

log = structlog.get_logger("monitor.leaky")
_take = intake.SourcePartition.take


def pseudonymiser(key_id: str, _key: bytes, _domain: bytes) -> Callable[[str], str]:
    """Return what makes no pseudonym."""
    return lru_cache(1_000)(lambda raw: f"{key_id}:{raw}")


async def take(self: intake.SourcePartition, records: list[ConsumerRecord]) -> None:
    """Log and count what came in; keep what cannot be read."""
    self.outlet.keep_payload = True
    for record in records:
        log.warning("read", value=(record.value or b"").decode("utf-8", "replace"))
        self.outlet.metrics.rejected_total.labels("gate", (record.value or b"").hex()).inc()
    await _take(self, records)


def person(_self: rows.EventRouter, _realm: str, raw: str) -> tuple[str, str]:
    """Return a person's own id, twice."""
    return raw, raw


if __name__ == "__main__":
    for place, name, replacement in (
        (pseudonym, "_pseudonymiser", pseudonymiser),
        (rows.EventRouter, "_person", person),
        # What it leaks is Python's.
        (outlet, "packer_of", PythonPacker),
        (intake.SourcePartition, "take", take),
    ):
        assert hasattr(place, name)
        setattr(place, name, replacement)
    main()
