"""Where the active enforcer is, as a standby knows it: from its last signs of life."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from aiokafka.errors import KafkaError

from monitor.stream.read import end_offsets, read_to_end
from monitor.wire.credentials import ENFORCER_KEY, decode_enforcer

if TYPE_CHECKING:
    from monitor.settings import Settings

#: The enforcer gives a sign of life every two seconds: the last one is among the last records.
_LAST_RECORDS: Final = 1_000
#: Whoever asks a standby again and again does not make it read again and again.
_KNOWN_SECONDS: Final = 5.0


class ActiveEnforcer:
    """Reads the operator address of the active enforcer when it is asked for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reading = asyncio.Lock()
        self._url: str | None = None
        self._read_at = float("-inf")

    async def url(self) -> str | None:
        """Return where operators reach the active enforcer, or None where nobody says."""
        async with self._reading:
            if time.monotonic() - self._read_at > _KNOWN_SECONDS:
                self._url = await self._read()
                self._read_at = time.monotonic()
            return self._url

    async def _read(self) -> str | None:
        kafka, topic = self._settings.kafka, self._settings.topic("credentials")
        url = None
        try:
            first = max(0, (await end_offsets(kafka, [topic]))[topic] - _LAST_RECORDS)
            async for records, _, _ in read_to_end(kafka, topic, 0, first):
                for record in records:
                    if record.key == ENFORCER_KEY and record.value is not None:
                        place = f"{topic}-0 offset {record.offset}"
                        url = decode_enforcer(record.value, place).operator or None
        except KafkaError:
            return None
        return url
