"""Bytes of memory that a worker's detector takes per subject, and at its peak in a flood of new ones.

In one process and without Kafka: rows of `routed` through the detector that a worker makes, saved as the role
saves them, under its limits; natively and, with ``ACCESS_MONITOR_PURE=1``, in Python alone. Each case is a process
of its own, and what it takes is what the system counts as resident. *Counted* is a subject that no flush has saved
yet, *at rest* one that did nothing since it was saved: nearly all are. What is free in pages that still hold
something is resident too: after a flood that is most of it, and the next subjects take it.

``python bench/memory.py [--subjects 1000000] [--windows 2000] [--seconds 10] [--only one,pure] [--json FILE]``
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from monitor.core.events import (
    AXIS,
    AXIS_PRINCIPAL,
    OBJECT,
    OFFSET,
    PATIENTS,
    PRINCIPAL,
    SUBJECT,
    TIME,
    RowsRecord,
    RulesRecord,
    SourceId,
    credential_subject,
)
from monitor.core.rules import AllOf, Rule, RuleSet, rule_set_document
from monitor.engine.detectors import new_detector
from monitor.engine.native import NativeDetector
from monitor.intake.canonical import decode
from monitor.intake.keys import Epoch, Keys
from monitor.intake.rows import EventRouter
from monitor.observe.metrics import Metrics
from monitor.rulebook import compile_pattern, load_rules
from monitor.settings import DetectSettings
from monitor.stream.detect import MOST_DIRTY
from monitor.stream.partition import WorkClock
from monitor.stream.saved import SavedState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from monitor.core.events import Row

SOURCE: Final = SourceId("cluster", "topic-id", "events", 0)
START_MS: Final = 1_772_359_200_000
LATENESS_MS: Final = 3_600_000
ROWS: Final = 500
#: As many as a window of the largest threshold below it holds, one short of a finding.
FULL: Final = 199
#: The same for the default pack, whose limit is 150 patients in ten minutes.
FULL_PACK: Final = 149
#: Where windows are filled: subjects that are active at once, and events of each between two flushes.
GROUP: Final = 200
ROUNDS: Final = 10
PARTITIONS: Final = 8
#: Python alone is measured with so many fewer full windows, so that it takes a minute.
FEWER_IN_PYTHON: Final = 2
EVENT: Final = (
    f'{{"time":{START_MS},"status":200,"principal":"p","authenticated":true,"patient":"p-1","object":"a-1",'
    '"records":1,"tenant":"t-1","route":"/appointments/{id}","method":"GET","client_ip":"192.0.2.1","bytes":512}'
)


def resident() -> int:
    """Return the bytes that this process has in memory, what is free given back first."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def peak() -> int:
    """Return the most bytes since `begin`."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def begin() -> int:
    """Return what is resident, and count the peak from now on."""
    now = resident()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return now


class Partition:
    """One routed partition of the role, without Kafka."""

    def __init__(self, rules: RuleSet, number: int = 0) -> None:
        self.detector = new_detector(number, allowed_lateness_ms=LATENESS_MS, compile_pattern=compile_pattern)
        self.detector.activate(RulesRecord(1, rules.revision, rule_set_document(rules)), START_MS - 10**10)
        self._saved = SavedState("state", number, self.detector, Metrics())
        role = DetectSettings()
        self._clock = WorkClock(
            budget_seconds=role.replay_budget.total_seconds(),
            age_seconds=role.flush_interval.total_seconds(),
        )
        self._offset = 0
        self._at_ms = START_MS
        #: What was given to Kafka last: a slow one holds it until the next flush.
        self._written: list[Any] = []

    def take(self, rows: list[Row]) -> None:
        """Apply rows; beyond the role's limit flush."""
        began = time.perf_counter()
        self._at_ms = rows[-1][TIME]
        record = RowsRecord(SOURCE, rows[0][OFFSET], rows[-1][OFFSET], not self._offset, rows)
        self.detector.apply(record, self._offset, self._at_ms)
        self.detector.take_outcomes()
        self._offset += 1
        self._clock.worked(time.perf_counter() - began)
        if self.detector.subjects.dirty_count > MOST_DIRTY:
            self.flush()

    def flush_in_time(self) -> None:
        """Flush where the role would by now: after so much work, or so much time."""
        if self._clock.due:
            self.flush()

    def flush(self) -> None:
        """Save what changed."""
        self._clock.restart()
        self._written = asyncio.run(self._saved.changes(self._offset, self._at_ms))

    def rest(self) -> None:
        """Save everything and let it rest."""
        self.flush()
        self.flush()
        self._written = []


