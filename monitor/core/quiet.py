"""Tells the silence of a credential that is refused, where others of its realm are heard.

A gateway may log a refused request without its name, and an attacker may pause: no refusal comes. What
can be said is that nothing came although the feed of that realm is alive, since an event of another
credential, of so long after, did come. It is decided at a row of the log, so a replay says it at the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.core.events import AXIS, AXIS_PRINCIPAL, KIND, OFFSET, REALM, TIME, RowKind, split_credential
from monitor.core.windows import NEVER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from monitor.core.events import RowsRecord
    from monitor.core.subject import Subject
    from monitor.core.subjects import SubjectKey, Subjects

_EVENT = RowKind.EVENT.value


class Listening:
    """The refused credentials of one routed partition whose refusal was not seen yet.

    It is made anew from the subjects after a restart: those whose status ever changed are asked once.
    """

    def __init__(self, subjects: Subjects, quiet_ms: int) -> None:
        self._subjects = subjects
        self._quiet_ms = quiet_ms
        #: By realm: credential → the event time from which on it would be quiet.
        self._due: dict[str, dict[SubjectKey, int]] = {}
        self._earliest: dict[str, int] = {}

    def to(self, key: SubjectKey, subject: Subject) -> None:
        """Listen to a credential, if it is refused and was not refused in the events yet."""
        incident = subject.incident
        realm, _ = split_credential(key[1])
        if incident is None or incident.active or incident.refused or incident.quiet:
            self._due.get(realm, {}).pop(key, None)
            return
        due_ms = incident.heard_ms + self._quiet_ms
        self._due.setdefault(realm, {})[key] = due_ms
        self._earliest[realm] = min(due_ms, self._earliest.get(realm, due_ms))

    def hear(
        self, record: RowsRecord, prior: int, offset: int, append_ms: int
    ) -> Iterator[tuple[Subject, int]]:
        """Yield the credentials that fell quiet by a record's rows above `prior`, each with the time."""
        for key in self._subjects.take_lasting():
            self.to(key, self._subjects.awake(key, self._subjects.held[key]))
        if not self._due:
            return
        for realm, time_ms in self._requests(record, prior, append_ms):
            earliest_ms = self._earliest.get(realm)
            if earliest_ms is not None and time_ms >= earliest_ms:
                yield from self._at(realm, time_ms, offset)

    def _requests(self, record: RowsRecord, prior: int, append_ms: int) -> Iterable[tuple[str, int]]:
        """Return (realm, time as it counts) of the requests of credentials above `prior`, in their order.

        Those before the earliest that is awaited in their realm may be missing.
        """
        for row in record.rows:
            try:
                if row[OFFSET] <= prior or row[KIND] != _EVENT or row[AXIS] != AXIS_PRINCIPAL:
                    continue
                realm, time_ms = row[REALM], min(row[TIME], append_ms)
                if realm not in self._earliest:
                    continue
            except (TypeError, IndexError):
                continue  # a malformed row, which is reported already
            yield realm, time_ms

    def _at(self, realm: str, time_ms: int, offset: int) -> Iterator[tuple[Subject, int]]:
        due = self._due[realm]
        for key in [key for key, due_ms in due.items() if due_ms <= time_ms]:
            held = self._subjects.held.get(key)
            if held is None:
                del due[key]
                continue
            subject = self._subjects.awake(key, held)
            if offset <= subject.recovered:
                continue  # its state holds what came of this row
            if subject.incident is not None and subject.incident.falls_quiet(time_ms, self._quiet_ms):
                yield subject, time_ms
            self.to(key, subject)
        if due:
            self._earliest[realm] = min(due.values(), default=NEVER)
        else:
            del self._due[realm], self._earliest[realm]
