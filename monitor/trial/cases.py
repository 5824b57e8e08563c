"""Test cases of rules: what a file says that events must lead to, and whether they do."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from monitor.core.detector import Detector
from monitor.core.events import (
    AXIS_PATIENT,
    AXIS_PRINCIPAL,
    Row,
    RowKind,
    RowsRecord,
    RulesRecord,
    SourceId,
    credential_subject,
    split_credential,
)
from monitor.core.rules import rule_set_document
from monitor.intake.keys import Epoch, Keys
from monitor.intake.pseudonym import PEOPLE, Pseudonyms, credential_pseudonyms
from monitor.intake.rows import EventRouter
from monitor.rulebook import compile_pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.core.rules import RuleSet
    from monitor.intake.event import Event

#: Tests have no secrets, and their pseudonyms must be the same everywhere.
KEYS: Final = Keys(bytes(range(32)), (Epoch("k1", b"rules-test" + bytes(22)),))
#: As long before the first event as a rule set is in force, so that nothing is warming: 100 days.
_IN_FORCE_MS: Final = 100 * 86_400_000
_EVENTS: Final = SourceId("test", "events", "events", 0)
_STATUSES: Final = SourceId("test", "status", "status", 0)


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event or a credential's new status, and when Kafka took it (epoch ms)."""

    append_ms: int
    content: Event | StatusChange


@dataclass(frozen=True, slots=True)
class StatusChange:
    """What the enforcer said of a credential (its subject), and when (epoch ms)."""

    credential: str
    status: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Expected:
    """A finding as a case describes it; None says nothing. `subject` is what a person calls it."""

    rule: str | None = None
    subject: str | None = None
    at_ms: int | None = None
    value: int | None = None
    straggler: bool | None = None

    def __str__(self) -> str:
        """Return the parts that are given."""
        parts = ((name, getattr(self, name)) for name in ("rule", "subject", "at_ms", "value", "straggler"))
        return ", ".join(f"{name} {value}" for name, value in parts if value is not None) or "any finding"


@dataclass(frozen=True, slots=True)
class Found:
    """A finding in words of a case."""

    rule: str
    title: str
    subject: str
    at_ms: int
    value: int
    straggler: bool
    summary: str

    def is_as(self, expected: Expected) -> bool:
        """Return whether it is what a case describes."""
        return (
            (expected.rule is None or expected.rule == self.rule)
            and (expected.subject is None or expected.subject == self.subject)
            and (expected.at_ms is None or expected.at_ms == self.at_ms)
            and (expected.value is None or expected.value == self.value)
            and (expected.straggler is None or expected.straggler == self.straggler)
        )


