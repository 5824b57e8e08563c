"""Deliveries without an enforcer: a desk, the book that it notes in, and a gateway that does as it is told."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from monitor.observe.metrics import Metrics
from monitor.response import lifecycle
from monitor.response.adapters.protocol import Accepted, DesiredState, Outcome, Seen, Traits
from monitor.response.breaker import RetryPolicy
from monitor.response.casebook import Casebook
from monitor.response.delivery import DeliveryDesk
from monitor.response.receipts import Receipts
from monitor.response.states import Step
from tests.response.stage import POLICY, finding, metric, now_ms, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from monitor.response.adapters import Endpoint
    from monitor.wire.credentials import CredentialRecord

SUBJECT = "gate/partner-1"


class Book:
    """The enforcer's book, in memory: what deliveries note, in order."""

    def __init__(self) -> None:
        self.cases = Casebook(POLICY)
        self.records = self.cases.records
        self.kinds: list[str] = []
        self.disabled: dict[str, str] = {}

    def take(self, step: Step) -> CredentialRecord:
        """Note a step."""
        assert step.record is not None
        self.cases.take(step)
        self.kinds += [decision.kind for decision in step.decisions]
        return step.record

    def found(self, number: int = 1, principal: str = "partner-1", **changes: Any) -> CredentialRecord:
        """Note a finding."""
        entry = finding(number, principal, **changes)
        return self.take(lifecycle.on_finding(self.cases, entry, now_ms()))

    async def put(self, change: Callable[[], Step]) -> None:
        step = change()
        if step.record is not None:
            self.take(step)

    def disable(self, adapter: str, fingerprint: str, reason: str) -> Step:
        self.disabled[adapter] = fingerprint
        self.kinds.append("adapter_disabled")
        return Step()


class Desk:
    """A desk with its book."""

    def __init__(self, endpoints: Sequence[Endpoint], book: Book | None = None, **changes: float) -> None:
        self.book = book or Book()
        self.metrics = Metrics()
        self.fatal: list[BaseException] = []
        receipts = Receipts(
            self.book.records,
            self.book.put,
            self.metrics,
            disable=self.book.disable,
            disabled=lambda: self.book.disabled,
        )
        policy = RetryPolicy(ceiling=changes.get("ceiling", 0.02), give_up=changes.get("give_up", 60.0))
        self.desk = DeliveryDesk(endpoints, receipts, self.metrics, policy, on_fatal=self.fatal.append)

    def tell(self, number: int = 1, principal: str = "partner-1", **changes: Any) -> CredentialRecord:
        """Decide about a finding, and deliver."""
        record = self.book.found(number, principal, **changes)
        self.desk.deliver(record.subject)
        return record

    def state(self, subject: str = SUBJECT) -> str:
        """How far the response is."""
        return self.book.records[subject].state

    async def reaches(self, state: str, subject: str = SUBJECT) -> None:
        """Return once the response is as far as that, and nothing is under way."""
        await until(lambda: self.state(subject) == state and not self.desk.under_way)
        assert self.fatal == []

    def count(self, result: str, adapter: str = "webhook-0") -> float:
        """How many attempts had a result."""
        return metric(self.metrics, "deliveries_total", adapter=adapter, result=result)


@asynccontextmanager
async def desk_of(*endpoints: Endpoint, book: Book | None = None, **changes: float) -> AsyncIterator[Desk]:
    """Open a desk; stop it at the end."""
    desk = Desk(endpoints, book, **changes)
    try:
        yield desk
    finally:
        await desk.desk.stop()


class Scripted:
    """An adapter that answers as it is told, the last answer for ever, and keeps a gateway's state."""

    def __init__(self, *outcomes: Outcome, name: str = "scripted") -> None:
        self.name = name
        self.traits = Traits(kinds=frozenset({"api_key"}), time_to_effect_seconds=0.0, scope="the credential")
        self.outcomes = list(outcomes) or [Accepted()]
        self.at: list[float] = []
        self.told: list[DesiredState] = []
        self.refused: set[str] = set()
        #: Credentials whose calls hang until the event is set.
        self.hangs: dict[str, asyncio.Event] = {}

    async def tell(self, wanted: DesiredState) -> Outcome:
        self.at.append(asyncio.get_running_loop().time())
        self.told.append(wanted)
        if wanted.id in self.hangs:
            await self.hangs[wanted.id].wait()
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Accepted):
            (self.refused.add if wanted.refused else self.refused.discard)(wanted.id)
        return outcome

    async def read_back(self, wanted: DesiredState) -> Seen | None:
        return Seen.REFUSED if wanted.id in self.refused else Seen.ACTIVE

    async def probe(self) -> list[str]:
        return []

    async def close(self) -> None:
        pass
