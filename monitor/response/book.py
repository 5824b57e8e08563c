"""What deliveries need of whoever holds the records of credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from monitor.response.adapters import Endpoint
    from monitor.response.adapters.protocol import Seen
    from monitor.wire.credentials import CredentialRecord


class Book(Protocol):
    """The enforcer, as deliveries see it; what is awaited returns once it is durable."""

    def newest(self, subject: str) -> CredentialRecord | None:
        """Return the newest record of a credential."""

    def subjects(self) -> Iterable[str]:
        """Return all credentials that have a record."""

    def is_disabled(self, endpoint: Endpoint) -> bool:
        """Return whether a receiver wants no more calls, and its configuration is still the same."""

    async def attempting(self, subject: str, version: int, adapter: str) -> bool:
        """Note that a call is about to be made; False where a newer version has come meanwhile."""

    async def accepted(
        self, subject: str, version: int, adapter: str, *, awaited: frozenset[str], note: str | None
    ) -> None:
        """Note that an adapter has taken a version; `awaited` are all that must."""

    async def given_up(self, subject: str, version: int, adapter: str, reason: str) -> None:
        """Note that an adapter will not take a version."""

    async def disabled(self, endpoint: Endpoint, reason: str) -> None:
        """Note that a receiver wants no more calls."""

    async def seen(self, subject: str, version: int, adapter: str, seen: Seen) -> None:
        """Note what a gateway said of a credential when it was asked."""
