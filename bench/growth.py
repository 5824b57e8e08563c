"""What an event costs, part by part, and how that grows: ``python bench/growth.py [EVENTS] [--runs 3]``.

All in one process and without Kafka: intake (decoding, routing, packing rows), encoding records of `routed`,
decoding them, detection, and the snapshots of a flush after each 50,000 events; in Python alone with
``ACCESS_MONITOR_PURE=1``. Processor time, the least of some runs, in microseconds for an event, and beside it
`orjson.loads` over the same lines in the same run: compare by the last column, since a busy machine slows both.
Left out are Kafka's clients and what happens by the clock and not by the event.

Each line says by its sum of findings (`hash`) whether two versions of the code found the same.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.events import START_MS, events
from bench.ours import W1_RULES
from monitor.core.events import RulesRecord, SourceId
from monitor.core.rules import RuleSet, rule_set_document
from monitor.engine.detectors import Saving, new_detector
from monitor.engine.packed import decode
from monitor.intake.formats import FORMATS
from monitor.intake.keys import Epoch, Keys
from monitor.intake.native import packer_of
from monitor.intake.repeats import new_repeats
from monitor.intake.rows import EventRouter
from monitor.rulebook import compile_pattern, load_rules
from monitor.wire import routed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.core.detector import Detector
    from monitor.intake.batch import Piece, SourceRecord
    from monitor.intake.event import Event

CHUNK: Final = 2_000
FLUSH_CHUNKS: Final = 25
PARTS: Final = ("loads", "intake", "encode", "read", "detect", "save")
#: Records that intake takes at once.
SLICE: Final = 400


@dataclass
class Case:
    """One thing that is measured."""

    name: str
    lines: Sequence[bytes]
    rules: RuleSet
    partitions: int = 8
    spent: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    sum: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the source."""

    offset: int
    value: bytes


class Reading:
    """Reads canonical records without any that are refused."""

    def __init__(self) -> None:
        self.decode = FORMATS["canonical"].decoder("gateway-1", trust_ids=True)
        self.left_out: frozenset[int] = frozenset()
        self.repeats = new_repeats()

    def events(self, record: SourceRecord) -> Sequence[Event] | None:
        """Return what a record holds."""
        return self.decode(record.value)

    def failed(self, record: SourceRecord, error: Exception) -> None:
        """End the measurement."""
        raise RuntimeError(record.offset) from error


class Run:
    """One run of a case: what a worker does to each event, part by part."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._source = SourceId("cluster", "topic-id", "source", 0)
        keys = Keys(bytes(32), (Epoch("k1", bytes(32)),))
        self._packer = packer_of(EventRouter(case.rules, keys, case.partitions, compile_pattern))
        self._reader = Reading()
        self._detectors = [self._detector(number) for number in range(case.partitions)]
        self._saving = [Saving(detector) for detector in self._detectors]
        self._covered: dict[int, int] = {}
        self._sum = hashlib.sha256()
        self.spent = dict.fromkeys(PARTS, 0.0)

    def _detector(self, partition: int) -> Detector:
        rules = self._case.rules
        detector = new_detector(partition, allowed_lateness_ms=3_600_000, compile_pattern=compile_pattern)
        detector.activate(RulesRecord(1, rules.revision, rule_set_document(rules)), 0)
        return detector

    def run(self) -> str:
        """Work through all events; return the sum of what was found."""
        lines = self._case.lines
        gc.collect()
        gc.freeze()
        for number, at in enumerate(range(0, len(lines), CHUNK)):
            self._apply(self._intake(lines[at : at + CHUNK], at), number)
            if not (number + 1) % FLUSH_CHUNKS:
                self._save(number)
        gc.unfreeze()
        return self._sum.hexdigest()[:12]

    def _since(self, part: str, began: float) -> float:
        now = time.process_time()
        self.spent[part] += now - began
        return now

    def _intake(self, lines: Sequence[bytes], offset: int) -> list[tuple[int, bytes]]:
        at = time.process_time()
        for line in lines:
            orjson.loads(line)
        self._since("loads", at)
        taken = [Record(number, line) for number, line in enumerate(lines, offset)]
        at = time.process_time()
        targets: dict[int, list[Piece]] = {}
        for first in range(0, len(taken), SLICE):
            for piece in self._packer.take(taken[first : first + SLICE], self._reader).pieces:
                targets.setdefault(piece.partition, []).append(piece)
        at = self._since("intake", at)
        last, records = offset + len(lines) - 1, []
        for partition in sorted(targets):
            first = self._covered.get(partition, -1) + 1
            pieces = targets[partition]
            count, packed = sum(piece.rows for piece in pieces), [piece.packed for piece in pieces]
            value = routed.encode_packed(self._source, first, last, count, packed, resume=not first)
            records.append((partition, value))
            self._covered[partition] = last
        self._since("encode", at)
        return records

    def _apply(self, records: list[tuple[int, bytes]], offset: int) -> None:
        append_ms = START_MS + (offset + 1) * CHUNK * 5
        for partition, value in records:
            at = time.process_time()
            record = decode(value, "bench")
            at = self._since("read", at)
            detector = self._detectors[partition]
            if not isinstance(record, RulesRecord):
                detector.apply(record, offset, append_ms)
            outcomes = detector.take_outcomes()
            self._since("detect", at)
            self._sum.update(orjson.dumps([outcomes.findings, outcomes.observations, outcomes.counters]))

    def _save(self, stamp: int) -> None:
        at = time.process_time()
        for saving in self._saving:
            for _ in saving.rest():
                pass
            for _ in saving.changed(stamp):
                pass
        self._since("save", at)


def w1() -> RuleSet:
    """Return the two rules that the peers count by."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w1.yml"
        path.write_text(W1_RULES, encoding="utf-8")
        return load_rules([str(path)]).rule_set


