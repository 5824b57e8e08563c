"""All that the enforcer knows: credentials with their incidents, exceptions, the fuse; changed by steps only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from monitor.core.events import DEFAULT_CLASSES, credential_subject
from monitor.core.fuse import Fuse, Limits
from monitor.response.states import ENDS, check
from monitor.rulebook.directory import Directory
from monitor.wire.credentials import INCIDENT_KEY, EnforcerRecord
from monitor.wire.safety import ALLOWED_KEY, BreakGlass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import timedelta

    from monitor.response.states import Step
    from monitor.settings import ResponseSettings
    from monitor.wire.credentials import CredentialRecord
    from monitor.wire.safety import AllowedRecord


@dataclass(frozen=True, slots=True)
class Policy:
    """What the configuration says about responses. Durations in milliseconds."""

    mode: str
    max_age_ms: int
    default_ttl_ms: int
    limits: Limits
    delivers: bool
    """Whether there is a gateway to tell; if not, the decision service is all there is."""


def policy_of(response: ResponseSettings) -> Policy:
    """Return the policy of the settings."""
    fuse = response.fuse
    limits = Limits(
        interval_ms=_ms(fuse.interval),
        ceiling=fuse.ceiling,
        ceilings=fuse.classes,
        rule_ceiling=fuse.rule_ceiling,
        many=fuse.many,
        many_ms=_ms(fuse.many_within),
    )
    return Policy(
        mode=response.mode,
        max_age_ms=_ms(response.max_age),
        default_ttl_ms=_ms(response.default_ttl),
        limits=limits,
        delivers=bool(response.adapters),
    )


def _ms(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)


@dataclass(slots=True)
class Casebook:
    """The book. `earlier` are incidents that another one of the same credential has followed, by name."""

    policy: Policy
    directory: Directory = field(default_factory=Directory)
    records: dict[str, CredentialRecord] = field(default_factory=dict)
    earlier: dict[str, CredentialRecord] = field(default_factory=dict)
    allowed: dict[str, AllowedRecord] = field(default_factory=dict)
    fuse: Fuse = field(default_factory=Fuse)
    glass: BreakGlass = field(default_factory=BreakGlass)
    position: EnforcerRecord = field(default_factory=EnforcerRecord)
    #: The gateways of the configuration, each with its fingerprint.
    endpoints: Mapping[str, str] = field(default_factory=dict)

    def take(self, step: Step) -> None:
        """Change the book by a step; raises InvariantError, with nothing changed, for an illegal one."""
        parts = list(step.parts())
        for part in parts:
            if part.record is not None:
                check(self.records.get(part.record.subject), part.record)
        for part in parts:
            if part.record is not None:
                self.records[part.record.subject] = part.record
            if part.archived is not None:
                self.earlier[part.archived.incident] = part.archived
            if part.allowed is not None:
                self.allowed[part.allowed.subject] = part.allowed
            if part.fuse is not None:
                self.fuse = part.fuse
            if part.glass is not None:
                self.glass = part.glass
            if part.enabled is not None:
                others = {name: of for name, of in self.position.disabled.items() if name != part.enabled}
                self.position = msgspec.structs.replace(self.position, disabled=others)

    def next_version(self, current: CredentialRecord | None) -> int:
        """Return the version of a credential's next status: higher than any that it ever had."""
        return (current.version if current else self.position.versions) + 1

    def new_incident(self) -> str:
        """Return the name of the next incident; the number is used up."""
        number = self.position.incidents + 1
        self.position = msgspec.structs.replace(self.position, incidents=number)
        return f"INC-{number:04d}"

    def incident(self, name: str) -> CredentialRecord | None:
        """Return the record of an incident, open or ended."""
        for record in self.records.values():
            if record.incident == name:
                return record
        return self.earlier.get(name)

    def is_current(self, record: CredentialRecord) -> bool:
        """Return whether an incident is the latest of its credential."""
        return self.records.get(record.subject) is record

    def incidents(self) -> Iterator[CredentialRecord]:
        """Yield all that are remembered."""
        yield from self.records.values()
        yield from self.earlier.values()

    def class_of(self, realm: str, principal: str, kind: str) -> str:
        """Return the class of a credential."""
        entry = self.directory.entries.get(credential_subject(realm, principal))
        return entry.of_class if entry else DEFAULT_CLASSES.get(kind, "")

    def is_protected(self, subject: str) -> bool:
        """Return whether two people must agree before a credential is refused."""
        entry = self.directory.entries.get(subject)
        return entry is not None and entry.protected

    def is_allowed(self, subject: str, now_ms: int) -> bool:
        """Return whether nothing automatic may refuse a credential now."""
        allowed = self.allowed.get(subject)
        return allowed is not None and allowed.until_ms > now_ms

    def is_paused(self, now_ms: int) -> bool:
        """Return whether a person has paused automation."""
        return self.glass.paused is not None and self.glass.paused.until_ms > now_ms

    def is_disabled(self, endpoint: str) -> bool:
        """Return whether a gateway wants no more calls, and its configuration is still the same."""
        fingerprint = self.endpoints.get(endpoint)
        return fingerprint is not None and self.position.disabled.get(endpoint) == fingerprint

    def forget(self, ended_before_ms: int, now_ms: int) -> tuple[bytes, ...]:
        """Forget what ended before a time, and exceptions that are over; return the keys of their records.

        The versions of what is forgotten are remembered as one number: none ever goes back.
        """
        subjects = [
            subject
            for subject, record in self.records.items()
            if record.state in ENDS
            and (record.ended_ms or record.since_ms) < ended_before_ms
            and record.accepted_ms is not None
        ]
        incidents = [
            name
            for name, record in self.earlier.items()
            if (record.ended_ms or record.since_ms) < ended_before_ms
        ]
        exceptions = [subject for subject, allowed in self.allowed.items() if allowed.until_ms <= now_ms]
        highest = max((self.records[subject].version for subject in subjects), default=0)
        if highest > self.position.versions:
            self.position = msgspec.structs.replace(self.position, versions=highest)
        for subject in subjects:
            del self.records[subject]
        for name in incidents:
            del self.earlier[name]
        for subject in exceptions:
            del self.allowed[subject]
        return (
            *(subject.encode() for subject in subjects),
            *(INCIDENT_KEY + name.encode() for name in incidents),
            *(ALLOWED_KEY + subject.encode() for subject in exceptions),
        )
