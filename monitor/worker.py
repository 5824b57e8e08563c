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

from monitor.errors import ExitCode, MonitorError
from monitor.observe import systemd
from monitor.observe.memory import forbid_dumps, give_back, set_apart
from monitor.observe.metrics import Metrics
from monitor.observe.server import ObserveServer
from monitor.response.operators.active import ActiveEnforcer
from monitor.response.operators.api import OperatorApi
from monitor.response.operators.duty import Duty
from monitor.response.role import EnforceRole
from monitor.stream.chunks import RoleApp
from monitor.stream.detect import DetectRole
from monitor.stream.fatal import guarded_task
from monitor.stream.faults import explained
from monitor.stream.intake_stay import IntakeStay
from monitor.stream.keeper import OneRole, RoleKeeper
from monitor.stream.lag import LagWatch
from monitor.stream.reach import wait_for_broker
from monitor.stream.reload import RuleFiles
from monitor.stream.rules import RulesFollower
from monitor.stream.topic_watch import TopicWatch
from monitor.stream.topics import check_topics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from monitor.settings import Settings
    from monitor.stream.keeper import Stay

log = structlog.get_logger(__name__)

#: Longest time for an orderly end after SIGTERM, in seconds; then the process ends all the same,
#: and what was not flushed is read again.
DRAIN_SECONDS = 20.0
#: How long a thread may compute while another one waits.
SWITCH_SECONDS = 0.0005
#: A partition with records to take whose position has not moved for so long is stuck, in seconds: more
#: than any request to Kafka may take, after which a role joins its group again by itself.
STUCK_SECONDS = 120.0


class Worker:
    """Starts and stops the roles in the order in which they feed each other."""

    def __init__(self, settings: Settings, roles: Sequence[str]) -> None:
        self._settings = settings
        self._names = tuple(roles)
        self.metrics = Metrics(roles=["worker", *roles])
        self._keepers: list[RoleKeeper] = []
        self._server = ObserveServer(settings.observe.listen, self.metrics.registry)
        self._lag: LagWatch | None = None
        self._topics: TopicWatch | None = None
        self._rules = RulesFollower(settings, self._fatal)
        self._files = RuleFiles(settings, self.metrics, self._rules, self._fatal)
        self._duty = Duty()
        self._operators: OperatorApi | None = None
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
        self._server.add_liveness("progress", self._liveness)
        self._server.before_scrape(self._export_roles)
        await self._server.start()
        giving_back = guarded_task(give_back, self._fatal)
        starting = asyncio.create_task(self._start())
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            log.info("worker started", roles=",".join(self._names))
            systemd.tell("READY=1")
            watchdog = guarded_task(partial(systemd.feed_watchdog, self._liveness), self._fatal)
            await stopping
            systemd.tell("STOPPING=1")
            watchdog.cancel()
            giving_back.cancel()
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
        # They stop in the order in which they feed each other. Each joins its own group at once; intake
        # waits for the rule set that enforce puts in force.
        makes = {"intake": self._intake, "detect": self._detect, "enforce": self._enforce}
        if "enforce" in self._names and settings.operator.allowed_signers_file is not None:
            active = ActiveEnforcer(settings)
            self._operators = OperatorApi(settings, self.metrics, self._duty.responder, active.url)
            await self._operators.start()
        keepers = [self._keep(name, make) for name, make in makes.items() if name in self._names]
        await asyncio.gather(*(keeper.start() for keeper in keepers))
        self._lag = LagWatch(self._keepers, self.metrics)
        self._lag.start()
        self._topics = TopicWatch(self._keepers, self._fatal)
        self._topics.start()

    def _keep(self, name: str, make: Callable[[Callable[[BaseException], None]], Stay]) -> RoleKeeper:
        settings = self._settings
        clusters = [settings.kafka]
        if name == "intake":
            clusters += [source.kafka for source in settings.sources if source.kafka]
        keeper = RoleKeeper(name, make, clusters, self.metrics, self._fatal)
        self._server.before_scrape(keeper.count_blind)
        self._keepers.append(keeper)
        return keeper

    def _intake(self, on_fatal: Callable[[BaseException], None]) -> Stay:
        return IntakeStay(self._settings, self.metrics, self._rules, on_fatal)

    def _detect(self, on_fatal: Callable[[BaseException], None]) -> Stay:
        return OneRole(DetectRole(self._app("detect", on_fatal), self._settings, self.metrics, on_fatal))

    def _enforce(self, on_fatal: Callable[[BaseException], None]) -> Stay:
        app = self._app("enforce", on_fatal)
        return OneRole(EnforceRole(app, self._settings, self.metrics, on_fatal, self._duty))

    def _app(self, role: str, on_fatal: Callable[[BaseException], None]) -> RoleApp:
        settings = self._settings
        return RoleApp(
            role,
            settings.kafka,
            group=settings.group(role),
            instance=settings.worker.instance,
            on_fatal=on_fatal,
        )

    def _readiness(self) -> tuple[bool, str]:
        if self._lag is None:
            return False, "starting"
        waiting = [self._settings.group(keeper.name) for keeper in self._keepers if not keeper.ready]
        if waiting:
            return False, f"waiting for partitions: {', '.join(waiting)}"
        return True, "all roles have their partitions"

    def _export_roles(self) -> None:
        for name in self._names:
            self.metrics.role_ready.labels(name).set(0)
        for keeper in self._keepers:
            self.metrics.role_ready.labels(keeper.name).set(keeper.ready)
            for role in keeper.roles:
                if isinstance(role, DetectRole):
                    role.export()

    def _liveness(self) -> tuple[bool, str]:
        """Fail where a start would help: not where nothing comes, and not where Kafka is away."""
        stuck = [] if self._lag is None else self._lag.stuck(STUCK_SECONDS)
        return not stuck, "; ".join(stuck) or "every partition moves on, or is at its end"

    async def _drain(self) -> None:
        log.info("draining")
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                if self._lag is not None:
                    await self._lag.stop()
                if self._topics is not None:
                    await self._topics.stop()
                await self._files.stop()
                await self._rules.stop()
                if self._operators is not None:
                    await self._operators.stop()
                for keeper in self._keepers:
                    await keeper.stop()
                await self._server.stop()
        except TimeoutError:
            log.warning("draining took too long; what is not flushed will be read again")
            end_process(ExitCode.SOFTWARE)
        log.info("stopped")

    def _fatal(self, error: BaseException) -> None:
        """End the process at once: nothing more may be sent, and replay is exact."""
        error = explained(error)
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
    forbid_dumps()
    # What is alive now stays, and most objects after it die young or live long: looking through all of them
    # often was a fifth of the work. The young ones are looked through often and a few at a time: 50,000 at
    # once stop the process for 25 to 60 ms, a million for 150 to 300 ms, and a finding waits so long; 2,000
    # take 1 to 7 ms, and less in all, since they are still in the processor's caches.
    set_apart()
    gc.set_threshold(2_000, 5, 5_000)
    # The loop and the threads of three consumers hand each other a few records at a time, hundreds of times a
    # second. Each waits for Python's lock, by default 5 ms where another computes: more than all it has to do.
    sys.setswitchinterval(SWITCH_SECONDS)

    async def main() -> None:
        await Worker(settings, roles).run()

    began = time.monotonic()
    asyncio.run(main())
    log.debug("worker ended", seconds=round(time.monotonic() - began, 1))
