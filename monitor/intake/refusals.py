"""What intake says of records that are not as they should be.

A flood of bad records makes as many dead letters as a bucket allows: the first ones, then samples; all
are counted.

A broken shipper writes as many bad records as good ones; a letter for each would fill the topic and take
the broker's time from the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from monitor.observe.metrics import Metrics

log = structlog.get_logger(__name__)

#: Letters at once, for each source partition and reason, before only samples are kept.
BURST: Final = 1000
#: Letters a second that come back after that.
PER_SECOND: Final = 10.0


class Allowance:
    """Letters that may still be written: a bucket that fills up again, `PER_SECOND`, to `BURST`."""

    __slots__ = ("_at", "_left", "withheld")

    def __init__(self, now: float) -> None:
        self._at = now
        self._left = float(BURST)
        #: Letters that were not written since the last one that was.
        self.withheld = 0

    def take(self, now: float) -> bool:
        """Return whether a letter may be written at `now`, in seconds of a clock that never goes back."""
        self._left = min(float(BURST), self._left + (now - self._at) * PER_SECOND)
        self._at = now
        if self._left < 1:
            self.withheld += 1
            return False
        self._left -= 1
        return True


class Refusals:
    """The allowances of one source partition, by reason: bounded codes, so few."""

    __slots__ = ("_by_reason",)

    def __init__(self) -> None:
        self._by_reason: dict[str, Allowance] = {}

    def admit(self, reason: str, now: float) -> int | None:
        """Return how many of this reason were withheld before a letter that may be written; else None."""
        allowance = self._by_reason.get(reason)
        if allowance is None:
            allowance = self._by_reason[reason] = Allowance(now)
        if not allowance.take(now):
            return None
        withheld, allowance.withheld = allowance.withheld, 0
        return withheld


class SecretsSeen:
    """Counts secrets that a gateway logged, and warns of each place once: the decoder drops them."""

    def __init__(self, source: str, metrics: Metrics) -> None:
        self._source = source
        self._count = metrics.secrets_in_logs_total.labels
        self._warned: set[str] = set()

    def __call__(self, place: str) -> None:
        """Note a secret at a place of the source's format."""
        self._count(self._source, place).inc()
        if place not in self._warned:
            self._warned.add(place)
            log.warning(
                "the gateway logs secrets; they are dropped here, and stand in the source's topic",
                source=self._source,
                place=place,
                remedy="monitor formats show FORMAT says how to keep the gateway from it",
            )
