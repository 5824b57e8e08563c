"""What each threshold of a rule would have found in recorded events."""

from __future__ import annotations

import time
from bisect import bisect_left
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from monitor.trial.feeding import run_files
from monitor.trial.findings import rfc3339
from monitor.trial.peaks import LARGEST_THRESHOLD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from monitor.core.rules import Rule
    from monitor.trial.backtest import Settled
    from monitor.trial.peaks import Peak, Peaks
    from monitor.trial.reading import Tally

TOP_SUBJECTS: Final = 10
#: Thresholds looked at are these times powers of ten.
_STEPS: Final = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class Top:
    """A subject with its highest count, and when its window showed it."""

    subject: str
    group: dict[str, Any]
    count: int
    time: str
    credential_class: str | None


@dataclass(frozen=True, slots=True)
class Spread:
    """How the highest counts of some subjects are spread; percentiles are of the nearest rank."""

    subjects: int
    p50: int
    p90: int
    p99: int
    max: int


@dataclass(frozen=True, slots=True)
class Tuned:
    """One rule: its subjects' highest counts, and whom each threshold would have found.

    A subject is counted with each group of its own (`group-by` fields after the first). Counts from
    `LARGEST_THRESHOLD` on are "at least".
    """

    rule: Rule
    spread: Spread
    by_class: dict[str, Spread]
    top: tuple[Top, ...]
    thresholds: tuple[tuple[int, int], ...]

    def plain(self) -> dict[str, Any]:
        """Return a form that JSON can carry."""
        rule = self.rule
        return {
            "rule": {"id": rule.id, "title": rule.title, "revision": rule.revision},
            "threshold": rule.threshold,
            "timespan_ms": rule.timespan_ms,
            "group_by": list(rule.group_by),
            "capped": self.spread.max >= LARGEST_THRESHOLD,
            **asdict(self.spread),
            "by_class": {name: asdict(spread) for name, spread in self.by_class.items()},
            "top": [asdict(top) for top in self.top],
            "thresholds": [{"threshold": at, "subjects": subjects} for at, subjects in self.thresholds],
        }


@dataclass(frozen=True, slots=True)
class Tuning:
    """What came of a run over files."""

    rules: tuple[Tuned, ...]
    feeds: tuple[str, ...]
    tally: Tally
    too_late: int
    seconds: float


def tune_files(
    settled: Settled, paths: Sequence[Path], *, jobs: int, on_read: Callable[[int], None] = lambda _: None
) -> Tuning:
    """Find the highest counts of all rules in files, read as a backtest reads them."""
    began = time.perf_counter()
    reading = settled.reading(paths)
    tally, outcome = run_files(
        reading,
        paths,
        jobs=jobs,
        allowed_lateness_ms=settled.allowed_lateness_ms,
        peaks=True,
        on_read=on_read,
    )
    shards: list[Peaks] = outcome.results
    tuned = []
    for rule in settled.rule_set.rules:
        # A subject lives in one shard.
        peaks = {key: peak for shard in shards for key, peak in shard.by_rule[rule.id].items()}
        tuned.append(_tuned(rule, peaks))
    feeds = tuple(feed.name for feed in reading.feeds)
    too_late = sum(shard.too_late for shard in shards)
    return Tuning(tuple(tuned), feeds, tally, too_late, time.perf_counter() - began)


def thresholds_around(rule: Rule, highest: int) -> list[int]:
    """Return thresholds to look at: 1, 2 and 5 times powers of ten up to what was reached, and the rule's."""
    largest = min(max(highest, rule.threshold), LARGEST_THRESHOLD)
    found = {rule.threshold}
    power = 1
    while power <= LARGEST_THRESHOLD:
        found.update(step * power for step in _STEPS if step * power <= largest)
        power *= 10
    return sorted(found)


def _tuned(rule: Rule, peaks: dict[tuple[str, tuple[Any, ...]], Peak]) -> Tuned:
    counts = sorted(peak.count for peak in peaks.values())
    by_class: dict[str, list[int]] = {}
    for peak in peaks.values():
        if peak.credential_class is not None:
            by_class.setdefault(peak.credential_class, []).append(peak.count)
    highest = sorted(peaks.items(), key=lambda item: (-item[1].count, item[0][0], str(item[0][1])))
    top = tuple(
        Top(
            subject,
            dict(zip(rule.group_by[1:], group, strict=True)),
            peak.count,
            rfc3339(peak.at_ms),
            peak.credential_class,
        )
        for (subject, group), peak in highest[:TOP_SUBJECTS]
    )
    spread = _spread(counts)
    return Tuned(
        rule,
        spread,
        {name: _spread(sorted(of)) for name, of in sorted(by_class.items())},
        top,
        tuple((at, len(counts) - bisect_left(counts, at)) for at in thresholds_around(rule, spread.max)),
    )


def _spread(counts: Sequence[int]) -> Spread:
    def percentile(percent: int) -> int:
        # The smallest count that at least so many of the subjects do not exceed.
        return counts[-(-len(counts) * percent // 100) - 1] if counts else 0

    return Spread(len(counts), percentile(50), percentile(90), percentile(99), counts[-1] if counts else 0)