def row_of(rules: RuleSet) -> list[Any]:
    """Return the row of one event on its credential's axis."""
    router = EventRouter(rules, Keys(bytes(32), (Epoch("k1", bytes(32)),)), 1, compile_pattern)
    rows = (row for _, row in router.route(decode("r", EVENT.encode()), 0))
    return list(next(row for row in rows if row[AXIS] == AXIS_PRINCIPAL))


def rows(like: list[Any], who: Iterable[tuple[int, int]], first: int = 0) -> Iterable[list[Row]]:
    """Yield rows by the record: (credential, how many seconds after the start), each of another patient."""
    made: list[Row] = []
    for number, (name, second) in enumerate(who, first):
        row = like.copy()
        row[OFFSET], row[TIME] = number, START_MS + 1000 * second
        row[PRINCIPAL] = f"partner-{name}"
        row[SUBJECT] = credential_subject("r", row[PRINCIPAL])
        row[OBJECT] = f"k1:{number:024x}"
        row[PATIENTS] = ((f"k1:{number:024x}", f"practice-{name % 40}"),)
        made.append(row)
        if len(made) == ROWS:
            yield made
            made = []
    if made:
        yield made


@dataclass(frozen=True)
class Options:
    """How large the cases are."""

    subjects: int
    windows: int
    seconds: float


def pack() -> RuleSet:
    """Return the default pack."""
    return load_rules(["pack:default"]).rule_set


def one_event(options: Options) -> dict[str, Any]:
    """Tell of subjects that did one thing each."""
    rules = pack()
    part, like = Partition(rules), row_of(rules)
    fresh = min(MOST_DIRTY, options.subjects)
    for record in rows(like, ((-1, 0),)):
        part.take(record)
    part.rest()
    before = begin()
    for record in rows(like, ((name, 0) for name in range(fresh)), 1):
        part.take(record)
    counted = (resident() - before) / fresh
    for record in rows(like, ((name, 0) for name in range(fresh, options.subjects)), 1 + fresh):
        part.take(record)
    part.rest()
    return _told(part, before, options.subjects, counted)


