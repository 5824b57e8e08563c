"""From events to routed rows: one per axis and subject, with pseudonyms for raw ids."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from monitor.core.conditions import compile_conditions
from monitor.core.events import (
    AXIS_PATIENT,
    AXIS_PRINCIPAL,
    COLUMN,
    DEFAULT_CLASSES,
    PATIENTS,
    TENANT,
    TIME,
    RowKind,
    credential_subject,
)
from monitor.core.rules import AllOf, AnyOf, Match, Negation
from monitor.intake.pseudonym import PEOPLE, Phase, Pseudonyms, credential_pseudonyms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from monitor.core.conditions import CompilePattern
    from monitor.core.events import Row
    from monitor.core.rules import Condition, RuleSet
    from monitor.intake.event import Event
    from monitor.intake.keys import Keys

#: Pseudonym → what it is called by other keys.
Former = dict[str, list[str]]

_EVENT: Final = int(RowKind.EVENT)
#: Axes whose subjects are made up by whoever sends requests: only what was really read counts.
READ_ONLY_AXES: Final = frozenset({"object", "tenant"})
_IPV6_PREFIX: Final = 64
_CACHED_ADDRESSES: Final = 65_536
_KNOWN: Final = 65_536


class EventRouter:
    """Turns the events of one source offset into (partition, row) pairs, as a rule set needs them.

    There is always a row for the credential (where one was authenticated), because incidents
    follow it whatever the rules are. On any other axis an event gets a row only where a rule of that
    axis counts it. Addresses stay readable where a rule compares them.

    It counts by the key of `phase`: that of the newest key alone, unless given.
    """

    def __init__(
        self,
        rule_set: RuleSet,
        keys: Keys,
        partitions: int,
        compile_pattern: CompilePattern,
        phase: Phase | None = None,
    ) -> None:
        self.rule_set, self.keys, self.partitions, self.compile_pattern = (
            rule_set,
            keys,
            partitions,
            compile_pattern,
        )
        self.phase = phase or Phase(keys.epochs[-1], (), None)
        pseudonyms = Pseudonyms(self.phase.epoch)
        self._by_other_keys = tuple(Pseudonyms(epoch) for epoch in self.phase.others)
        self._credential = credential_pseudonyms(keys.credential_key)
        self._seal = None if keys.sealer is None else keys.sealer.seal
        self._patient = pseudonyms.patient
        self._object = pseudonyms.object
        self._of_address = pseudonyms.client_ip
        self._address = _addresses(None if compares_client_ip(rule_set) else pseudonyms.client_ip)
        self._classes = rule_set.classes
        self._principal_partition = keys.partitioner(AXIS_PRINCIPAL, partitions)
        #: By realm, id and kind, of credentials that are nobody's: subject, partition, class.
        self._known: dict[tuple[str, str, str | None], tuple[str, int, str | None]] = {}
        routes = [
            (
                axis,
                compile_conditions(conditions_of(rule_set, axis), compile_pattern),
                keys.partitioner(axis, partitions),
            )
            for axis in rule_set.axes
            if axis != AXIS_PRINCIPAL
        ]
        self._patient_route = next((route[1:] for route in routes if route[0] == AXIS_PATIENT), None)
        self._others = tuple(route for route in routes if route[0] != AXIS_PATIENT)

    @property
    def rotating(self) -> bool:
        """Whether pseudonyms of another key may still be, or already be, in a window."""
        return bool(self._by_other_keys)

    def route(
        self, events: Sequence[Event], offset: int, former: Former | None = None
    ) -> list[tuple[int, Row]]:
        """Return the rows of the events at one source offset, and the partition of each.

        `former`, where given, takes what the pseudonyms in them are called by other keys.
        """
        routed: list[tuple[int, Row]] = []
        for event in events:
            self._route(event, offset, routed)
            if former is not None:
                self._name(event, former)
        return routed

    def _name(self, event: Event, former: Former) -> None:
        for patient, _ in event.patients:
            former[self._patient(patient)] = [other.patient(patient) for other in self._by_other_keys]
        if event.object is not None:
            former[self._object(event.object)] = [other.object(event.object) for other in self._by_other_keys]
        network = None if event.client_ip is None else network_of(event.client_ip)
        if network is not None:
            former[self._of_address(network)] = [other.client_ip(network) for other in self._by_other_keys]

    def _route(  # noqa: C901, PLR0912 - the hot path, in one piece
        self, event: Event, offset: int, routed: list[tuple[int, Row]]
    ) -> None:
        principal, kind = event.principal, event.principal_kind
        subject, partition, credential_class, handle = "", 0, None, None
        if principal is None:
            if not self._others:
                return
        elif kind in PEOPLE:
            subject, partition, credential_class, principal, handle = self.credential(
                event.realm, principal, kind
            )
        else:
            known = self._known.get((event.realm, principal, kind))
            subject, partition, credential_class = known or self._know(event, principal)
        pseudonym = self._patient
        raw_patients, raw_object, raw_address = event.patients, event.object, event.client_ip
        if len(raw_patients) == 1:
            ((patient, tenant),) = raw_patients
            pairs: tuple[tuple[str, str | None], ...] = ((pseudonym(patient), tenant),)
        else:
            pairs = tuple([(pseudonym(patient), tenant) for patient, tenant in raw_patients])
        row: tuple[Any, ...] = (
            offset,
            _EVENT,
            AXIS_PRINCIPAL,
            subject,
            event.time_ms,
            event.event_id,
            event.realm,
            principal,
            kind,
            None if raw_object is None else self._object(raw_object),
            pairs,
            event.tenant,
            None if raw_address is None else self._address(raw_address),
            event.method,
            event.route,
            event.status,
            event.bytes,
            event.records,
            event.gateway,
            credential_class,
            event.category,
        )
        read = 200 <= event.status < 300  # noqa: PLR2004 - the range of HTTP's successes
        if principal is not None:
            routed.append((partition, row if handle is None else (*row, handle)))
            if read and pairs and self._patient_route is not None:
                wanted, partition_of = self._patient_route
                before, after = row[TIME:PATIENTS], row[TENANT:]
                for patient, own in _by_patient(raw_patients, pairs):
                    own_row = (offset, _EVENT, AXIS_PATIENT, own[0][0], *before, own, *after)
                    if wanted(own_row):
                        routed.append((partition_of(patient), own_row))
        for axis, wanted, partition_of in self._others:
            if read or axis not in READ_ONLY_AXES:
                for raw, name, own in self._subjects(axis, event, row, pairs):
                    own_row = (offset, _EVENT, axis, name, *row[TIME:PATIENTS], own, *row[TENANT:])
                    if wanted(own_row):
                        routed.append((partition_of(raw), own_row))

    def _know(self, event: Event, principal: str) -> tuple[str, int, str | None]:
        """Return and remember subject, partition and class of a credential that is no person's."""
        found = self.credential(event.realm, principal, event.principal_kind)[:3]
        if len(self._known) >= _KNOWN:
            self._known.clear()
        self._known[event.realm, principal, event.principal_kind] = found
        return found

    def credential(
        self, realm: str, raw: str, kind: str | None
    ) -> tuple[str, int, str | None, str, str | None]:
        """Return subject, partition and class of a credential, its id in rows, and a person's sealed handle."""
        credential_class = self._class(realm, raw, kind)
        name, handle = self._person(realm, raw) if kind in PEOPLE else (raw, None)
        subject = credential_subject(realm, name)
        return subject, self._principal_partition(subject), credential_class, name, handle

    def _person(self, realm: str, raw: str) -> tuple[str, str | None]:
        """Return the pseudonym of a person's credential, and its sealed handle."""
        pseudonym = self._credential(f"{realm}/{raw}")
        return pseudonym, None if self._seal is None else self._seal(f"{realm}/{pseudonym}", raw)

    def _class(self, realm: str, principal: str, kind: str | None) -> str | None:
        default = DEFAULT_CLASSES.get(kind or "")
        classes = self._classes
        if not classes:
            return default
        subject = credential_subject(realm, principal)
        named = classes.get(subject)
        if named is None and kind in PEOPLE:
            # The directory goes into our topics as it is: it names people by their pseudonyms.
            named = classes.get(credential_subject(realm, self._credential(subject)))
        return named or default

    def _subjects(
        self, axis: str, event: Event, row: Row, pairs: tuple[tuple[str, str | None], ...]
    ) -> Iterable[tuple[str, str, tuple[tuple[str, str | None], ...]]]:
        """Yield (raw subject, subject, patients) of an axis other than principal and patient."""
        if axis == "tenant":
            tenants = dict.fromkeys((event.tenant, *(tenant for _, tenant in pairs)))
            for tenant in tenants:
                if tenant is not None:
                    yield tenant, tenant, tuple(pair for pair in pairs if pair[1] == tenant)
        elif axis == "object":
            if event.object is not None:
                yield event.object, self._object(event.object), pairs
        elif axis == "client_ip":
            network = None if event.client_ip is None else network_of(event.client_ip)
            if network is not None:
                yield network, self._of_address(network), pairs
        else:
            value = row[COLUMN[axis]]
            if value is not None:
                yield str(value), str(value), pairs


