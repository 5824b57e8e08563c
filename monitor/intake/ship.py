"""Lines into a source's topic: every line once where nothing fails, at least once otherwise.

Nothing is judged here: intake reads the lines and says what is wrong with them. Only a line that
Kafka would not take is left out, and counted.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError

from monitor.errors import BrokerUnavailableError, ConfigurationError, Fault, SendError
from monitor.intake.lines import Position, position_after

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from monitor.intake.lines import Line

#: The longest line that is shipped: Kafka's default limit of a batch, less what is around it.
MAX_LINE_BYTES: Final = 1_000_000
#: Lines sent and not acknowledged; bounds memory and what a crash sends again.
_IN_FLIGHT: Final = 20_000
_SAVE_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 1.0
#: Line numbers of refused lines that are kept for the summary.
_NAMED_LINES: Final = 10


@dataclass(slots=True)
class Shipped:
    """What came of it."""

    lines: int = 0
    bytes: int = 0
    refused: int = 0
    read_to: int = 0  # offset in the file
    refused_lines: list[int] = field(default_factory=list)


class PositionFile:
    """Remembers how far a file has been shipped."""

    def __init__(self, path: Path, source: str) -> None:
        self.path = path
        self.source = source

    def load(self) -> Position | None:
        """Return the position, or None where there is none yet.

        Raises ConfigurationError where it is another source's or cannot be read.
        """
        try:
            position = msgspec.json.decode(self.path.read_bytes(), type=Position)
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            raise self._refused("not a position file", "remove it to ship the file from its start") from None
        if position.source != self.source:
            raise self._refused(
                f"the position of source {position.source!r}, not of {self.source!r}",
                "give another one with --position",
            )
        return position

    def save(self, file: Path, line: Line) -> None:
        """Keep the position after an acknowledged line; a crash leaves the old or the new one."""
        position = position_after(file, self.source, line)
        if position is None:
            return
        new = self.path.with_name(self.path.name + ".new")
        with new.open("wb") as target:
            target.write(msgspec.json.encode(position))
            target.flush()
            os.fsync(target.fileno())
        new.replace(self.path)

    def _refused(self, problem: str, remedy: str) -> ConfigurationError:
        return ConfigurationError(
            "the position file cannot be used", [Fault(str(self.path), problem, remedy)]
        )


async def connect(
    options: Mapping[str, Any], topic: str, timeout_seconds: float, say: Callable[[str], None]
) -> AIOKafkaProducer:
    """Return a started producer for a topic that exists.

    A broker that is away is tried again until `timeout_seconds` have passed; then
    BrokerUnavailableError. Raises ConfigurationError where the topic does not exist.
    """
    servers = ", ".join(options["bootstrap_servers"])
    deadline = time.monotonic() + timeout_seconds
    waiting = False
    while True:
        producer = AIOKafkaProducer(**options, acks="all", enable_idempotence=True, max_batch_size=256 * 1024)
        try:
            await producer.start()
            topics = (await producer.client.fetch_all_metadata()).topics()
        except KafkaError as error:
            await producer.stop()
            if not isinstance(error, KafkaConnectionError) or time.monotonic() >= deadline:
                msg = f"no Kafka at {servers} ({type(error).__name__}); is it up, and may we connect?"
                raise BrokerUnavailableError(msg) from None
            if not waiting:
                say(f"no Kafka at {servers} yet; trying again for {timeout_seconds:.0f} s")
            waiting = True
            await asyncio.sleep(min(_RETRY_SECONDS, max(0.0, deadline - time.monotonic())))
            continue
        if topic not in topics:
            await producer.stop()
            fault = Fault(f"topic {topic}", f"not on {servers}", "create it, or allow us to describe it")
            raise ConfigurationError("the source's topic does not exist", [fault])
        return producer


class Shipping:
    """One run of `monitor ship`."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        topic: str,
        message_key: Callable[[bytes], bytes | None],
        on_progress: Callable[[Shipped], None] = lambda _: None,
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._message_key = message_key
        self._on_progress = on_progress
        self._in_flight: deque[tuple[asyncio.Future[Any] | None, Line]] = deque()
        self._acknowledged: Line | None = None
        self.shipped = Shipped()

    async def run(
        self,
        batches: AsyncIterator[list[Line]],
        file: Path | None = None,
        position: PositionFile | None = None,
    ) -> Shipped:
        """Ship all lines in their order and return the counts.

        Raises SendError at the first line that Kafka did not take; nothing is sent after it, and
        the position stays before it.
        """
        saved_at = time.monotonic()
        try:
            async for lines in batches:
                for line in lines:
                    await self._send(line)
                self.shipped.read_to = lines[-1].end
                await self._settle(_IN_FLIGHT)
                self._on_progress(self.shipped)
                if time.monotonic() - saved_at >= _SAVE_SECONDS:
                    self._save(file, position)
                    saved_at = time.monotonic()
            await self._settle(0)
        except KafkaError as error:
            msg = (
                f"topic {self._topic}: Kafka did not take a line ({type(error).__name__}); run the same "
                "command again to go on"
            )
            raise SendError(msg) from None
        finally:
            self._forget()
            self._save(file, position)
        self._on_progress(self.shipped)
        return self.shipped

    async def _send(self, line: Line) -> None:
        if len(line.text) > MAX_LINE_BYTES:
            self.shipped.refused += 1
            if len(self.shipped.refused_lines) < _NAMED_LINES:
                self.shipped.refused_lines.append(line.number)
            self._in_flight.append((None, line))
            return
        key = self._message_key(line.text)
        self._in_flight.append((await self._producer.send(self._topic, line.text, key=key), line))
        self.shipped.lines += 1
        self.shipped.bytes += len(line.text)

    async def _settle(self, allowed: int) -> None:
        """Wait until at most `allowed` lines are unacknowledged, and note how far it has come."""
        while self._in_flight:
            future, line = self._in_flight[0]
            if future is not None:
                if len(self._in_flight) <= allowed and not future.done():
                    return
                await future
            self._in_flight.popleft()
            self._acknowledged = line

    def _forget(self) -> None:
        # Fetch the errors of the lines after a failed one, or asyncio complains of each.
        for future, _ in self._in_flight:
            if future is not None:
                future.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _save(self, file: Path | None, position: PositionFile | None) -> None:
        if file is not None and position is not None and self._acknowledged is not None:
            position.save(file, self._acknowledged)
