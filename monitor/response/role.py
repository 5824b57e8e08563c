"""The enforce role: whoever owns the one partition of `findings` is the active enforcer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.errors import InvariantError
from monitor.response.adapters import build_endpoints
from monitor.response.enforcer import Enforcer
from monitor.response.opening import opener_of
from monitor.stream.partition import OpenPartition
from monitor.stream.role import SendingRole

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from monitor.observe.metrics import Metrics
    from monitor.response.operators.duty import Duty
    from monitor.settings import Settings
    from monitor.stream.chunks import Partition, RoleApp
    from monitor.stream.records import FetchedRecord


class FindingsPartition(OpenPartition):
    """The partition of `findings`; it lives as long as its enforcer.

    The position that counts is in the ledger, written in the transaction of the decision. The
    group's is only a lower bound for it.
    """

    def __init__(self, tp: Partition, position: int, enforcer: Enforcer, duty: Duty) -> None:
        super().__init__(tp, position)
        self._enforcer = enforcer
        self._duty = duty

    async def open(self) -> None:
        """Take over as the active enforcer."""
        await self._enforcer.start()
        decided = self._enforcer.findings_offset
        if 0 < decided < self.committed:
            msg = (
                f"{self.tp.topic}-{self.tp.partition}: the ledger has decided up to {decided}, but the"
                f" group goes on at {self.committed}: findings between them would be left out"
            )
            raise InvariantError(msg)
        self._duty.begin(self._enforcer.people)

    async def take(self, records: Sequence[FetchedRecord]) -> None:
        """Begin to decide: what comes while one transaction is made durable goes into the next one together."""
        await self._enforcer.take_findings(records)

    async def take_alone(
        self,
        record: FetchedRecord,
        fatal: int | None,
        trying: Callable[[int], Awaitable[None]],
    ) -> None:
        """Decide about one record; that is over when this returns, so that a crash is known to be its fault."""
        await super().take_alone(record, fatal, trying)
        await self._enforcer.decided()

    async def flush(self, *, final: bool) -> int | None:
        """Return the position below which all is decided, durably."""
        if final:
            await self._enforcer.decided()
        return min(self.continuity.next, max(self._enforcer.findings_offset, self.committed))

    async def close(self) -> None:
        """Stand down."""
        self._duty.end(self._enforcer.people)
        await self._enforcer.stop()

    async def drop(self) -> None:
        """Stand down at once."""
        self._duty.end(self._enforcer.people)
        await self._enforcer.drop()


class EnforceRole(SendingRole):
    """Consumes `findings`; all but one process stand by."""

    def __init__(
        self,
        app: RoleApp,
        settings: Settings,
        metrics: Metrics,
        on_fatal: Callable[[BaseException], None],
        duty: Duty,
    ) -> None:
        super().__init__(app, settings, metrics, "findings", on_fatal)
        self._metrics = metrics
        self._duty = duty

    async def start(self) -> None:
        """Join the group.

        Raises ConfigurationError where a gateway cannot be told or the key of handles not be read: a
        standby says so at its start, not when it is needed.
        """
        build_endpoints(self.settings.response.adapters)
        opener_of(self.settings)
        await super().start()

    def new_partition(self, tp: Partition, position: int) -> FindingsPartition:
        """Return the partition with an enforcer that is not active yet."""
        enforcer = Enforcer(self.settings, self._metrics, self.producer, self.on_fatal)
        return FindingsPartition(tp, position, enforcer, self._duty)