def conditions_of(rule_set: RuleSet, axis: str) -> list[Condition]:
    """Return conditions of which each row that a rule of an axis counts meets one."""
    return list(dict.fromkeys(rule.condition for rule in rule_set.rules if rule.axis == axis))


def compares_client_ip(rule_set: RuleSet) -> bool:
    """Return whether a rule looks into client addresses, so that rows must keep them readable."""
    return any(_compares_client_ip(rule.condition) for rule in rule_set.rules)


@lru_cache(_CACHED_ADDRESSES)
def network_of(text: str) -> str | None:
    """Return what stands for a client address: IPv4 as it is, of IPv6 the /64 network's address.

    A subscriber has at least a /64, so single IPv6 addresses are made up at will. A port is taken
    off; a text that is no address (a client may write X-Forwarded-For) gives None.
    """
    host, colon, port = text.rpartition(":")
    if colon and port.isdigit() and (host.startswith("[") or ":" not in host):
        text = host
    try:
        address = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), _IPV6_PREFIX), strict=False).network_address)


def _addresses(pseudonym: Callable[[str], str] | None) -> Callable[[str], str | None]:
    @lru_cache(_CACHED_ADDRESSES)
    def column(text: str) -> str | None:
        network = network_of(text)
        return network if network is None or pseudonym is None else pseudonym(network)

    return column


def _by_patient(
    raw: tuple[tuple[str, str | None], ...], pairs: tuple[tuple[str, str | None], ...]
) -> Iterable[tuple[str, tuple[tuple[str, str | None], ...]]]:
    """Yield each different patient, raw, with its pseudonymised (patient, tenant) pairs."""
    if len(pairs) <= 1:
        return [(raw[0][0], pairs)] if pairs else ()
    own: dict[str, tuple[tuple[str, str | None], ...]] = {}
    for (patient, _), pair in zip(raw, pairs, strict=True):
        own[patient] = (*own.get(patient, ()), pair)
    return own.items()


def _compares_client_ip(condition: Condition) -> bool:
    match condition:
        case Match():
            return condition.field == "client_ip" and condition.operator != "exists"
        case AllOf() | AnyOf():
            return any(_compares_client_ip(part) for part in condition.parts)
        case Negation():
            return _compares_client_ip(condition.part)
