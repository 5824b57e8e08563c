"""One worker process: the roles it was given, its metrics and probes, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import structlog

from monitor.core.events import SourceId
from monitor.errors import ExitCode, MonitorError
from monitor.intake.formats import find_format
from monitor.intake.keys import load_keys
from monitor.observe.metrics import Metrics
from monitor.observe.server import ObserveServer
from monitor.response.role import EnforceRole
from monitor.stream.chunks import RoleApp
from monitor.stream.detect import DetectRole
from monitor.stream.intake import IntakeRole
from monitor.stream.lag import LagWatch
from monitor.stream.outlet import RoutedOutlet, RulesAnnouncer
from monitor.stream.reach import wait_for_broker
from monitor.stream.reload import RuleFiles
from monitor.stream.rules import RulesFollower
from monitor.stream.sender import plain_producer
from monitor.stream.topics import check_topics, cluster_id, topic_ids

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka import AIOKafkaProducer

    from monitor.intake.formats import Decoder
    from monitor.settings import KafkaSettings, Settings, SourceSettings
    from monitor.stream.role import Role

log = structlog.get_logger(__name__)

#: Longest time for an orderly end after SIGTERM, in seconds; then the process ends all the same,
#: and what was not flushed is read again.
DRAIN_SECONDS = 20.0


class Worker:
    """Starts and stops the roles in the order in which they feed each other."""

    def __init__(self, settings: Settings, roles: Sequence[str]) -> None:
        self._settings = settings
        self._names = tuple(roles)
        self.metrics = Metrics()
        self._roles: list[Role] = []
        self._producer: AIOKafkaProducer | None = None
        self._server = ObserveServer(settings.observe.listen, self.metrics.registry)
        self._lag: LagWatch | None = None
        self._rules = RulesFollower(settings, self._fatal)
        self._files = RuleFiles(settings, self.metrics, self._rules, self._fatal)
        self._announcer: RulesAnnouncer | None = None
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT, then drain; SIGHUP publishes the rule files.

        Raises MonitorError where the worker cannot start.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        # Also while it starts: nobody who reloads must end it.
        loop.add_signal_handler(signal.SIGHUP, self._files.reload)
        self._server.add_readiness("roles", self._readiness)
        await self._server.start()
        starting = asyncio.create_task(self._start())
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            log.info("worker started", roles=",".join(self._names))
            await stopping
            await self._drain()
        else:
            # What is half up has nothing to make durable, and need not come up to be stopped.
            starting.cancel()
            log.info("stopped while starting")
            end_process(ExitCode.OK)

    async def _start(self) -> None:
        settings = self._settings
        clusters = [settings.kafka, *(source.kafka for source in settings.sources if source.kafka)]
        for kafka in clusters:
            await wait_for_broker(kafka)
        await asyncio.to_thread(check_topics, settings)
        self._rules.start()
        self._files.start()
        # Each role joins its own group; intake waits for the rule set that enforce puts in force.
        starts = []
        if "enforce" in self._names:
            app = self._app("enforce", settings.kafka)
            starts.append(self._start_role(EnforceRole(app, settings, self.metrics, self._fatal)))
        if "detect" in self._names:
            app = self._app("detect", settings.kafka)
            detect = DetectRole(app, settings, self.metrics, self._fatal)
            self._server.before_scrape(lambda: self.metrics.subjects.set(detect.subjects))
            starts.append(self._start_role(detect))
        if "intake" in self._names:
            starts.append(self._start_intake())
        await asyncio.gather(*starts)
        # They stop in the order in which they feed each other: intake, detect, enforce.
        order = (IntakeRole, DetectRole, EnforceRole)
        self._roles.sort(key=lambda role: order.index(type(role)))
        self._lag = LagWatch(self._roles, self.metrics)
        self._lag.start()

    async def _start_intake(self) -> None:
        settings = self._settings
        keys = load_keys(settings.privacy.key_file)
        self._producer = plain_producer(settings.kafka)
        await self._producer.start()
        outlet = RoutedOutlet(settings, self._producer, keys, self.metrics, self._fatal)
        self._announcer = RulesAnnouncer(outlet, self._fatal)
        await self._announcer.begin(await self._rules.first())
        self._rules.tell(self._announcer.follow)
        for kafka, sources in _by_cluster(settings):
            own = kafka == settings.kafka
            by_topic = {source.topic: source for source in sources}
            status = settings.topic("status") if own else None
            topics = [*by_topic, *([status] if status else [])]
            cluster = await asyncio.to_thread(cluster_id, kafka)
            ids = await asyncio.to_thread(topic_ids, kafka, topics)
            role = IntakeRole(
                self._app("intake", kafka),
                by_topic,
                status,
                outlet=outlet,
                source_ids=partial(_source_id, cluster, ids),
                decoders={source.topic: _decoder(source) for source in sources},
                on_fatal=self._fatal,
            )
            await self._start_role(role)

    def _app(self, role: str, kafka: KafkaSettings) -> RoleApp:
        settings = self._settings
        return RoleApp(
            role,
            kafka,
            group=settings.group(role),
            instance=settings.worker.instance,
            on_fatal=self._fatal,
        )

    async def _start_role(self, role: Role) -> None:
        await role.start()
        self._roles.append(role)

    def _readiness(self) -> tuple[bool, str]:
        if not self._roles or self._lag is None:
            return False, "starting"
        waiting = [role.app.group for role in self._roles if not role.ready]
        if waiting:
            return False, f"waiting for partitions: {', '.join(waiting)}"
        return True, "all roles have their partitions"

    async def _drain(self) -> None:
        log.info("draining")
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                if self._lag is not None:
                    await self._lag.stop()
                await self._files.stop()
                await self._rules.stop()
                if self._announcer is not None:
                    await self._announcer.stop()
                for role in self._roles:
                    await role.stop()
                if self._producer is not None:
                    await self._producer.stop()
                await self._server.stop()
        except TimeoutError:
            log.warning("draining took too long; what is not flushed will be read again")
            end_process(ExitCode.SOFTWARE)
        log.info("stopped")

    def _fatal(self, error: BaseException) -> None:
        """End the process at once: nothing more may be sent, and replay is exact."""
        log.critical(
            "stopping: what is not durable will be read again",
            error=str(error) if isinstance(error, MonitorError) else type(error).__name__,
            exc_info=None if isinstance(error, MonitorError) else error,
        )
        code = error.exit_code if isinstance(error, MonitorError) else ExitCode.SOFTWARE
        end_process(code)


def end_process(code: int) -> NoReturn:
    """End without clean-up: flushing or committing now could make durable what is not right."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run_worker(settings: Settings, roles: Sequence[str]) -> None:
    """Run a worker until it is told to stop."""
    # What is alive now stays, and most objects after it die young or live long: looking through them
    # all every 700 allocations was a fifth of the work.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)

    async def main() -> None:
        await Worker(settings, roles).run()

    began = time.monotonic()
    asyncio.run(main())
    log.debug("worker ended", seconds=round(time.monotonic() - began, 1))


def _source_id(cluster: str, ids: Mapping[str, str], topic: str, partition: int) -> SourceId:
    return SourceId(cluster, ids[topic], topic, partition)


def _decoder(source: SourceSettings) -> Decoder:
    found = find_format(source.format, f"sources.{source.name}.format")
    trusted = found.ids_are_gateways or source.event_ids == "gateway"
    return found.decoder(source.realm, trust_ids=trusted)


def _by_cluster(settings: Settings) -> list[tuple[KafkaSettings, list[SourceSettings]]]:
    """Return the sources of each cluster; our own first, which also has `status`."""
    clusters: list[tuple[KafkaSettings, list[SourceSettings]]] = [(settings.kafka, [])]
    for source in settings.sources:
        kafka = source.kafka or settings.kafka
        for known, sources in clusters:
            if known == kafka:
                sources.append(source)
                break
        else:
            clusters.append((kafka, [source]))
    return clusters
