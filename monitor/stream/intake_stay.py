"""All intake of a process, from joining the groups to leaving them: one outlet, one role per cluster."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from monitor.intake.inputs import Input
from monitor.intake.keys import load_keys
from monitor.intake.replay import replayed
from monitor.stream.chunks import RoleApp
from monitor.stream.gaps import Gaps
from monitor.stream.intake import IntakeRole
from monitor.stream.outlet import RoutedOutlet, RulesAnnouncer
from monitor.stream.producers import drop_producer, plain_producer, start_producer
from monitor.stream.topics import cluster_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiokafka import AIOKafkaProducer

    from monitor.observe.metrics import Metrics
    from monitor.settings import KafkaSettings, Settings, SourceSettings
    from monitor.stream.rules import RulesFollower


class IntakeStay:
    """One stay of intake in its groups."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        rules: RulesFollower,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._rules = rules
        self._on_fatal = on_fatal
        self._producer: AIOKafkaProducer | None = None
        self._outlet: RoutedOutlet | None = None
        self._announcer: RulesAnnouncer | None = None
        self.roles: list[IntakeRole] = []

    async def start(self) -> None:
        """Announce the rule set in force, then join the group on each cluster."""
        settings = self._settings
        keys = load_keys(settings.privacy.key_file)
        producer = plain_producer(settings.kafka)
        await start_producer(settings.kafka, producer)
        self._producer = producer
        outlet = self._outlet = RoutedOutlet(settings, producer, keys, self._metrics, self._on_fatal)
        announcer = RulesAnnouncer(outlet, self._on_fatal)
        await announcer.begin(await self._rules.first())
        self._announcer = announcer
        self._rules.tell(announcer.follow)
        for kafka, sources in _by_cluster(settings):
            own = kafka == settings.kafka
            by_topic = {source.topic: source for source in sources}
            status = settings.topic("status") if own else None
            replay = settings.topic("replay") if own else None
            cluster = await asyncio.to_thread(cluster_id, kafka)
            role = IntakeRole(
                RoleApp(
                    "intake",
                    kafka,
                    group=settings.group("intake"),
                    instance=settings.worker.instance,
                    on_fatal=self._on_fatal,
                ),
                by_topic,
                status,
                outlet=outlet,
                cluster=cluster,
                gaps=Gaps(settings, self._metrics),
                inputs={source.topic: Input.of(source, settings.formats) for source in sources},
                replay=(replay, replayed(settings, self._metrics)) if replay is not None else None,
                on_fatal=self._on_fatal,
            )
            # Known before it joins: what is half up must be dropped too.
            self.roles.append(role)
            await role.start()

    async def stop(self) -> None:
        """Make everything durable, and leave."""
        await self._stop_announcing()
        for role in self.roles:
            await role.stop()
        if self._producer is not None:
            await self._producer.stop()

    def fence(self) -> None:
        """Send and commit nothing from now on."""
        for role in self.roles:
            role.fence()
        if self._outlet is not None:
            self._outlet.end()

    async def drop(self) -> None:
        """Forget everything, as a crash would."""
        await self._stop_announcing()
        for role in self.roles:
            await role.drop()
        if self._producer is not None:
            await drop_producer(self._producer)

    async def leave(self) -> None:
        """Leave the groups, after `drop`."""
        for role in self.roles:
            await role.leave()

    async def _stop_announcing(self) -> None:
        announcer, self._announcer = self._announcer, None
        if announcer is not None:
            self._rules.forget(announcer.follow)
            await announcer.stop()


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
