"""What follows a finding in a credential's state: whom it read, what leaked, the first refusal.

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
    """The status of one credential, and what happened since it was last changed.

    `leaked` counts successes after the credential stopped being active; `refused` tells whether a
    refusal was seen since the latest status.
    """

    __slots__ = (
        "_findings",
        "finding",
        "leaked",
        "refused",
        "since_ms",
        "start_ms",
        "status",
        "version",
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

    @property
    def active(self) -> bool:
        """Whether the credential may be used."""
        return self.status == _ACTIVE

    def found(self, finding: str, first_ms: int) -> None:
        """Remember a finding, and the time of its window's first event, until a status answers it."""
        self._findings[finding] = first_ms
        if len(self._findings) > _REMEMBERED_FINDINGS:
            del self._findings[next(iter(self._findings))]

    def change(self, version: int, status: str, finding: str | None, at_ms: int) -> None:
        """Take a newer status, decided at `at_ms`."""
        was_active = self.active
        self.version, self.status, self.refused = version, status, False
        if status == _ACTIVE:
            self.finding, self.start_ms, self.since_ms, self.leaked = None, NEVER, NEVER, 0
            self._findings.clear()
        elif was_active:
            self.finding = finding if finding is not None else next(reversed(self._findings), None)
            self.start_ms = self._findings.get(self.finding or "", at_ms)
            self.since_ms, self.leaked = at_ms, 0

    def seen(self, http_status: int, time_ms: int) -> str | None:
        """Take a request made while the credential is refused; return what to tell of it.

        ``leaked`` for the 1st, 2nd, 4th, 8th… success after the change, ``refused`` for the first
        refusal after it; else None. Requests from before the change say nothing.
        """
        if time_ms <= self.since_ms:
            return None
        if http_status in REFUSALS:
            if self.refused:
                return None
            self.refused = True
            return "refused"
        if 200 <= http_status < 300:  # noqa: PLR2004 - HTTP's successes
            self.leaked += 1
            return None if self.leaked & (self.leaked - 1) else "leaked"
        return None

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
        ]

    @classmethod
    def restore(cls, plain: Sequence[Any]) -> Incident:
        """Return the incident of a plain form."""
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
        ) = plain
        incident._findings = dict(findings)
        return incident
