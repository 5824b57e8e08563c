"""What a shard does with its rows: the same detector as live."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter as Count
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from monitor.core.events import RowsRecord, RulesRecord
from monitor.core.rules import rule_set_document
from monitor.engine.detectors import new_detector
from monitor.engine.packed import PackedRows
from monitor.intake.pseudonym import Pseudonyms
from monitor.intake.rows import compares_client_ip
from monitor.rulebook import compile_pattern
from monitor.trial.findings import Found, as_found

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.core.events import Row, SourceId
    from monitor.trial.reading import Piece, Reading
    from monitor.trial.timeline import Timeline

#: Append times are rounded up to it: rows of one second are judged at a go. Nothing hangs on it but
#: which events are too late, by a second in an hour.
APPEND_STEP_MS: Final = 1_000
#: Memory of subjects that no longer matter is freed after so many rows, at a pace at which all are looked
#: at in so much time of the log: what a flood of made-up subjects fills is bounded by it.
_SWEEP_ROWS: Final = 10_000
_SWEEP_ROUND_MS: Final = 2 * 3_600_000


class Judge(Protocol):
    """Takes one shard's rows in the order of the timeline."""

    def begin(self, at_ms: int) -> None:
        """Put the rules in force; called once, before the first rows."""

    def take(self, source: SourceId, append_ms: int, rows: Sequence[Row]) -> None:
        """Judge rows that came at one append time."""

    def result(self) -> Any:
        """Return what came of it; called once."""


class Shard:
    """Lets a judge take pieces in the order of the timeline."""

    def __init__(self, timeline: Timeline, judge: Judge) -> None:
        self._timeline = timeline
        self._judge = judge
        self._begun = False

    def take(self, piece: Piece) -> None:
        """Take the next piece of a feed."""
        judge = self._judge
        for source, times, rows in self._timeline.take(piece):
            if not self._begun:
                judge.begin(_append_time(self._timeline.began_ms or times[0]))
                self._begun = True
            at, end = 0, len(rows)
            while at < end:
                append_ms = _append_time(times[at])
                upto = end if times[-1] <= append_ms else bisect_right(times, append_ms, at)
                judge.take(source, append_ms, _as_rows(rows if upto - at == end else rows[at:upto]))
                at = upto

    def result(self) -> Any:
        """Return what came of it, after the last piece."""
        return self._judge.result()


@dataclass(slots=True)
class Verdict:
    """The findings of one shard, and the detector's counters."""

    found: list[Found] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)


class DetectorJudge:
    """Runs the detector of live over rows that each come once."""

    def __init__(self, reading: Reading, allowed_lateness_ms: int, shard: int) -> None:
        self._feeds = reading.feeds
        rule_set = reading.rule_set
        compared = compares_client_ip(rule_set)
        self._hide_address = Pseudonyms.newest(reading.keys).client_ip if compared else None
        self._rules = RulesRecord(1, rule_set.revision, rule_set_document(rule_set))
        self._detector = new_detector(
            shard, allowed_lateness_ms=allowed_lateness_ms, compile_pattern=compile_pattern
        )
        self._sequence = 0
        self._unswept = 0
        self._swept_ms = 0
        self._counters: Count[str] = Count()
        self._found: list[Found] = []

    def begin(self, at_ms: int) -> None:
        """Put the rules in force; windows that reach further back are warming."""
        self._detector.activate(self._rules, at_ms)
        self._swept_ms = at_ms

    def take(self, source: SourceId, append_ms: int, rows: Sequence[Row]) -> None:
        """Judge rows that came at one append time."""
        # It covers nothing: no row comes twice, so no mark is needed to tell.
        self._detector.apply(RowsRecord(source, 0, -1, resume=True, rows=rows), self._sequence, append_ms)
        self._sequence += 1
        self._unswept += len(rows)
        if self._unswept >= _SWEEP_ROWS:
            self._unswept = 0
            self._sweep(append_ms)
            self._collect()

    def result(self) -> Verdict:
        """Return the findings, each encoded, and the counters."""
        self._collect()
        return Verdict(sorted(self._found), dict(self._counters))

    def _sweep(self, append_ms: int) -> None:
        """Free what no longer matters."""
        detector = self._detector
        detector.subjects.take_dirty()  # nothing is saved here
        passed_ms = append_ms - self._swept_ms
        self._swept_ms = append_ms
        share = min(1.0, passed_ms / _SWEEP_ROUND_MS)
        detector.sweep(append_ms, int(detector.subject_count * share))

    def _collect(self) -> None:
        outcomes = self._detector.take_outcomes()
        self._counters.update(outcomes.counters)
        for finding in outcomes.findings:
            self._found.append(as_found(finding, self._feeds, self._hide_address))


def _as_rows(rows: Sequence[Row] | Sequence[bytes]) -> Sequence[Row]:
    """Return rows that were packed one by one as packed rows, and others as they are."""
    if rows and isinstance(rows[0], bytes):  # all of a run are of one kind
        return PackedRows.joined(cast("Sequence[bytes]", rows))
    return cast("Sequence[Row]", rows)


def _append_time(clock_ms: int) -> int:
    return -(-clock_ms // APPEND_STEP_MS) * APPEND_STEP_MS
