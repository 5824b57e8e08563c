"""Rows per second of the pure detector, on one core.

Four rules on two axes, 5,000 credentials, 100,000 patients: ``python bench/detector.py [ROWS]``.
"""

from __future__ import annotations

import gc
import random
import resource
import sys
import time
from typing import NoReturn

from monitor.core.detector import Detector
from monitor.core.events import RowKind, RowsRecord, RulesRecord, SourceId
from monitor.core.rules import AllOf, Match, Rule, RuleSet, rule_set_document

SUCCESS = AllOf((Match("status", "gte", 200), Match("status", "lt", 300)))
RULES = RuleSet(
    (
        Rule("requests", "Requests", "event_count", AllOf(()), ("principal",), 60_000, 600),
        Rule("patients", "Patients", "value_count", SUCCESS, ("principal",), 600_000, 200, "patient"),
        Rule("objects", "Objects", "value_count", SUCCESS, ("principal",), 600_000, 300, "object"),
        Rule("readers", "Readers", "value_count", SUCCESS, ("patient",), 600_000, 12, "principal"),
    )
)
START_MS = 1_750_000_000_000
ROWS_PER_RECORD = 500
DISORDER_MS = 2_000


def no_pattern(text: str) -> NoReturn:
    """Refuse patterns: these rules have none."""
    raise NotImplementedError(text)


def rows(count: int, *, disorder: bool) -> list[RowsRecord]:
    """Return a log of `count` rows, two for each event: its credential's and its patient's."""
    rng = random.Random(1)
    source = SourceId("cluster", "topic-id", "events", 0)
    all_rows = []
    for offset in range(count // 2):
        at = START_MS + offset // 5 - (rng.randrange(DISORDER_MS) if disorder else 0)
        # A few integrations make most of the traffic.
        principal = f"partner-{int(rng.random() ** 3 * 5_000)}"
        patient = f"{rng.randrange(100_000):024x}"
        rest = (
            None,
            "gateway-1",
            principal,
            "api_key",
            f"{rng.randrange(100_000):024x}",
            ((patient, f"practice-{rng.randrange(40)}"),),
            None,
            "192.0.2.1",
            "GET",
            "/patients/{id}",
            200,
            1000,
            1,
            "gw",
            "partner",
        )
        event = RowKind.EVENT.value
        all_rows.append((offset, event, "principal", f"gateway-1/{principal}", at, *rest))
        all_rows.append((offset, event, "patient", patient, at, *rest))
    return [
        RowsRecord(source, part[0][0], part[-1][0], resume=not at, rows=part)
        for at in range(0, len(all_rows), ROWS_PER_RECORD)
        if (part := all_rows[at : at + ROWS_PER_RECORD])
    ]


def main() -> None:
    """Print rows per second, in order and out of order."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    for disorder in (False, True):
        log = rows(count, disorder=disorder)
        detector = Detector(0, allowed_lateness_ms=3_600_000, compile_pattern=no_pattern)
        detector.activate(RulesRecord(1, "r", rule_set_document(RULES)), START_MS)
        gc.collect()
        gc.freeze()
        began = time.perf_counter()
        for offset, record in enumerate(log):
            detector.apply(record, offset, START_MS + record.last // 5)
        seconds = time.perf_counter() - began
        outcomes = detector.take_outcomes()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(
            f"{'out of order' if disorder else 'in order':<13}{count / seconds:>10,.0f} rows/s,"
            f" {detector.subject_count:,} subjects, {len(outcomes.findings):,} findings, {memory:,} MB"
        )
        keys = detector.subjects.take_dirty()
        began = time.perf_counter()
        for key in keys:
            detector.snapshot_subject(key)
        print(f"{'snapshots':<13}{len(keys) / (time.perf_counter() - began):>10,.0f} subjects/s")


if __name__ == "__main__":
    main()
