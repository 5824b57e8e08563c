"""The rule files of a worker's machine: SIGHUP publishes them, and a metric says where they differ.

A worker's start publishes nothing: two machines with different files would undo each other's rules
at every restart.
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from monitor.errors import ConfigurationError, MonitorError
from monitor.stream.control import publish, publish_act
from monitor.stream.fatal import guarded_task
from monitor.stream.rules import holds, read_configured_rules, rule_set_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitor.observe.metrics import Metrics
    from monitor.rulebook import LoadedRules
    from monitor.settings import Settings
    from monitor.stream.rules import RulesFollower
    from monitor.wire.credentials import RulesInForce

log = structlog.get_logger(__name__)

#: How often the rule files are compared with what is in force, in seconds.
COMPARE_SECONDS: Final = 60.0


class RuleFiles:
    """Compares the rule files with what is in force, and publishes them when it is asked to."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        follower: RulesFollower,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._follower = follower
        self._on_fatal = on_fatal
        self._asked = False
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        #: What was wrong with the files when they were last compared.
        self._faults = ""

    def start(self) -> None:
        """Begin to compare."""
        self._follower.tell(self._changed)
        self._task = guarded_task(self._run, self._on_fatal)

    async def stop(self) -> None:
        """Stop comparing; what was sent is sent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def reload(self) -> None:
        """Publish what the files say, soon; several calls at once count as one."""
        self._asked = True
        self._woken.set()

    def _changed(self, rules: RulesInForce) -> None:
        # Prometheus forgets the allow-lists that are gone.
        gauge = self._metrics.allow_list_expiry_timestamp_seconds
        gauge.clear()
        with suppress(ConfigurationError):  # whoever routes by it says what is wrong
            for allow_list in rule_set_of(rules).allow_lists:
                gauge.labels(allow_list.title or allow_list.id).set(allow_list.expires_ms / 1000)
        self._woken.set()

    async def _run(self) -> None:
        while True:
            if self._asked:
                self._asked = False
                await self._reload()
            await self._compare()
            # Not `wait_for`: in Python 3.11 it loses a cancellation that comes as the event is set.
            with suppress(TimeoutError):
                async with asyncio.timeout(COMPARE_SECONDS):
                    await self._woken.wait()
            self._woken.clear()

    async def _reload(self) -> None:
        log.info("SIGHUP: reading the rule files again")
        try:
            rules = await self._read()
            if self._in_force(rules):
                log.info("the rule files say what is in force", revision=rules.rule_set.revision)
            else:
                by = f"SIGHUP on {self._settings.worker.instance or socket.gethostname()}"
                newest = self._follower.newest
                after = newest.version if newest else None
                act = publish_act(rules.rule_set, rules.texts, by=by, reason="", after=after)
                answer = await publish(self._settings, act)
                log.info("the rule files are in force", version=answer.version, revision=answer.revision)
        except ConfigurationError as error:
            self._failed(error.title, [str(fault) for fault in error.faults])
        except MonitorError as error:
            self._failed(str(error), [])
        except Exception as error:  # noqa: BLE001 - rule files must not end a worker that counts
            self._failed(type(error).__name__, [])
        else:
            self._metrics.rules_last_reload_successful.set(1)
            self._metrics.rules_last_reload_success_timestamp_seconds.set(time.time())

    def _failed(self, reason: str, faults: list[str]) -> None:
        self._metrics.rules_reload_failures_total.inc()
        self._metrics.rules_last_reload_successful.set(0)
        log.error("the rule files were not put in force; the rules before stay", reason=reason, faults=faults)

    async def _compare(self) -> None:
        if self._follower.newest is None:
            return
        faults = ""
        try:
            differ = not self._in_force(await self._read())
        except ConfigurationError as error:
            differ, faults = True, str(error)
        except Exception as error:  # noqa: BLE001 - see _reload
            differ, faults = True, type(error).__name__
        if faults and faults != self._faults:
            log.warning("the rule files cannot be used; the rules in force stay", reason=faults)
        self._faults = faults
        self._metrics.rules_differ_from_files.set(differ)

    async def _read(self) -> LoadedRules:
        return await asyncio.to_thread(read_configured_rules, self._settings)

    def _in_force(self, rules: LoadedRules) -> bool:
        newest = self._follower.newest
        return newest is not None and holds(newest, rules.rule_set)
