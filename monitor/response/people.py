"""The active enforcer as people deal with it (see `responder.Responder`)."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from monitor.errors import MonitorError
from monitor.response import views
from monitor.response.acting import on_act
from monitor.response.answered import AnsweredActs
from monitor.wire.acts import ACT, Receipt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.response.answers import Answer
    from monitor.response.casebook import Casebook
    from monitor.response.delivery import DeliveryDesk
    from monitor.response.states import Decision, Step
    from monitor.response.writer import Writer
    from monitor.settings import Settings
    from monitor.wire.acts import Act
    from monitor.wire.views import AutomationView, CredentialView, EndpointView, FuseView, IncidentView


class People:
    """Puts acts through the one writer, remembers what was answered, and shows the book."""

    def __init__(self, book: Casebook, writer: Writer) -> None:
        self._book = book
        self._writer = writer
        #: Who delivers; None before the takeover is done, when nobody is answered either.
        self.desk: DeliveryDesk | None = None
        self._answered = AnsweredActs()
        #: The answers that are on their way into the ledger, by the id of the act.
        self._answers: dict[str, tuple[asyncio.Future[None], list[Answer]]] = {}

    async def load(self, settings: Settings) -> None:
        """Remember what an enforcer before has answered."""
        await self._answered.load(settings)

    async def act(self, act: Act) -> Receipt:
        """Do what a person asked; returns once the ledger has it."""
        known = self._answered.get(act.act)
        if known is not None:
            return known
        if act.act not in self._answers:
            answers: list[Answer] = []

            def change() -> Step:
                answers.append(on_act(self._book, act, _now_ms()))
                return answers[0].step

            self._answers[act.act] = self._writer.put(change), answers
        await asyncio.shield(self._answers[act.act][0])
        receipt = self._answered.get(act.act)
        if receipt is None:
            raise MonitorError("this enforcer is not active any more; ask again")
        return receipt

    def receive(self, decisions: Sequence[Decision], first: int, at_ms: int) -> None:
        """Remember the receipts of acts that have become durable; `first` is the first entry's number."""
        for sequence, decision in enumerate(decisions, first):
            details = decision.details
            if decision.kind != ACT:
                continue
            _, [answer] = self._answers.pop(details["act"])
            self._answered.add(
                Receipt(
                    act=details["act"],
                    outcome=answer.outcome,
                    text=answer.text,
                    sequence=sequence,
                    at_ms=at_ms,
                    realm=details.get("realm"),
                    id=details.get("id"),
                    version=details.get("version"),
                    incident=details.get("incident"),
                )
            )

    def credentials(self) -> list[CredentialView]:
        """Return all credentials with a record, or in the directory."""
        return views.credential_views(self._book, _now_ms())

    def incidents(self) -> list[IncidentView]:
        """Return all incidents that are remembered, open and ended."""
        return views.incident_views(self._book)

    def fuses(self) -> list[FuseView]:
        """Return the state of every fuse."""
        return views.fuse_views(self._book, _now_ms())

    def endpoints(self) -> list[EndpointView]:
        """Return every gateway of the configuration, and how far it can be told."""
        return self.desk.endpoints() if self.desk is not None else []

    def automation(self) -> AutomationView:
        """Return mode and exceptions."""
        return views.automation_view(self._book, _now_ms())


def _now_ms() -> int:
    return int(time.time() * 1000)