def _full(rules: RuleSet, held: int, options: Options) -> dict[str, Any]:
    part, like = Partition(rules), row_of(rules)
    for record in rows(like, ((-1, 0),)):
        part.take(record)
    part.rest()
    before, counted = begin(), 0.0
    for group in range(0, options.windows, GROUP):
        names = range(group, min(options.windows, group + GROUP))
        for first in range(0, held, ROUNDS):
            if first:
                part.flush()
            rounds = range(first, min(held, first + ROUNDS))
            who = ((name, 590 * number // held) for number in rounds for name in names)
            for record in rows(like, who, 1 + group * held + first * len(names)):
                part.take(record)
        if not group:
            counted = (resident() - before) / len(names)
        part.rest()
    return _told(part, before, options.windows, counted)


def window(options: Options) -> dict[str, Any]:
    """Tell of subjects whose one window of 200 values is full."""
    rule = Rule("w", "W", "value_count", AllOf(()), ("principal",), 600_000, FULL + 1, "patient")
    return _full(RuleSet((rule,)), FULL, options)


def window_pack(options: Options) -> dict[str, Any]:
    """Tell of subjects that the default pack nearly finds."""
    return _full(pack(), FULL_PACK, options)


def flood(options: Options) -> dict[str, Any]:
    """Tell of new subjects as fast as they are counted, on all partitions of a worker."""
    rules = pack()
    like = row_of(rules)
    parts = [Partition(rules, number) for number in range(PARTITIONS)]
    for number, part in enumerate(parts):
        for record in rows(like, ((-1 - number, 0),)):
            part.take(record)
        part.rest()
    before = begin()
    began, made = time.perf_counter(), 0
    while time.perf_counter() - began < options.seconds:
        # Each of a partition's own offsets, as its source's rows are.
        for number, part in enumerate(parts):
            names = range(made * PARTITIONS + number * ROWS, made * PARTITIONS + (number + 1) * ROWS)
            for record in rows(like, ((name, 0) for name in names), 1 + made):
                part.take(record)
            part.flush_in_time()
        made += ROWS
    seconds, highest = time.perf_counter() - began, peak()
    for part in parts:
        part.rest()
    told = _told(parts[0], before, made * PARTITIONS, None)
    return told | {"peak_mb": (highest - before) / 1e6, "per_second": made * PARTITIONS / seconds}


def _told(part: Partition, before: int, subjects: int, counted: float | None) -> dict[str, Any]:
    rest = resident() - before
    return {
        "native": isinstance(part.detector, NativeDetector),
        "subjects": subjects,
        "counted_bytes": counted,
        "rest_bytes": rest / subjects,
        "rest_mb": rest / 1e6,
        "peak_mb": (peak() - before) / 1e6,
    }


CASES: Final = {
    "one": ("one event each", one_event),
    "window": ("a full window of 200 patients", window),
    "pack": (f"default pack, {FULL_PACK} patients in 10 min", window_pack),
    "flood": (f"new ones at full speed, {PARTITIONS} partitions", flood),
}
KINDS: Final = ("native", "pure")


def measure(case: str, kind: str, options: Options) -> dict[str, Any]:
    """Run a case in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "ACCESS_MONITOR_PURE"}
    fewer = FEWER_IN_PYTHON if kind == "pure" else 1
    options = replace(options, windows=options.windows // fewer)
    sizes = [f"--{name}={value}" for name, value in vars(options).items()]
    done = subprocess.run(
        [sys.executable, __file__, "--case", case, *sizes],
        env=environment | ({"ACCESS_MONITOR_PURE": "1"} if kind == "pure" else {}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    if told["native"] is not (kind == "native"):
        sys.exit("no native code here: `--only pure`, or install with a compiler at hand")
    return told


def show(case: str, kind: str, told: dict[str, Any]) -> None:
    """Print a line."""
    counted = "-" if told["counted_bytes"] is None else f"{told['counted_bytes']:,.0f}"
    speed = f"  {told['per_second']:,.0f} a second" if "per_second" in told else ""
    print(
        f"{CASES[case][0]:<40}{kind:<7}{told['subjects']:>10,}{counted:>10}{told['rest_bytes']:>10,.0f}"
        f"{told['rest_mb']:>9,.0f}{told['peak_mb']:>9,.0f}{speed}",
        flush=True,
    )


def main() -> None:
    """Print a line for each case, native and not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=1_000_000)
    parser.add_argument("--windows", type=int, default=2_000, help="subjects whose windows are full")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long the flood lasts")
    parser.add_argument("--only", default="", help=f"of {','.join((*CASES, *KINDS))}")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    options = Options(arguments.subjects, arguments.windows, arguments.seconds)
    if arguments.case:
        print(json.dumps(CASES[arguments.case][1](options)))
        return
    only = arguments.only.split(",")
    report = []
    print(
        f"{'':<47}{'subjects':>10}{'counted':>10}{'at rest':>10}{'MB':>9}{'peak MB':>9}  (bytes per subject)"
    )

    def cases(kind: str) -> None:
        for case in [case for case in CASES if case in only] or CASES:
            told = measure(case, kind, options)
            report.append({"case": case, **told})
            show(case, kind, told)

    # Side by side: Python alone takes its time, and what is asked for is memory.
    with ThreadPoolExecutor() as pool:
        list(pool.map(cases, [kind for kind in KINDS if kind in only] or KINDS))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
