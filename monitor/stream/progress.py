"""Which partitions stand still although there is something to take: the sign of a consumer that is stuck."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable


class Progress:
    """Remembers for each partition since when its position has not moved with records waiting."""

    __slots__ = ("_looked", "_standing")

    def __init__(self, now: float) -> None:
        self._looked = now
        #: Position, and since when it stands there with something after it.
        self._standing: dict[Hashable, tuple[int, float]] = {}

    def look(self, place: Hashable, position: int, end: int, now: float) -> None:
        """Note where a partition stands; one that is at its end is idle, not stuck."""
        standing = self._standing.get(place)
        if position >= end:
            self._standing.pop(place, None)
        elif standing is None or standing[0] != position:
            self._standing[place] = position, now

    def looked(self, places: Collection[Hashable], now: float) -> None:
        """Note that every partition was looked at, these; others are read elsewhere now."""
        self._looked = now
        for gone in self._standing.keys() - set(places):
            del self._standing[gone]

    def stuck(self, seconds: float, now: float) -> list[str]:
        """Return what stands still for longer than that, in words; empty where all is well."""
        found = [
            f"{place} stands still" for place, (_, since) in self._standing.items() if now - since > seconds
        ]
        if now - self._looked > seconds:
            found.append("nobody looks at the partitions any more")
        return sorted(found)
