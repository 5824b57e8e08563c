"""What the operator API needs of the enforcer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.wire.acts import Act, Receipt
    from monitor.wire.views import AutomationView, CredentialView, EndpointView, FuseView, IncidentView


class Responder(Protocol):
    """The active enforcer, as a person deals with it.

    The views are taken from memory, without waiting: they show what is durable.
    """

    async def act(self, act: Act) -> Receipt:
        """Do what a person asked; returns once the ledger has it.

        A repeated `act.act` gets the first receipt and changes nothing, also after a take-over (the
        API admits an act only within minutes of its `at_ms`, so remembering an hour of them is
        enough). What cannot be done is a receipt with outcome ``refused``, not an exception. Rights
        were checked before. Raises a MonitorError where this enforcer is not active any more.
        """

    def credentials(self) -> Sequence[CredentialView]:
        """Return all credentials with a record, or in the directory, in no order."""

    def incidents(self) -> Sequence[IncidentView]:
        """Return all incidents that are remembered, open and ended, in no order."""

    def fuses(self) -> Sequence[FuseView]:
        """Return the state of every fuse."""

    def endpoints(self) -> Sequence[EndpointView]:
        """Return every gateway of the configuration, and how far it can be told."""

    def automation(self) -> AutomationView:
        """Return mode and exceptions."""
