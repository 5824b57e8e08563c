"""What follows a finding in a credential's state: whom it read, what leaked, the first refusal, silence.

A credential keeps the patients it read last, with the tenant of each, whatever its rules; findings
and incidents count among them. An incident is *open* from the status row that refuses the credential
until the one that makes it active again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from monitor.core.events import CredentialStatus
from monitor.core.values import pseudonym_number
from monitor.core.windows import NEVER, ValueCountWindow, restore_window
from monitor.errors import InvariantError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Patients that each credential remembers; where there were more, counts say "at least".
REMEMBERED_PATIENTS: Final = 1_000
#: Findings that each credential remembers until a status answers one.
_REMEMBERED_FINDINGS: Final = 16
REFUSALS: Final = frozenset({401, 403, 429})

_ACTIVE: Final = CredentialStatus.ACTIVE.value


class PatientHistory:
    """The patients that a credential read with success, each with its latest time and tenant.

    Patients are numbers (see `values`).
    """

    __slots__ = ("_tenants", "_window")

    def __init__(self) -> None:
        self._window = ValueCountWindow(REMEMBERED_PATIENTS)
        self._tenants: dict[int, str | None] = {}

    def add(self, time_ms: int, read: Sequence[tuple[int, str | None]]) -> None:
        """Remember the (patient, tenant) pairs of one event."""
        self._window.add(time_ms, [patient for patient, _ in read])
        self._tenants.update(read)
        if len(self._tenants) > 2 * REMEMBERED_PATIENTS:
            self._forget()

    def extend(self, read: Sequence[tuple[int, Sequence[tuple[int, str | None]]]]) -> None:
        """Remember the pairs of several events, in order of time, none before one remembered already."""
        tenants = self._tenants
        entries = []
        for time_ms, pairs in read:
            tenants.update(pairs)
            entries += [(time_ms, patient) for patient, _ in pairs]
        self._window.extend(read[-1][0], entries)
        if len(tenants) > 2 * REMEMBERED_PATIENTS:
            self._forget()

    def rename(self, patient: int, to: int) -> bool:
        """Call a patient by another number from now on; return whether it was here."""
        tenants = self._tenants
        if patient in tenants:
            tenants.setdefault(to, tenants.pop(patient))
        return self._window.rename(patient, to)

    @property
    def last_ms(self) -> int:
        """The latest time of an event that was remembered."""
        return self._window.last

    @property
    def packed_bytes(self) -> int:
        """What the patients and their times take, in bytes."""
        return self._window.packed_bytes

    def count_after(self, after_ms: int) -> tuple[int, bool, int]:
        """Return (patients, whether there were more, tenants) read after a time (exclusive)."""
        window = self._window
        patients = window.values_after(after_ms)
        tenants = {self._tenants[patient] for patient in patients} - {None}
        return len(patients), window.lost > after_ms, len(tenants)

    def snapshot(self) -> list[Any]:
        """Return a plain form that `restore` reads: each patient's tenant by its place in a list."""
        of = [self._tenants[patient] for patient in self._window.values_after(NEVER)]
        tenants = list(dict.fromkeys(of))
        places = {tenant: place for place, tenant in enumerate(tenants)}
        return [self._window.snapshot(), tenants, [places[tenant] for tenant in of]]

    @classmethod
    def restore(cls, plain: Sequence[Any]) -> PatientHistory:
        """Return the history of a plain form, of this version or the one before (patients with tenants).

        Raises InvariantError where it is not one.
        """
        window = restore_window(plain[0])
        if not isinstance(window, ValueCountWindow):
            msg = "a history of patients holds no values"
            raise InvariantError(msg)
        history = cls()
        history._window = window
        if len(plain) == 2:  # noqa: PLR2004 - the form before
            history._tenants = {pseudonym_number(patient): tenant for patient, tenant in plain[1]}
        else:
            _, tenants, places = plain
            of = [tenants[place] for place in places]
            history._tenants = dict(zip(window.values_after(NEVER), of, strict=True))
        return history

    def _forget(self) -> None:
        """Drop the tenants of patients that the window dropped."""
        self._tenants = {patient: self._tenants[patient] for patient in self._window.values_after(NEVER)}