def larger(lines: Sequence[bytes], more: int) -> list[bytes]:
    """Return events that have so many bytes more, in their path."""
    return [orjson.dumps({**orjson.loads(line), "path": "/" + "a" * more}) for line in lines]


def disordered(lines: Sequence[bytes], share: float) -> list[bytes]:
    """Return events of which a share is late by up to ten minutes."""
    rng, late = random.Random(1), []
    for line in lines:
        event = orjson.loads(line)
        if rng.random() < share:
            event["time"] -= rng.randrange(600_000)
        late.append(orjson.dumps(event))
    return late


def raised(rules: RuleSet, times: int) -> RuleSet:
    """Return rules with thresholds so many times as high."""
    higher = tuple(replace(rule, threshold=rule.threshold * times) for rule in rules.rules)
    return replace(rules, rules=higher)


def cases(count: int) -> list[Case]:
    """Return what is measured."""
    lines = [value for _, value in events(count)]
    pack, two = load_rules(["pack:default"]).rule_set, w1()
    half = replace(pack, rules=pack.rules[::2])
    return [
        Case("W1's two rules", lines, two),
        Case("default pack", lines, pack),
        Case("every second rule of it", lines, half),
        Case("2 partitions", lines, pack, 2),
        Case("32 partitions", lines, pack, 32),
        Case("1,000,000 credentials", [value for _, value in events(count, load="uniform")], pack),
        Case("half by one credential", [value for _, value in events(count, load="hot")], pack),
        Case("thresholds 10 times as high", lines, raised(pack, 10)),
        Case("1,000 bytes more each", larger(lines, 1_000), pack),
        Case("a quarter late by 10 min", disordered(lines, 0.25), pack),
    ]


def measure(case: Case, runs: int) -> None:
    """Run a case and keep the least that each part took."""
    found = []
    for _ in range(runs):
        run = Run(case)
        case.sum = run.run()
        found.append(run.spent)
    case.spent = {part: min(spent[part] for spent in found) / len(case.lines) * 1_000_000 for part in PARTS}


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", nargs="?", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write every figure there")
    arguments = parser.parse_args()
    print("| µs for an event |", " | ".join(PARTS), "| all | times loads | hash |")
    print("|---" * (len(PARTS) + 4) + "|")
    told: list[dict[str, Any]] = []
    for case in cases(arguments.events):
        measure(case, arguments.runs)
        total = sum(case.spent.values()) - case.spent["loads"]
        columns = " | ".join(f"{case.spent[part]:.1f}" for part in PARTS)
        ratio = total / case.spent["loads"]
        print(f"| {case.name} | {columns} | {total:.1f} | {ratio:.1f} | {case.sum} |", flush=True)
        told.append({"case": case.name, **case.spent, "hash": case.sum})
    if arguments.json:
        arguments.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