@dataclass(frozen=True, slots=True)
class Expectation:
    """How many findings there must be, and which.

    Of `findings` each must be there (`at_least`), and with `exactly` nothing else. `least` and `most`
    are numbers of findings, inclusive.
    """

    kind: Literal["exactly", "at_least", "at_most"]
    findings: tuple[Expected, ...] = ()
    least: int = 0
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a test file; `about` are the ids of the rules whose findings it is about."""

    file: str
    line: int
    name: str
    rule_set: RuleSet
    about: frozenset[str]
    deliveries: tuple[Delivery, ...]
    expectations: tuple[Expectation, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a case: its findings, and what was wrong (nothing where it passed)."""

    case: Case
    found: tuple[Found, ...]
    problems: tuple[str, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether the case holds."""
        return not self.problems


def run_case(case: Case) -> Result:
    """Judge the events of a case as live would, and compare."""
    began = time.perf_counter()
    found = tuple(_findings(case))
    problems = tuple(
        problem for expectation in case.expectations for problem in _problems(expectation, found)
    )
    return Result(case, found, problems, time.perf_counter() - began)


def _findings(case: Case) -> list[Found]:
    names = _names(case)
    pseudonyms = {name: pseudonym for pseudonym, name in _people(case).items()}
    router = EventRouter(case.rule_set, KEYS, 1, compile_pattern)
    detector = Detector(0, allowed_lateness_ms=3_600_000, compile_pattern=compile_pattern)
    record = RulesRecord(1, case.rule_set.revision, rule_set_document(case.rule_set))
    deliveries = sorted(case.deliveries, key=lambda delivery: delivery.append_ms)
    if deliveries:
        detector.activate(record, deliveries[0].append_ms - _IN_FORCE_MS)
    reached = {_EVENTS: 0, _STATUSES: 0}
    found = []
    for offset, delivery in enumerate(deliveries):
        content = delivery.content
        source = _STATUSES if isinstance(content, StatusChange) else _EVENTS
        first = reached[source]
        reached[source] += 1
        if isinstance(content, StatusChange):
            subject = pseudonyms.get(content.credential, content.credential)
            rows: list[Row] = [_status_row(first, content, subject)]
        else:
            rows = [row for _, row in router.route((content,), first)]
        detector.apply(RowsRecord(source, first, first, not first, rows), offset, delivery.append_ms)
        outcomes = detector.take_outcomes()
        found += [
            Found(
                rule=finding["rule"]["id"],
                title=finding["rule"]["title"],
                subject=_subject(finding, names),
                at_ms=finding["event"]["time_ms"],
                value=finding["value"],
                straggler=finding["straggler"],
                summary=finding["summary"],
            )
            for finding in outcomes.findings
            if finding["rule"]["id"] in case.about
        ]
    return found


def _status_row(offset: int, change: StatusChange, subject: str) -> Row:
    version = offset + 1
    kind = RowKind.STATUS.value
    return (offset, kind, AXIS_PRINCIPAL, subject, change.at_ms, version, change.status, None)


def _people(case: Case) -> dict[str, str]:
    """Return what the pseudonymous subjects of a case's sessions and accounts stand for."""
    pseudonym = credential_pseudonyms(KEYS.credential_key)
    names: dict[str, str] = {}
    for delivery in case.deliveries:
        event = delivery.content
        if (
            not isinstance(event, StatusChange)
            and event.principal is not None
            and event.principal_kind in PEOPLE
        ):
            name = credential_subject(event.realm, event.principal)
            names[credential_subject(event.realm, pseudonym(name))] = name
    return names


def _names(case: Case) -> dict[str, str]:
    """Return what the pseudonyms of a case's people, patients, objects and addresses stand for."""
    pseudonyms = Pseudonyms.newest(KEYS)
    names = _people(case)
    for delivery in case.deliveries:
        event = delivery.content
        if isinstance(event, StatusChange):
            continue
        for patient, _ in event.patients:
            names[pseudonyms.patient(patient)] = patient
        if event.object is not None:
            names[pseudonyms.object(event.object)] = event.object
        if event.client_ip is not None:
            names[pseudonyms.client_ip(event.client_ip)] = event.client_ip
    return names


def _subject(finding: dict[str, Any], names: dict[str, str]) -> str:
    subject: str = finding["subject"]
    if finding["axis"] == AXIS_PRINCIPAL:
        return split_credential(names.get(subject, subject))[1]
    if finding["axis"] in (AXIS_PATIENT, "object", "client_ip"):
        return names.get(subject, subject)
    return subject


def _problems(expectation: Expectation, found: Sequence[Found]) -> list[str]:
    wanted = expectation.findings
    pairs = _matched(wanted, found)
    problems = [f"not found: {one}" for index, one in enumerate(wanted) if index not in pairs]
    if expectation.kind == "exactly":
        surplus = [one for index, one in enumerate(found) if index not in pairs.values()]
        problems += [f"found, and not expected: {one.title}: {one.summary}" for one in surplus]
    if len(found) < expectation.least:
        problems.append(f"at least {expectation.least} findings expected, {len(found)} found")
    if expectation.most is not None and len(found) > expectation.most:
        problems.append(f"at most {expectation.most} findings expected, {len(found)} found")
    return problems


def _matched(wanted: Sequence[Expected], found: Sequence[Found]) -> dict[int, int]:
    """Return which finding stands for which expected one, as many as there can be, each used once."""
    owner: dict[int, int] = {}

    def place(one: int, tried: set[int]) -> bool:
        for index, candidate in enumerate(found):
            if index not in tried and candidate.is_as(wanted[one]):
                tried.add(index)
                if index not in owner or place(owner[index], tried):
                    owner[index] = one
                    return True
        return False

    for one in range(len(wanted)):
        place(one, set())
    return {one: index for index, one in owner.items()}
