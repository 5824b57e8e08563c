"""Which findings were decided lately: a worker that died repeats what it had not flushed.

A repeated finding has the id of the first. Detect repeats at most what lies between two flushes, so
remembering the last ones is enough, and they stand in the `findings` topic itself.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import orjson

from monitor.stream.read import read_to_end

if TYPE_CHECKING:
    from monitor.settings import Settings

#: Findings remembered: far more than a worker can find between two flushes.
REMEMBERED: Final = 50_000


class DecidedFindings:
    """The ids of the findings decided last, oldest first."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, finding: str) -> bool:
        return finding in self._ids

    def add(self, finding: str) -> None:
        """Remember a finding that is being decided."""
        self._ids[finding] = None
        if len(self._ids) > REMEMBERED:
            self._ids.popitem(last=False)

    async def load(self, settings: Settings, before: int) -> None:
        """Remember the findings at the last offsets below `before`, which are decided."""
        first = max(0, before - REMEMBERED)
        async for records, _, _ in read_to_end(settings.kafka, settings.topic("findings"), 0, first):
            for record in records:
                # What is not decided yet is perhaps no finding at all.
                entry = orjson.loads(record.value) if record.offset < before else None
                if entry is not None and "id" in entry:
                    self.add(entry["id"])
