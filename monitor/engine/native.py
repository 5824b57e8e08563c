"""The detector whose subjects, windows and counts are in C++ (src/store.hpp).

What is rare stays in Python and is the same code: rule sets, statuses, incidents, findings. The native
store calls back for it, in the middle of a record, and the subject that it names is a `HeldSubject`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from monitor import engine
from monitor.core.detector import Detector
from monitor.core.events import KIND, OFFSET, RowKind
from monitor.core.evidence import Evidence, row_evidence
from monitor.core.findings import Excess
from monitor.core.incident import Incident
from monitor.core.nearness import shares
from monitor.core.renaming import rename
from monitor.core.resting import RestingSubject
from monitor.core.subject import NOT_RECOVERED
from monitor.core.telling import tell, tell_found
from monitor.core.values import pseudonym_number
from monitor.engine.held import HeldListening, HeldSubject, HeldSubjects, lasts
from monitor.engine.packed import PackedRows
from monitor.engine.plans import plan_spec
from monitor.errors import InvariantError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from monitor.core.events import Row, RowsRecord, RulesRecord
    from monitor.core.findings import Place
    from monitor.core.outcomes import Outcomes
    from monitor.core.resting import Unpack
    from monitor.core.subject import Subject
    from monitor.core.subjects import SubjectKey

_EVENT: Final = RowKind.EVENT.value
#: In the order of the store's tally.
_TALLIED: Final = (
    "applied",
    "duplicates",
    "too_late",
    "late",
    "lost_late",
    "clamped",
    "replay_skipped",
)
#: Subjects whose records are made in one call: some milliseconds of work.
SAVED_AT_ONCE: Final = 1_000

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode


class NativeDetector(Detector):
    """A `Detector` that finds the same, byte for byte, several times as fast."""

    def __init__(self, partition: int, *, unpack: Unpack | None = None, **options: Any) -> None:
        super().__init__(partition, unpack=unpack, **options)
        self.store = engine.store.Store(self, InvariantError)
        self._held = HeldSubjects(self.store)
        self.subjects = self._held  # type: ignore[assignment]
        self._listening = HeldListening(self.subjects, options.get("quiet_ms", 2 * 60_000))
        self._at_hand: tuple[RowsRecord, Place] | None = None
        self._plan_changed()

    def activate(self, record: RulesRecord, append_ms: int) -> bool:
        """Put a rule set in force from the next row on; return False where the old one stays."""
        changed = super().activate(record, append_ms)
        if changed:
            self._plan_changed()
        return changed

    def restore_rules(self, plain: Sequence[Any], stamp: int) -> None:
        """Put the rule set of a snapshot in force, as it was after the routed offset `stamp`."""
        super().restore_rules(plain, stamp)
        self._plan_changed()

    def take_nearest(self) -> dict[str, float]:
        """Return how near rules came, as snapshots found it since the last call (see `Nearness`)."""
        highest = {(key, timespan_ms): held for key, timespan_ms, held in self.store.take_nearest()}
        return shares(highest, self._plan)

    def settle(self, at: int, limit: int) -> list[SubjectKey]:
        """Make ready up to `limit` subjects that the store recovered, from the one at `at` on.

        Returns those that stand in pages, which the store has not.
        """
        lasting, paged = self.store.settle(at, limit)
        self._held.note_lasting(lasting)
        keys: list[SubjectKey] = paged
        return keys

    def snapshot_subject(self, key: SubjectKey) -> list[Any]:
        """Return a subject in a plain form."""
        plain: list[Any] = _unpack(self.store.snapshot(*key))
        return plain

    def sweep(self, append_ms: int, limit: int) -> list[SubjectKey]:
        """Free subjects that no longer matter; look at `limit` of them at most and return those freed."""
        freed: list[SubjectKey] = self.store.sweep(append_ms, self._offset, limit)
        return freed

    def take_outcomes(self) -> Outcomes:
        """Return what happened since the last call."""
        counters = self._outcomes.counters
        for name, number in zip(_TALLIED, self.store.take_tally(), strict=True):
            counters[name] += number
        self._outcomes.evidence += self.store.take_evidence()
        return super().take_outcomes()

    def _judge_rows(self, record: RowsRecord, prior: int, place: Place) -> None:
        self._at_hand = record, place
        former = record.former
        if not former:
            self._judge_packed(PackedRows.of(record.rows), prior, place)
            return
        # One by one while a pseudonym key gives way to another: names change in between.
        for row in record.rows:
            if self._guarded(row, partial(self._rename, row, former, prior, place)):
                self._judge_packed(PackedRows.of([row]), prior, place)

    def _rename(self, row: Row, former: Mapping[str, Sequence[str]], prior: int, place: Place) -> None:
        if row[OFFSET] > prior and row[KIND] == _EVENT:
            rename(self.subjects, row, former, place)

    def _judge_packed(self, rows: PackedRows, prior: int, place: Place) -> None:
        try:
            self.store.apply(
                rows.content, rows.at, prior, place.offset, place.append_ms, self._max_age_ms, place.source
            )
        except ValueError as error:
            msg = f"routed-{self._partition} offset {place.offset}: rows that cannot be read ({error})"
            raise InvariantError(msg) from None

    def _plan_changed(self) -> None:
        self.store.set_plan(plan_spec(self._plan))

    def _settle(self, subject: Subject) -> None:
        """Nothing waits."""

    def _settle_all(self) -> None:
        """Nothing waits."""

    # What the store calls.

    @staticmethod
    def native_row(packed: bytes) -> Row:
        """Return a row unpacked."""
        row: Row = _unpack(packed)
        return row

    native_number = staticmethod(pseudonym_number)

    def native_status(self, packed: bytes) -> bool:
        """Take a row that is no event; return whether it could be read."""
        row = _unpack(packed)
        _, place = self._now
        return self._guarded(row, partial(self._status, row, place))

    def native_judged(  # noqa: PLR0917 - all that an event is
        self,
        axis: str,
        name: str,
        packed: bytes,
        time_ms: int,
        told: str | None,
        excesses: list[tuple[Any, bytes, bool, int, int, bool]],
    ) -> bool:
        """Tell of an incident, and make findings of rules that hold; return whether that could be done."""
        subject: Any = HeldSubject(self.store, axis, name)
        row = _unpack(packed)
        _, place = self._now
        found = [
            Excess(planned, tuple(_unpack(group)) if group else (), straggler, last_ms, first_ms, stale)
            for planned, group, straggler, last_ms, first_ms, stale in excesses
        ]
        if told is not None:
            tell(self._outcomes, told, place, subject, time_ms)
        return self._guarded(row, partial(tell_found, self._outcomes, subject, row, place, found))

    def native_evidence(self, case: str, packed: bytes, time_ms: int) -> Evidence:
        """Return what a row is evidence of, where a column of it is no text."""
        return Evidence(case, *row_evidence(_unpack(packed)), time_ms, self._now[1].source)

    def native_failed(self, offset: int | None, error: str) -> None:
        """Report a row that could not be judged."""
        record, _ = self._now
        self._failed(record, () if offset is None else (offset,), error)

    @staticmethod
    def native_incident(packed: bytes) -> tuple[Incident, bool]:
        """Return an incident unpacked, and whether its subject always counts."""
        incident = Incident.restore(_unpack(packed))
        return incident, lasts(incident)

    @staticmethod
    def native_packed(incident: Incident) -> bytes:
        """Return an incident packed."""
        return _pack(incident.snapshot())

    @staticmethod
    def native_modern(axis: str, name: str, packed: bytes) -> bytes:
        """Return a subject of a version before in the form of this one; raises InvariantError."""
        return _pack(RestingSubject(packed, NOT_RECOVERED, None).wake(axis, name, _unpack).snapshot())

    @property
    def _now(self) -> tuple[RowsRecord, Place]:
        """The record whose rows are judged, and its place."""
        if self._at_hand is None:
            raise InvariantError("a row was judged before a record was taken")
        return self._at_hand

    def _guarded(self, row: Row, judge: Callable[[], None]) -> bool:
        """Do what a row asks for; return whether that could be done, and report it where not."""
        try:
            judge()
        except InvariantError:
            raise
        except Exception as error:  # noqa: BLE001 - one crafted row must not stop the others
            record, _ = self._now
            self._failed(record, row, type(error).__name__)
            return False
        return True
