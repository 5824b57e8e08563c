"""How much the subjects of a partition hold, counted while the sweep goes round them anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from monitor.core.resting import RestingSubject

if TYPE_CHECKING:
    from monitor.core.subject import Subject


class Held(NamedTuple):
    """What subjects hold: windows of those in use, and the bytes of all, packed.

    A subject at rest is packed as it was saved: its windows are among the bytes only.
    """

    windows: int = 0
    packed_bytes: int = 0


class Census:
    """Adds up what subjects hold, one after the other; `last` is what the last whole round came to."""

    __slots__ = ("_bytes", "_windows", "last")

    def __init__(self) -> None:
        self.last = Held()
        self._windows = self._bytes = 0

    def add(self, subject: Subject | RestingSubject) -> None:
        """Count a subject of this round."""
        if isinstance(subject, RestingSubject):
            self._bytes += len(subject.packed)
            return
        self._windows += len(subject.series)
        for series in subject.series.values():
            self._bytes += series.window.packed_bytes
        if subject.history is not None:
            self._bytes += subject.history.packed_bytes

    def end_round(self) -> None:
        """Begin again: every subject was counted."""
        self.last = Held(self._windows, self._bytes)
        self._windows = self._bytes = 0
