"""What a routed row holds, and the fields that rules may name.

Intake writes rows, detect reads them. A row is a plain sequence (it crosses the wire as one), so
positions are named here once. Behind intake a patient is a pseudonym, a path is its route template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, Final, NamedTuple

Row = Sequence[Any]


class RowKind(IntEnum):
    """What a routed row tells."""

    EVENT = 0
    STATUS = 1


class PrincipalKind(StrEnum):
    """What kind of credential a principal is."""

    API_KEY = "api_key"
    OAUTH_CLIENT = "oauth_client"
    SESSION = "session"
    ACCOUNT = "account"


class CredentialStatus(StrEnum):
    """Whether a credential may be used."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"


# Every row: the offset in its source partition, its kind, the axis it was routed by, the subject
# on that axis, and its event time (epoch milliseconds).
OFFSET: Final = 0
KIND: Final = 1
AXIS: Final = 2
SUBJECT: Final = 3
TIME: Final = 4
# RowKind.EVENT only.
EVENT_ID: Final = 5  # None unless the format vouches that the gateway made it
REALM: Final = 6
PRINCIPAL: Final = 7  # None where the gateway did not authenticate it
PRINCIPAL_KIND: Final = 8
OBJECT: Final = 9
PATIENTS: Final = 10  # sequence of (patient pseudonym, tenant or None)
TENANT: Final = 11  # the event's own tenant, beside those of its patients
CLIENT_IP: Final = 12
METHOD: Final = 13
ROUTE: Final = 14
STATUS: Final = 15
BYTES: Final = 16
RECORDS: Final = 17
GATEWAY: Final = 18
PRINCIPAL_CLASS: Final = 19
CATEGORY: Final = 20  # which kind of data the route gives, where its template says so
EVENT_LENGTH: Final = 21
#: Beyond the columns of every event: on a person's own axis, the sealed handle of the credential.
HANDLE: Final = 21
# RowKind.STATUS only; TIME is when it was decided.
STATUS_VERSION: Final = 5
STATUS_VALUE: Final = 6  # a CredentialStatus
STATUS_FINDING: Final = 7  # the finding that it answers, or None
STATUS_RESTART: Final = 8  # events up to this time count no more, or None
STATUS_REOPEN: Final = 9  # what was found before this time may be found again, or None
STATUS_WATCH: Final = 10  # the finding that is held and whose exposure is to be told, or None
STATUS_LENGTH: Final = 11

AXIS_PRINCIPAL: Final = "principal"
AXIS_PATIENT: Final = "patient"

#: Fields that rules may name, with their type. `patient` and `tenant` may hold several values.
FIELDS: Final[dict[str, type]] = {
    "realm": str,
    "principal": str,
    "principal_kind": str,
    "object": str,
    "patient": str,
    "tenant": str,
    "client_ip": str,
    "method": str,
    "route": str,
    "status": int,
    "bytes": int,
    "records": int,
    "gateway": str,
    "principal_class": str,
    "category": str,
}
MULTI_VALUED: Final = frozenset({"patient", "tenant"})

#: Fields whose values intake replaces by pseudonyms of a key that rotates.
PSEUDONYMS: Final = frozenset({"patient", "object", "client_ip"})

#: Where a single-valued field stands in an event row. `principal` as a *subject* is
#: `credential_subject(realm, principal)`; the column holds the bare id.
COLUMN: Final[dict[str, int]] = {
    "realm": REALM,
    "principal": PRINCIPAL,
    "principal_kind": PRINCIPAL_KIND,
    "object": OBJECT,
    "client_ip": CLIENT_IP,
    "method": METHOD,
    "route": ROUTE,
    "status": STATUS,
    "bytes": BYTES,
    "records": RECORDS,
    "gateway": GATEWAY,
    "principal_class": PRINCIPAL_CLASS,
    "category": CATEGORY,
}

#: The class of a credential that the directory does not name, by its kind.
DEFAULT_CLASSES: Final[dict[str, str]] = {
    PrincipalKind.API_KEY: "partner",
    PrincipalKind.OAUTH_CLIENT: "partner",
    PrincipalKind.SESSION: "account",
    PrincipalKind.ACCOUNT: "account",
}


_STATUSES: Final = frozenset(status.value for status in CredentialStatus)


@dataclass(frozen=True, slots=True)
class SourceId:
    """One source partition, told apart from a topic of the same name that was made again."""

    cluster: str
    topic_id: str
    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class RowsRecord:
    """One record of the routed topic that carries rows.

    It covers the source offsets `first` to `last`, both inclusive, for the partition it was sent
    to. `resume` marks the first record that a sender sends there: everything below `first` was
    acknowledged before it was committed. Rows are in order of their source offset. While a pseudonym key
    gives way to another, `former` says what the pseudonyms in the rows are called by other keys.
    """

    source: SourceId
    first: int
    last: int
    resume: bool
    rows: Sequence[Row]
    former: Mapping[str, Sequence[str]] | None = None


@dataclass(frozen=True, slots=True)
class RulesRecord:
    """One record of the routed topic that makes a rule set active from its offset on."""

    version: int
    revision: str
    document: dict[str, Any]


class StatusRow(NamedTuple):
    """What a `RowKind.STATUS` row tells, but for its place."""

    version: int
    value: str
    finding: str | None
    at_ms: int
    restart_ms: int | None
    reopen_ms: int | None
    watch: str | None


def read_status(row: Row) -> StatusRow:
    """Return what a status row tells; one of the version before ends with the finding.

    Raises ValueError or TypeError where it is none.
    """
    version, value, finding = row[STATUS_VERSION], row[STATUS_VALUE], row[STATUS_FINDING]
    restart_ms, reopen_ms, watch = row[STATUS_RESTART:STATUS_LENGTH] or (None, None, None)
    if row[KIND] != RowKind.STATUS or value not in _STATUSES:
        msg = "a row of an unknown kind, or of an unknown status"
        raise ValueError(msg)
    times = row[TIME], *(time for time in (restart_ms, reopen_ms) if time is not None)
    if not isinstance(version, int) or not all(isinstance(time, int) for time in times):
        msg = "a status of a wrong version or time"
        raise TypeError(msg)
    return StatusRow(version, value, finding, row[TIME], restart_ms, reopen_ms, watch)


def credential_subject(realm: str, principal: str) -> str:
    """Return the subject of a credential: equal ids of two realms are two credentials.

    A realm never contains a slash, so the first one separates.
    """
    return f"{realm}/{principal}"


def split_credential(subject: str) -> tuple[str, str]:
    """Return (realm, id) of a credential's subject."""
    realm, _, principal = subject.partition("/")
    return realm, principal
