"""Which credentials are refused now: the whole set, in memory, from the `credentials` topic."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from monitor.authz.glass import LocalGlass
from monitor.core.events import CredentialStatus
from monitor.errors import InvariantError
from monitor.stream.kafka import consumer_options
from monitor.wire.credentials import (
    ENFORCER_KEY,
    decode_credential,
    decode_enforcer,
    is_credential,
)
from monitor.wire.safety import BREAK_GLASS_KEY, decode_break_glass

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiokafka.structs import ConsumerRecord

    from monitor.observe.metrics import Metrics
    from monitor.settings import Settings

log = structlog.get_logger(__name__)

_POLL_MS: Final = 500
_PAUSE_SECONDS: Final = 1.0
#: How often the break-glass file and our own age are looked at.
_LOOK_SECONDS: Final = 1.0
#: Records taken between two looks at the loop: a storm of revocations must not make gateways wait.
_SLICE: Final = 100


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a credential is refused; `until_ms` (exclusive, epoch ms) is None for a revocation."""

    status: CredentialStatus
    incident: str
    until_ms: int | None


class Register:
    """Follows `credentials`, and goes on with the last known set through any outage of Kafka.

    `clock` gives the time, in seconds since the epoch.
    """

    def __init__(self, settings: Settings, metrics: Metrics, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._kafka = settings.kafka
        self._topic = settings.topic("credentials")
        self._metrics = metrics
        self._counts = {
            status: metrics.authz_credentials.labels(status.value)
            for status in (CredentialStatus.SUSPENDED, CredentialStatus.REVOKED)
        }
        for count in self._counts.values():
            count.set(0)
        metrics.role_ready.labels("authz").set(0)
        #: Subject (``realm/id``) → refusal, for every credential that is not active.
        self.refused: dict[str, Refusal] = {}
        self._position: int | None = None
        self._caught_up = False
        self._heartbeat_ms = 0
        stale = settings.authz.deny_when_stale
        self._deny_after_ms = None if stale is None else int(stale.total_seconds() * 1000)
        #: Until when everybody is let through (exclusive, epoch ms): by the ledger, by the local file.
        self._glass_ms = 0
        self._local_ms = 0
        self._local = LocalGlass(settings.authz.allow_all_file)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def ready(self) -> bool:
        """Whether the set was ever complete: caught up once, with a sign of life of an enforcer.

        An emptied topic holds no sign of life: it must not mean that everybody is allowed. Once
        ready it stays so: a monitor that is down must not have every hospital refused.
        """
        return self._caught_up and self._heartbeat_ms > 0

    @property
    def waiting_for(self) -> str:
        """What is missing, for a person."""
        if not self._caught_up:
            return "reading the credentials topic"
        return "waiting for the first sign of life of an enforcer: is `monitor worker` running?"

    @property
    def lets_everybody_in(self) -> bool:
        """Whether somebody broke the glass, and its time is not over."""
        return self._clock() * 1000 < max(self._glass_ms, self._local_ms)

    @property
    def too_old(self) -> bool:
        """Whether the enforcer was not heard for so long that the configuration wants nobody let through."""
        if self._deny_after_ms is None:
            return False
        return self._clock() * 1000 - self._heartbeat_ms > self._deny_after_ms

    def start(self) -> None:
        """Begin to follow the topic and the break-glass file."""
        self._tasks = [asyncio.create_task(work()) for work in (self._follow, self._look)]

    async def stop(self) -> None:
        """Stop following."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _look(self) -> None:
        while True:
            glass = self._local.look()
            self._local_ms = 0 if glass is None else glass.until_ms
            self._metrics.authz_allow_all.set(self.lets_everybody_in)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _follow(self) -> None:
        while True:
            try:
                await self._read()
            except KafkaError as error:
                log.error(  # noqa: TRY400 - the cause is Kafka's, a traceback says no more
                    "credentials cannot be read; the last known set stays in force",
                    error=type(error).__name__,
                )
            except Exception:
                log.exception("credentials cannot be read; the last known set stays in force")
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _read(self) -> None:
        consumer = AIOKafkaConsumer(**consumer_options(self._kafka), auto_offset_reset="earliest")
        try:
            await consumer.start()
            tp = TopicPartition(self._topic, 0)
            consumer.assign([tp])
            if self._position is None:
                await consumer.seek_to_beginning(tp)
            else:
                consumer.seek(tp, self._position)
            end = (await consumer.end_offsets([tp]))[tp]
            while True:
                fetched = await consumer.getmany(tp, timeout_ms=_POLL_MS, max_records=_SLICE)
                for record in fetched.get(tp, ()):
                    self._take(record)
                await asyncio.sleep(0)  # what is fetched already comes without a pause
                self._position = await consumer.position(tp)
                if not self._caught_up and self._position >= end:
                    self._caught_up = True
                    log.info("credentials read", refused=len(self.refused))
                self._metrics.authz_ready.set(self.ready)
                self._metrics.role_ready.labels("authz").set(self.ready)
        finally:
            await consumer.stop()

    def _take(self, record: ConsumerRecord) -> None:
        """Apply a record; one that cannot be read must not keep us from those after it.

        Before the set was ever complete it must: an older status might be missing, too.
        """
        try:
            self._apply(record)
        except (InvariantError, UnicodeDecodeError) as error:
            if not self._caught_up:
                raise
            log.error(  # noqa: TRY400 - where it stands says more than a traceback
                "a record of credentials cannot be read; the status before it stays in force",
                error=str(error) if isinstance(error, InvariantError) else type(error).__name__,
                offset=record.offset,
            )

    def _apply(self, record: ConsumerRecord) -> None:
        if record.key is None:
            return
        place = f"{record.topic}-{record.partition} offset {record.offset}"
        if is_credential(record.key):
            self._apply_credential(record.key.decode(), record.value, place)
        elif record.key == ENFORCER_KEY and record.value is not None:
            self._heartbeat_ms = decode_enforcer(record.value, place).heartbeat_ms
            self._metrics.authz_heartbeat_timestamp_seconds.set(self._heartbeat_ms / 1000)
        elif record.key == BREAK_GLASS_KEY:
            glass = None if record.value is None else decode_break_glass(record.value, place).allow_all
            self._glass_ms = 0 if glass is None else glass.until_ms
            if self.lets_everybody_in and glass is not None:
                log.critical("everybody is let through", by=glass.by, reason=glass.reason)

    def _apply_credential(self, subject: str, value: bytes | None, place: str) -> None:
        refusal = None
        if value is not None:
            credential = decode_credential(value, place)
            if credential.status is not CredentialStatus.ACTIVE:
                refusal = Refusal(credential.status, credential.incident, credential.until_ms)
        before = self.refused.pop(subject, None)
        if before is not None:
            self._counts[before.status].dec()
        if refusal is not None:
            self.refused[subject] = refusal
            self._counts[refusal.status].inc()

    def refusal(self, subject: str) -> Refusal | None:
        """Return why a credential is refused now, or None where it may be used."""
        refusal = self.refused.get(subject)
        if refusal is None:
            return None
        if refusal.until_ms is not None and refusal.until_ms <= int(self._clock() * 1000):
            return None  # its time is over; the enforcer's record of that may be a moment away
        return refusal
