"""One event as every format decodes it, before pseudonyms and routing."""

from __future__ import annotations

from typing import Any

import msgspec


class Event(msgspec.Struct, frozen=True, gc=False):
    """One access, as the gateway saw it.

    It still holds raw ids, so it never leaves intake, and its repr says nothing. `principal` is
    set only where the gateway authenticated it. `patients` are different (patient, tenant) pairs.
    """

    time_ms: int
    realm: str
    status: int
    event_id: str | None = None  # only where the format vouches that the gateway made it
    principal: str | None = None
    principal_kind: str | None = None
    object: str | None = None
    patients: tuple[tuple[str, str | None], ...] = ()
    tenant: str | None = None
    client_ip: str | None = None
    method: str | None = None
    route: str | None = None
    bytes: int | None = None
    records: int | None = None
    gateway: str | None = None

    def __repr__(self) -> str:
        """Return a text without any value: events hold raw ids."""
        return "Event(…)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return nothing: rich prints tracebacks with local values."""
        return []
