"""Which acts were answered lately, and how: a repeated act gets its first receipt, also after a takeover."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import orjson

from monitor.stream.read import end_offsets, offset_at, read_to_end
from monitor.wire.acts import ACT, Receipt

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from monitor.settings import Settings

#: An act is admitted only within minutes of its own time, so an hour of them is enough.
_REMEMBERED_MS: Final = 3_600_000
_MOST: Final = 20_000


class AnsweredActs:
    """The receipts of the last hour, by the id of the act."""

    def __init__(self) -> None:
        self._receipts: OrderedDict[str, Receipt] = OrderedDict()

    def get(self, act: str) -> Receipt | None:
        """Return the receipt of an act that was answered."""
        return self._receipts.get(act)

    def add(self, receipt: Receipt) -> None:
        """Remember the receipt of an act."""
        self._receipts[receipt.act] = receipt
        if len(self._receipts) > _MOST:
            self._receipts.popitem(last=False)

    async def load(self, settings: Settings) -> None:
        """Remember what the ledger answered within the last hour."""
        topic = settings.topic("decisions")
        first = await offset_at(settings.kafka, topic, int(time.time() * 1000) - _REMEMBERED_MS)
        if first is None:  # none since, or a broker that keeps no times
            first = max(0, (await end_offsets(settings.kafka, [topic]))[topic] - _MOST)
        marker = f'"kind":"{ACT}"'.encode()
        async for records, _, _ in read_to_end(settings.kafka, topic, 0, first):
            for record in records:
                # Most entries are about others: only those that hold the text are decoded.
                if record.value is not None and marker in record.value:
                    entry = orjson.loads(record.value)
                    if entry["kind"] == ACT:
                        self.add(receipt_of(entry))


def receipt_of(entry: Mapping[str, Any]) -> Receipt:
    """Return the receipt that stands in an entry of the ledger."""
    return Receipt(
        act=entry["act"],
        outcome=entry["outcome"],
        text=entry["text"],
        sequence=entry["sequence"],
        at_ms=entry["at_ms"],
        realm=entry.get("realm"),
        id=entry.get("id"),
        version=entry.get("version"),
        incident=entry.get("incident"),
    )
