"""What a run must have left behind: `routed` from the source log, and all else from `routed`.

Each function returns what does not hold, each line with the letter of its invariant:
A state and findings are the fold of the log, B each revocation is delivered with one id, C poison is in the
dead letters and nowhere else, D nothing is committed before it is durable, E no state is followed by an older
one, F everything is caught up a minute after the last fault, G no source record is passed over.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
import orjson

from monitor.core.coverage import Marks
from monitor.core.detector import Detector
from monitor.core.events import OFFSET, RowsRecord, RulesRecord
from monitor.errors import RejectedRecordError
from monitor.intake.inputs import Input
from monitor.intake.keys import load_keys
from monitor.intake.rows import EventRouter
from monitor.rulebook import compile_pattern
from monitor.stream.chunks import Partition
from monitor.stream.rules import rule_set_of
from monitor.wire import routed
from monitor.wire.credentials import ENFORCER_KEY, RULES_KEY, decode_enforcer, decode_rules
from monitor.wire.state import MARKS_KEY, unpack_subject
from tests.faults.rising import Rising

if TYPE_CHECKING:
    from monitor.settings import Settings
    from tests.faults.logs import Logs, Sample

_SHOWN: Final = 3
_pack, _unpack = msgspec.msgpack.encode, msgspec.msgpack.decode

#: (routed partition, source topic, source partition) → rows, in order.
RowsBySource = dict[tuple[int, str, int], list[bytes]]


@dataclass(slots=True)
class Verdict:
    """What does not hold, and what was seen."""

    violations: list[str] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def require(self, holds: object, text: str) -> None:
        """Note a violation unless something holds."""
        if not holds:
            self.violations.append(text)


class Fold:
    """The `routed` log through the pure core."""

    def __init__(self, settings: Settings, logs: Logs) -> None:
        self._settings = settings
        self.rows: RowsBySource = defaultdict(list)
        #: Where each row stands in its routed partition, along `rows`.
        self.places: dict[tuple[int, str, int], list[tuple[int, int]]] = defaultdict(list)
        self.found: set[bytes] = set()
        self.findings: dict[str, dict[str, Any]] = {}
        self.gaps = 0
        self.detectors: dict[int, Detector] = {}
        self.append_ms: dict[int, int] = {}
        for partition in range(settings.kafka.partitions):
            self._fold(partition, logs)

    def _fold(self, partition: int, logs: Logs) -> None:
        detector = self.detectors[partition] = new_detector(self._settings, partition)
        marks = Marks()
        self.append_ms[partition] = 0
        for record in logs.of("routed", partition):
            entry = routed.decode(record.value, f"routed-{partition} offset {record.offset}")
            self.append_ms[partition] = record.timestamp
            if isinstance(entry, RulesRecord):
                detector.activate(entry, record.timestamp)
                continue
            self._count(partition, record.offset, entry, marks.admit(entry))
            detector.apply(entry, record.offset, record.timestamp)
        outcomes = detector.take_outcomes()
        self.gaps += outcomes.counters["gaps"]
        self.findings |= {finding["id"]: finding for finding in outcomes.findings}
        self.found |= {orjson.dumps(entry) for entry in (*outcomes.findings, *outcomes.observations)}

    def _count(self, partition: int, offset: int, entry: RowsRecord, prior: int | None) -> None:
        if prior is None:
            return
        key = partition, entry.source.topic, entry.source.partition
        for row in entry.rows:
            if row[OFFSET] > prior:
                self.rows[key].append(_pack(row))
                self.places[key].append((row[OFFSET], offset))


def new_detector(settings: Settings, partition: int) -> Detector:
    """Return an empty detector of these settings."""
    return Detector(
        partition,
        allowed_lateness_ms=int(settings.detect.allowed_lateness.total_seconds() * 1000),
        compile_pattern=compile_pattern,
        unpack=unpack_subject,
        max_age_ms=int(settings.response.max_age.total_seconds() * 1000),
        quiet_ms=int(settings.response.quiet_after.total_seconds() * 1000),
    )


def implied_rows(settings: Settings, logs: Logs, source_partitions: int) -> tuple[RowsBySource, set[bytes]]:
    """Return the rows that the source log implies, and the keys of the dead letters."""
    source = settings.sources[0]
    decode = Input.of(source, settings.formats).decoder()
    rules = [record.value for record in logs.of("credentials") if record.key == RULES_KEY]
    router = EventRouter(
        rule_set_of(decode_rules(rules[-1], "credentials")),
        load_keys(settings.privacy.key_file),
        settings.kafka.partitions,
        compile_pattern,
    )
    rows: RowsBySource = defaultdict(list)
    letters = set()
    for partition in range(source_partitions):
        for record in logs.of("gate", partition):
            try:
                routes = router.route(decode(record.value, record.headers), record.offset)
            except RejectedRecordError:
                letters.add(f"{source.topic}/{partition}/{record.offset}".encode())
                continue
            for target, row in routes:
                rows[target, source.topic, partition].append(_pack(row))
    return rows, letters


def check_routed(settings: Settings, logs: Logs, fold: Fold, source_partitions: int, to: Verdict) -> None:
    """A, C, G: each source record is in `routed` once in effect, in order, or in the dead letters."""
    source = settings.sources[0].topic
    expected, letters = implied_rows(settings, logs, source_partitions)
    got = {key: rows for key, rows in fold.rows.items() if key[1] == source}
    for key in sorted(expected.keys() | got.keys()):
        want, have = expected.get(key, []), got.get(key, [])
        to.seen["rows"] += len(want)
        if want != have:
            lost, more = _difference(want, have)
            text = f"G {key[1]}-{key[2]} in routed-{key[0]}: {len(lost)} rows lost, {len(more)} too many"
            at = [_unpack(row)[OFFSET] for row in (lost or more)[:_SHOWN]]
            to.violations.append(f"{text}, or out of order; first at source offsets {at}")
    status = settings.topic("status")
    told = {_unpack(row)[OFFSET] for key, rows in fold.rows.items() if key[1] == status for row in rows}
    said = {record.offset for record in logs.of("status")}
    to.require(told == said, f"G status: entries {sorted(said ^ told)[:_SHOWN]} are not in routed, or twice")
    to.seen["statuses"] = len(said)
    dead = {record.key for record in logs.of("rejected")}
    to.seen["poison"] = len(letters)
    to.require(letters <= dead, f"C {len(letters - dead)} poison records are not in the dead letters")
    to.require(dead <= letters, f"C {len(dead - letters)} records in the dead letters that can be read")


def check_findings(logs: Logs, fold: Fold, to: Verdict) -> None:
    """A: findings and observations are those that `routed` implies, byte for byte."""
    live = {record.value for record in logs.of("findings")}
    to.seen["findings"] = len(fold.findings)
    to.seen["findings_repeated"] = len(logs.of("findings")) - len(live)
    to.seen["gaps"] = fold.gaps
    lost, more = fold.found - live, live - fold.found
    to.require(not lost, f"A {len(lost)} findings or observations lost: {_ids(lost)}")
    to.require(not more, f"A {len(more)} that the log does not imply: {_ids(more)}")


def check_commits(
    settings: Settings, logs: Logs, fold: Fold, samples: list[Sample], to: Verdict, *, compacted: bool
) -> None:
    """D: at no sample was more committed than was durable then; `compacted` logs of `state` do not tell."""
    to.seen["samples"] = len(samples)
    source, partitions = settings.sources[0].topic, range(settings.kafka.partitions)
    decided, stamped = _decided(logs), [_stamped(logs, partition) for partition in partitions]
    routed_at = {key: Rising(places) for key, places in fold.places.items()}
    for sample in samples:
        for place, position in sample.committed.items():
            name = place.topic.removeprefix(settings.kafka.topic_prefix)
            if name == "findings":
                durable = decided.below(sample.ends[Partition(settings.topic("credentials"), 0)], 0)
                to.require(durable >= position, f"D enforce committed {position}, {durable} is decided")
            elif name == "routed" and not compacted:
                end = sample.ends[Partition(settings.topic("state"), place.partition)]
                stamp = stamped[place.partition].below(end, -1)
                text = f"D detect committed {position} of routed-{place.partition}, state is of {stamp}"
                to.require(stamp >= position - 1, text)
            elif place.topic == source:
                for partition in partitions:
                    rising = routed_at.get((partition, place.topic, place.partition))
                    stands = -1 if rising is None else rising.below(position, -1)
                    end = sample.ends[Partition(settings.topic("routed"), partition)]
                    text = f"D intake committed {position} of {place}, a record below is not in routed-{partition}"
                    to.require(stands < end, text)


def _decided(logs: Logs) -> Rising:
    return Rising(
        (record.offset, decode_enforcer(record.value, "").findings_offset)
        for record in logs.of("credentials")
        if record.key == ENFORCER_KEY and record.value is not None
    )


def _stamped(logs: Logs, partition: int) -> Rising:
    return Rising(
        (record.offset, _unpack(record.value)[1])
        for record in logs.of("state", partition)
        if record.key == MARKS_KEY and record.value is not None
    )


def _difference(want: list[bytes], have: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    left: dict[bytes, int] = defaultdict(int)
    for row in have:
        left[row] += 1
    lost = []
    for row in want:
        if left[row]:
            left[row] -= 1
        else:
            lost.append(row)
    return lost, [row for row, count in left.items() for _ in range(count)]


def _ids(values: set[bytes]) -> list[str]:
    return [orjson.loads(value).get("id", "an observation") for value in sorted(values)[:_SHOWN]]