class Incident:
    """The status of one credential, and what happened since a finding, and since it was refused.

    `leaked` counts successes after the credential stopped being active, `exposed` those before that,
    after the finding; `refused` tells whether a refusal was seen since the latest status. Its `case` is
    the finding from which on each success is evidence: until a status ends it, or, where none answers,
    for one timespan.
    """

    __slots__ = (
        "_case_until_ms",
        "_findings",
        "_told",
        "case",
        "exposed",
        "finding",
        "heard_ms",
        "leaked",
        "quiet",
        "refused",
        "reopened_ms",
        "said_ms",
        "since_ms",
        "start_ms",
        "status",
        "version",
        "watch",
    )

    def __init__(self) -> None:
        self.status: str = _ACTIVE
        self.version = 0
        #: The finding that the status answers, and the time of its window's first event.
        self.finding: str | None = None
        self.start_ms = NEVER
        #: When the credential stopped being active.
        self.since_ms = NEVER
        self.leaked = 0
        self.refused = False
        self._findings: dict[str, int] = {}
        self.case: str | None = None
        #: Without a status the case ends after this time (inclusive); None until a status ends it.
        self._case_until_ms: int | None = None
        #: The finding that is held, and how many patients were told of since.
        self.watch: str | None = None
        self._told = 0
        self.exposed = 0
        #: The latest request since the credential was refused, and whether its silence was told.
        self.heard_ms = NEVER
        self.quiet = False
        self.reopened_ms = NEVER
        #: When the status was decided that was applied last.
        self.said_ms = NEVER

    @property
    def active(self) -> bool:
        """Whether the credential may be used."""
        return self.status == _ACTIVE

    def found(self, finding: str, first_ms: int, last_ms: int, timespan_ms: int) -> None:
        """Remember a finding, and the time of its window's first event, until a status answers it.

        `last_ms` is the latest event of its window.
        """
        self._findings[finding] = first_ms
        if len(self._findings) > _REMEMBERED_FINDINGS:
            del self._findings[next(iter(self._findings))]
        if self.case is None or not self.follows(last_ms):
            self.case, self._case_until_ms, self.exposed = finding, last_ms + timespan_ms, 0
        elif self._case_until_ms is not None:
            self._case_until_ms = max(self._case_until_ms, last_ms + timespan_ms)

    def follows(self, time_ms: int) -> bool:
        """Return whether a success at a time is evidence of the case."""
        return self.case is not None and (self._case_until_ms is None or time_ms <= self._case_until_ms)

    def change(self, version: int, status: str, finding: str | None, at_ms: int) -> None:
        """Take a newer status, decided at `at_ms`."""
        was_active = self.active
        self.version, self.status, self.refused = version, status, False
        self.heard_ms, self.quiet, self.said_ms = at_ms, False, at_ms
        if status == _ACTIVE:
            self.finding, self.start_ms, self.since_ms, self.leaked = None, NEVER, NEVER, 0
            self._findings.clear()
            self._end_case()
        elif was_active:
            self.finding = finding if finding is not None else next(reversed(self._findings), None)
            self.start_ms = self._findings.get(self.finding or "", at_ms)
            self.since_ms, self.leaked = at_ms, 0
            self.case, self._case_until_ms = self.case or self.finding, None

    def attend(self, watch: str | None, at_ms: int) -> None:
        """Follow a finding that is held, or no more (None); what was said before changes nothing."""
        if watch == self.watch or at_ms < self.said_ms:
            return
        self.said_ms = at_ms
        self.watch = watch
        if not self.active:
            return
        if watch is None:
            self.start_ms = NEVER
            self._end_case()
        else:
            self.start_ms, self._told = self._findings.get(watch, at_ms), 0
            self.case, self._case_until_ms = self.case or watch, None

    def reopens(self, at_ms: int) -> bool:
        """Return whether what was found before a time may be found again; the same time counts once."""
        if at_ms <= self.reopened_ms:
            return False
        self.reopened_ms = at_ms
        return True

    def seen(self, http_status: int, time_ms: int) -> str | None:
        """Take a request made while the credential is refused; return what to tell of it.

        ``leaked`` for the 1st, 2nd, 4th, 8th… success after the change, ``refused`` for the first
        refusal after it; else None. Requests from before the change say nothing.
        """
        if time_ms <= self.since_ms:
            return None
        self.heard_ms = max(self.heard_ms, time_ms)
        if http_status in REFUSALS:
            if self.refused:
                return None
            self.refused = True
            return "refused"
        if 200 <= http_status < 300:  # noqa: PLR2004 - HTTP's successes
            self.leaked += 1
            return None if self.leaked & (self.leaked - 1) else "leaked"
        return None

    def exposes(self, http_status: int, time_ms: int, history: PatientHistory | None) -> str | None:
        """Take a request of an active credential after a finding; return ``exposed`` where to tell of it.

        That is at the 1st, 2nd, 4th, 8th… success, and at each doubling of its patients, while held.
        """
        if not 200 <= http_status < 300 or not self.follows(time_ms):  # noqa: PLR2004 - HTTP's successes
            return None
        self.exposed += 1
        if self.watch is None:
            return None
        patients = 0 if history is None else history.count_after(self.start_ms - 1)[0]
        if patients >= 2 * self._told:
            self._told = patients
        elif self.exposed & (self.exposed - 1):
            return None
        return "exposed"

    def falls_quiet(self, time_ms: int, quiet_ms: int) -> bool:
        """Return whether it has made no request for so long before a time; told once per silence."""
        if self.active or self.refused or self.quiet or time_ms < self.heard_ms + quiet_ms:
            return False
        self.quiet = True
        return True

    def snapshot(self) -> list[Any]:
        """Return a plain form that `restore` reads."""
        return [
            self.status,
            self.version,
            self.finding,
            self.start_ms,
            self.since_ms,
            self.leaked,
            self.refused,
            list(self._findings.items()),
            self.case,
            self._case_until_ms,
            self.watch,
            self._told,
            self.exposed,
            self.heard_ms,
            self.quiet,
            self.reopened_ms,
            self.said_ms,
        ]

    @classmethod
    def restore(cls, plain: Sequence[Any]) -> Incident:
        """Return the incident of a plain form, of this version or the one before (up to its findings)."""
        incident = cls()
        (
            incident.status,
            incident.version,
            incident.finding,
            incident.start_ms,
            incident.since_ms,
            incident.leaked,
            incident.refused,
            findings,
            *more,
        ) = plain
        incident._findings = dict(findings)
        if more:
            (
                incident.case,
                incident._case_until_ms,
                incident.watch,
                incident._told,
                incident.exposed,
                incident.heard_ms,
                incident.quiet,
                incident.reopened_ms,
                incident.said_ms,
            ) = more
        else:
            incident.heard_ms = incident.since_ms
            incident.case = None if incident.active else incident.finding
        return incident

    def _end_case(self) -> None:
        self.case, self._case_until_ms, self.exposed, self._told = None, None, 0, 0
