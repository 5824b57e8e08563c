"""Rules, rows and logs for tests of the core: small numbers, so that bounds are met often."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from hypothesis import strategies as st

from monitor.core.detector import Detector
from monitor.core.events import Row, RowKind, RowsRecord, RulesRecord, SourceId
from monitor.core.rules import AllOf, AnyOf, Base, Match, Rule, RuleSet, rule_set_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

EVENTS = SourceId("cluster", "id-of-events", "events", 0)
OTHER_EVENTS = SourceId("cluster", "id-of-events", "events", 1)
STATUSES = SourceId("cluster", "id-of-status", "status", 0)
ANY = AllOf(())
SUCCESS = AllOf((Match("status", "gte", 200), Match("status", "lt", 300)))
FAILURE = Match("status", "gte", 400)
LATENESS_MS = 30
MAX_AGE_MS = 30
QUIET_MS = 10


def compile_pattern(text: str) -> Callable[[str], bool]:
    """Stand in for RE2."""
    pattern = re.compile(text)
    return lambda value: pattern.search(value) is not None


#: The class of detectors that tests are given, last: see `both_detectors`.
_detectors: list[type[Detector]] = [Detector]


@contextmanager
def detectors_of(kind: type[Detector]) -> Iterator[None]:
    """Let `new_detector` make detectors of a class."""
    _detectors.append(kind)
    yield
    _detectors.pop()


def new_detector(
    rules: Sequence[Rule] | None = None, *, at_ms: int = 0, lateness_ms: int = LATENESS_MS
) -> Detector:
    """Return a detector, with a rule set in force where one is given."""
    detector = _detectors[-1](
        3,
        allowed_lateness_ms=lateness_ms,
        compile_pattern=compile_pattern,
        unpack=msgspec.msgpack.decode,
        max_age_ms=MAX_AGE_MS,
        quiet_ms=QUIET_MS,
    )
    if rules is not None:
        assert detector.activate(rules_record(rules), at_ms)
    return detector


def rules_record(rules: Sequence[Rule], version: int = 1) -> RulesRecord:
    """Return the record that puts rules in force."""
    rule_set = RuleSet(tuple(rules))
    return RulesRecord(version, rule_set.revision, rule_set_document(rule_set))


def rule(
    name: str = "r",
    *,
    counted: str | None = None,
    group_by: tuple[str, ...] = ("principal",),
    timespan_ms: int = 100,
    threshold: int = 2,
    condition: Any = ANY,
    aliases: tuple[Base, ...] = (),
) -> Rule:
    """Return a rule that counts events, the values of a field, or the sum of records."""
    kind: Any = "event_count" if counted is None else "value_sum" if counted == "records" else "value_count"
    return Rule(
        name,
        name.title(),
        kind,
        AnyOf(tuple(base.condition for base in aliases)) if aliases else condition,
        group_by,
        timespan_ms,
        threshold,
        counted,
        runbook="x",
        aliases=aliases,
    )


def event(
    offset: int,
    time_ms: int,
    *,
    principal: str = "p",
    patients: Sequence[tuple[str, str | None]] = (),
    status: int = 200,
    route: str = "/a",
    tenant: str | None = None,
    axis: str = "principal",
    subject: str | None = None,
    **columns: Any,
) -> Row:
    """Return an event's row; without a subject, the one of its credential."""
    return (
        offset,
        RowKind.EVENT.value,
        axis,
        subject or f"gw/{principal}",
        time_ms,
        columns.get("event_id"),
        "gw",
        principal,
        "api_key",
        columns.get("object"),
        tuple(patients),
        tenant,
        columns.get("client_ip"),
        columns.get("method", "GET"),
        route,
        status,
        columns.get("bytes"),
        columns.get("records"),
        columns.get("gateway"),
        columns.get("principal_class", "partner"),
        columns.get("category"),
    )


def status_row(
    offset: int,
    time_ms: int,
    version: int,
    status: str,
    *,
    principal: str = "p",
    finding: str | None = None,
    restart_ms: int | None = None,
    reopen_ms: int | None = None,
    watch: str | None = None,
) -> Row:
    """Return a row that tells of a credential's status."""
    return (
        offset,
        RowKind.STATUS.value,
        "principal",
        f"gw/{principal}",
        time_ms,
        version,
        status,
        finding,
        restart_ms,
        reopen_ms,
        watch,
    )


@dataclass(frozen=True)
class Entry:
    """One record of the routed log."""

    offset: int
    append_ms: int
    record: RowsRecord | RulesRecord


def put(detector: Detector, entry: Entry) -> None:
    """Let a detector take a record of the log."""
    if isinstance(entry.record, RulesRecord):
        detector.activate(entry.record, entry.append_ms)
    else:
        detector.apply(entry.record, entry.offset, entry.append_ms)


