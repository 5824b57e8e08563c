"""What deliveries note in the enforcer's book, one durable change each (see `book.Book`)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from monitor.response import lifecycle
from monitor.response.adapters.protocol import Seen
from monitor.response.states import Step

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from monitor.observe.metrics import Metrics
    from monitor.response.adapters import Endpoint
    from monitor.wire.credentials import CredentialRecord


class Receipts:
    """Attempts, acceptances and refusals of gateways, put into the book through its one writer.

    `records` is the book itself, `put` makes a change of it durable, `disable` notes an adapter that is
    not called any more, and `disabled` returns those that were noted.
    """

    def __init__(
        self,
        records: Mapping[str, CredentialRecord],
        put: Callable[[Callable[[], Step]], Awaitable[None]],
        metrics: Metrics,
        *,
        disable: Callable[[str, str, str], Step],
        disabled: Callable[[], Mapping[str, str]],
    ) -> None:
        self._records = records
        self._put = put
        self._metrics = metrics
        self._disable = disable
        self._disabled = disabled

    def newest(self, subject: str) -> CredentialRecord | None:
        """Return the newest record of a credential."""
        return self._records.get(subject)

    def subjects(self) -> Iterable[str]:
        """Return all credentials that have a record."""
        return tuple(self._records)

    def is_disabled(self, endpoint: Endpoint) -> bool:
        """Return whether a receiver wants no more calls, and its configuration is still the same."""
        return self._disabled().get(endpoint.name) == endpoint.fingerprint

    async def attempting(self, subject: str, version: int, adapter: str) -> bool:
        """Note that a call is about to be made; False where a newer version has come meanwhile."""
        current = False

        def change() -> Step:
            nonlocal current
            record = self._records.get(subject)
            current = record is not None and record.version == version
            return lifecycle.on_attempt(record, adapter) if record is not None and current else Step()

        await self._put(change)
        return current

    async def accepted(
        self, subject: str, version: int, adapter: str, *, awaited: frozenset[str], note: str | None
    ) -> None:
        """Note that an adapter has taken a version; `awaited` are all that must."""

        def change() -> Step:
            record = self._records.get(subject)
            if record is None or record.version != version:
                return Step()
            now_ms = _now_ms()
            step = lifecycle.on_accepted(record, adapter, now_ms, awaited, note)
            if step.record is not None and record.accepted_ms is None is not step.record.accepted_ms:
                self._metrics.accepted_seconds.observe((now_ms - record.requested_ms) / 1000)
            return step

        await self._put(change)

    async def given_up(self, subject: str, version: int, adapter: str, reason: str) -> None:
        """Note that an adapter will not take a version."""

        def change() -> Step:
            record = self._records.get(subject)
            if record is None or record.version != version:
                return Step()
            return lifecycle.on_given_up(record, adapter, reason)

        await self._put(change)

    async def disabled(self, endpoint: Endpoint, reason: str) -> None:
        """Note that a receiver wants no more calls; that survives a restart."""
        await self._put(lambda: self._disable(endpoint.name, endpoint.fingerprint, reason))

    async def seen(self, subject: str, version: int, adapter: str, seen: Seen) -> None:
        """Note what a gateway said of a credential when it was asked."""

        def change() -> Step:
            record = self._records.get(subject)
            if record is None or record.version != version:
                return Step()
            return lifecycle.on_read_back(record, adapter, _now_ms(), refused=seen is Seen.REFUSED)

        if change().record is not None:
            await self._put(change)


def _now_ms() -> int:
    return int(time.time() * 1000)
