"""Records that retention deleted before they were read: said loudly, and then the policy decides."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, NamedTuple

import orjson
import structlog

from monitor.errors import ConfigurationError, Fault
from monitor.stream.producers import drop_producer, plain_producer, start_producer

if TYPE_CHECKING:
    from monitor.observe.metrics import Metrics
    from monitor.settings import Settings

log = structlog.get_logger(__name__)


class Gap(NamedTuple):
    """Records `first` to `last`, inclusive, that nobody will read any more."""

    group: str
    topic: str
    topic_id: str
    partition: int
    first: int
    last: int


class Gaps:
    """What a process does where it meets a gap."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics

    async def met(self, gap: Gap) -> None:
        """Count a gap and send it to the ledger, by way of `findings`.

        Returns where work goes on after it; raises ConfigurationError where the policy is to stop.
        """
        count = gap.last - gap.first + 1
        self._metrics.gap_records_total.labels(gap.group, gap.topic).inc(count)
        log.error(
            "records were deleted before they were read: retention has overtaken this worker",
            group=gap.group,
            topic=gap.topic,
            partition=gap.partition,
            first=gap.first,
            last=gap.last,
        )
        await self._tell(gap)
        if self._settings.worker.on_gap == "stop":
            fault = Fault(
                f"{gap.topic}-{gap.partition}",
                f"records {gap.first} to {gap.last} were deleted before group {gap.group} read them:"
                " retention has overtaken this worker; the ledger has the range",
                "to go on after them: `monitor worker --on-gap continue`",
            )
            raise ConfigurationError("Records are lost", [fault])

    async def _tell(self, gap: Gap) -> None:
        entry = {
            "v": 1,
            "kind": "observation",
            "what": "gap",
            # The same for each worker that meets it: the ledger has it once.
            "id": hashlib.sha256(repr(tuple(gap)).encode()).hexdigest()[:32],
            "subject": "",
            **gap._asdict(),
            "observed_ms": int(time.time() * 1000),
        }
        kafka = self._settings.kafka
        producer = plain_producer(kafka)
        await start_producer(kafka, producer)
        try:
            await producer.send_and_wait(self._settings.topic("findings"), orjson.dumps(entry), partition=0)
        finally:
            await drop_producer(producer)