def over_the_wire(plain: Any) -> Any:
    """Return what a snapshot is after it was written to Kafka and read again."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(plain))


def text(findings: Sequence[dict[str, Any]]) -> dict[str, bytes]:
    """Return findings by id, byte for byte; the same id must always be the same finding."""
    by_id: dict[str, bytes] = {}
    for found in findings:
        plain = msgspec.json.encode(found)
        assert by_id.setdefault(found["id"], plain) == plain
    return by_id


# Strategies

RULE_SHAPES = (
    (None, ("principal",)),
    ("patient", ("principal",)),
    ("tenant", ("principal",)),
    ("route", ("principal",)),
    (None, ("principal", "route")),
    ("patient", ("principal", "tenant")),
    ("patient", ("principal", "route")),
    (None, ("principal", "patient")),
    ("principal", ("patient",)),
    (None, ("patient", "tenant")),
    ("principal", ("route",)),
    ("records", ("principal",)),
    ("records", ("principal", "tenant")),
)
#: One name for what two kinds of events call by different fields.
ALIASED = (
    (
        None,
        ("principal", "where"),
        (Base(SUCCESS, ("principal", "route")), Base(ANY, ("principal", "tenant"))),
    ),
    (
        "what",
        ("principal",),
        (Base(SUCCESS, ("principal",), "patient"), Base(FAILURE, ("principal",), "route")),
    ),
    (
        "what",
        ("principal", "where"),
        (Base(ANY, ("principal", "route"), "patient"), Base(SUCCESS, ("principal", "method"), "patient")),
    ),
    (
        "records",
        ("principal",),
        (Base(ANY, ("principal",), "records"), Base(SUCCESS, ("principal",), "records")),
    ),
)


@st.composite
def rule_lists(draw: st.DrawFn, *, calm: bool = False) -> list[Rule]:
    """Return one to five rules, some of which count the same with other thresholds and timespans.

    Small thresholds are reached often; with large ones, as in `calm` lists, many events wait.
    """
    thresholds = (7, 9, 15, 30) if calm else (1, 2, 2, 3, 4, 4, 7)
    timespans = (60, 200, 400) if calm else (5, 20, 60)
    shapes = draw(st.lists(st.sampled_from(RULE_SHAPES), min_size=1, max_size=3, unique=True))
    rules = []
    for number in range(draw(st.integers(1, 5))):
        aliases: tuple[Base, ...] = ()
        counted, group_by = draw(st.sampled_from(shapes))
        if draw(st.integers(0, 5)) == 0:
            counted, group_by, aliases = draw(st.sampled_from(ALIASED))
        rules.append(
            rule(
                f"rule-{number}",
                counted=counted,
                group_by=group_by,
                timespan_ms=draw(st.sampled_from(timespans)),
                threshold=draw(st.sampled_from(thresholds)),
                condition=draw(st.sampled_from((ANY, ANY, SUCCESS, FAILURE))),
                aliases=aliases,
            )
        )
    return rules


_pairs = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from(("t1", "t2", None))),
    max_size=3,
    unique_by=lambda p: p[0],
)


@st.composite
def logs(draw: st.DrawFn, *, rule_changes: bool = False, calm: bool = False) -> list[Entry]:
    """Return a routed log: events and statuses, out of order, late, early, with long silences.

    A `calm` one has longer records, and most of it comes in order, without ids.
    """
    entries: list[Entry] = []
    append_ms = 1_000
    reached = {EVENTS: 0, OTHER_EVENTS: 0, STATUSES: 0}
    version = 1
    if rule_changes:
        entries.append(Entry(0, append_ms, rules_record(draw(rule_lists(calm=calm)), version)))
    for _ in range(draw(st.integers(1, 14))):
        append_ms += draw(st.sampled_from((0, 1, 3, 10, 10, 40) if calm else (0, 1, 3, 10, 10, 40, 150, 400)))
        if rule_changes and draw(st.integers(0, 20 if calm else 5)) == 0:
            version += draw(st.integers(0, 1))
            entries.append(
                Entry(2 * len(entries), append_ms, rules_record(draw(rule_lists(calm=calm)), version))
            )
            continue
        sources = (EVENTS, EVENTS, OTHER_EVENTS, STATUSES)
        source = draw(st.sampled_from((*sources, *4 * [EVENTS]) if calm else sources))
        first = reached[source]
        rows: list[Row] = []
        offset = first
        for _ in range(draw(st.integers(1, 10 if calm else 5))):
            rows += draw(_rows(offset, append_ms, statuses=source is STATUSES, calm=calm))
            offset += draw(st.integers(1, 2))
        entries.append(
            Entry(2 * len(entries), append_ms, RowsRecord(source, first, offset - 1, not first, rows))
        )
        reached[source] = offset
    return entries


@st.composite
def _rows(draw: st.DrawFn, offset: int, append_ms: int, *, statuses: bool, calm: bool) -> list[Row]:
    principal = draw(st.sampled_from("pq"))
    if statuses:
        kind = draw(st.sampled_from(("active", "suspended", "revoked")))
        return [
            status_row(
                offset,
                append_ms - draw(st.integers(0, 5)),
                draw(st.integers(1, 6)),
                kind,
                principal=principal,
                finding=draw(st.sampled_from((None, "f1"))),
                restart_ms=draw(st.sampled_from((None, append_ms, append_ms - 4))),
                reopen_ms=draw(st.sampled_from((None, append_ms, append_ms - 4))),
                watch=draw(st.sampled_from((None, "f1"))),
            )
        ]
    age_ms = (0, 0, 0, 0, 0, 0, 1, 5, 40) if calm else (-20, 0, 0, 0, 1, 2, 5, 20, 40, 70, 95, 120)
    time_ms = append_ms - draw(st.sampled_from(age_ms))
    pairs = draw(_pairs)
    status = draw(st.sampled_from((200, 200, 200, 403, 404)))
    same: dict[str, Any] = {
        "principal": principal,
        "status": status,
        "route": draw(st.sampled_from(("/a", "/b"))),
        "tenant": draw(st.sampled_from((None, "t1"))),
        "method": draw(st.sampled_from(("GET", "/a"))),
        "records": draw(st.sampled_from((None, None, 0, 1, 2, 1 << 40))),
        "event_id": draw(st.sampled_from((*(8 * [None] if calm else []), None, None, "id-1", "id-2"))),
    }
    rows = [event(offset, time_ms, patients=pairs, **same)]
    rows.append(event(offset, time_ms, patients=pairs, axis="route", subject=same["route"], **same))
    if status < 300:
        rows += [
            event(offset, time_ms, patients=[pair], axis="patient", subject=pair[0], **same) for pair in pairs
        ]
    return rows
