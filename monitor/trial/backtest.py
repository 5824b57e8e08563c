"""What a rule set would have found in recorded events, and whom it would have cut off."""

from __future__ import annotations

import heapq
import time
from collections import Counter as Count
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from monitor.intake.inputs import Input
from monitor.trial.feeding import run_files
from monitor.trial.findings import rfc3339
from monitor.trial.reading import Feed, Reading, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from monitor.core.rules import Rule, RuleSet
    from monitor.intake.keys import Keys
    from monitor.trial.findings import Found
    from monitor.trial.judging import Verdict

#: What each action would have done to a subject.
DONE = {"alert": "alerted", "suspend": "suspended", "revoke": "revoked"}


@dataclass(frozen=True, slots=True)
class Settled:
    """What is the same for all files of a trial."""

    rule_set: RuleSet
    keys: Keys
    format: str = "canonical"
    realm: str = "default"
    allowed_lateness_ms: int = 3_600_000
    routes: tuple[Path | str, ...] = ()
    formats: tuple[Path, ...] = ()

    def reading(self, paths: Sequence[Path]) -> Reading:
        """Return how files are read."""
        read = Input(self.format, self.realm, routes=self.routes, formats=self.formats)
        feeds = tuple(Feed.of_file(number, str(path), read) for number, path in enumerate(paths))
        # A plain dict can go to another process.
        rule_set = replace(self.rule_set, classes=dict(self.rule_set.classes))
        return Reading(feeds, rule_set, self.keys, int(time.time() * 1000))


@dataclass(slots=True)
class Hit:
    """One subject of one rule: how often it was found, first when, and how many patients by then."""

    subject: str
    findings: int
    first_ms: int
    event_id: str
    patients: int
    capped: bool


@dataclass(slots=True)
class Backtest:
    """What came of a backtest.

    `counters` are the detector's, in rows: an event has a row for its credential, one for its patient
    where a rule is about patients, and so on.
    """

    rules: tuple[Rule, ...]
    feeds: tuple[str, ...]
    tally: Tally
    counters: dict[str, int]
    seconds: float
    cpu_seconds: float
    hits: dict[str, dict[str, Hit]] = field(default_factory=dict)
    findings: int = 0
    verdicts: Sequence[Verdict] = ()

    def lines(self) -> Iterator[bytes]:
        """Yield the findings as JSON, in order of time."""
        return (found.text for found in _merged(self.verdicts))

    def plain(self) -> dict[str, Any]:
        """Return the summary in a form that JSON can carry."""
        return {
            "records": self.tally.records,
            "events": self.tally.events,
            "anonymous_events": self.tally.anonymous,
            "ahead_of_now": self.tally.ahead,
            "rejected": {
                reason: {"records": number, "first": self.places(reason)}
                for reason, number in sorted(self.tally.rejected.items())
            },
            "rows": {name: self.counters.get(name, 0) for name in ROW_COUNTERS},
            "findings": self.findings,
            "seconds": round(self.seconds, 3),
            "cpu_seconds": round(self.cpu_seconds, 3),
            "events_per_second": round(self.tally.events / self.seconds) if self.seconds else 0,
            "rules": [
                {
                    "id": rule.id,
                    "title": rule.title,
                    "revision": rule.revision,
                    "action": rule.action,
                    "mode": rule.mode,
                    "findings": sum(hit.findings for hit in self.of(rule)),
                    "subjects": [
                        {
                            "subject": hit.subject,
                            "findings": hit.findings,
                            "first": rfc3339(hit.first_ms),
                            "event_id": hit.event_id,
                            "patients": hit.patients,
                            "patients_capped": hit.capped,
                        }
                        for hit in self.of(rule)
                    ],
                }
                for rule in self.rules
            ],
        }

    def of(self, rule: Rule) -> list[Hit]:
        """Return the subjects that a rule found, who was found first first."""
        return sorted(self.hits.get(rule.id, {}).values(), key=lambda hit: (hit.first_ms, hit.subject))

    def places(self, reason: str) -> list[str]:
        """Return where the first records rejected for a reason stand."""
        return [f"{self.feeds[feed]}:{position}" for feed, position in self.tally.places[reason]]


#: The detector's counters that tell of the events, not of Kafka.
ROW_COUNTERS = ("applied", "late", "lost_late", "too_late", "clamped", "internal")


def backtest_files(
    settled: Settled, paths: Sequence[Path], *, jobs: int, on_read: Callable[[int], None] = lambda _: None
) -> Backtest:
    """Run rules over files as one timeline. What is found does not depend on `jobs`.

    Raises ConfigurationError where a file or the format cannot be used, MonitorError where an archive
    is damaged.
    """
    began, cpu_began = time.perf_counter(), time.process_time()
    reading = settled.reading(paths)
    tally, outcome = run_files(
        reading, paths, jobs=jobs, allowed_lateness_ms=settled.allowed_lateness_ms, on_read=on_read
    )
    cpu_seconds = time.process_time() - cpu_began + outcome.cpu_seconds
    seconds = time.perf_counter() - began
    rules = settled.rule_set.rules
    return summed_up(rules, reading.feeds, tally, outcome.results, seconds=seconds, cpu_seconds=cpu_seconds)


def summed_up(
    rules: tuple[Rule, ...],
    feeds: Sequence[Feed],
    tally: Tally,
    verdicts: Sequence[Verdict],
    *,
    seconds: float,
    cpu_seconds: float,
) -> Backtest:
    """Return what came of a run, from each shard's verdict."""
    counters: Count[str] = Count()
    for verdict in verdicts:
        counters.update(verdict.counters)
    result = Backtest(
        rules,
        tuple(feed.name for feed in feeds),
        tally,
        dict(counters),
        seconds,
        cpu_seconds,
        verdicts=verdicts,
    )
    _note_hits(result, _merged(verdicts))
    return result


def _merged(verdicts: Sequence[Verdict]) -> Iterator[Found]:
    return heapq.merge(*(verdict.found for verdict in verdicts))


def _note_hits(result: Backtest, found: Iterable[Found]) -> None:
    for finding in found:
        result.findings += 1
        of_rule = result.hits.setdefault(finding.rule, {})
        hit = of_rule.get(finding.subject)
        if hit is None:
            of_rule[finding.subject] = Hit(
                finding.subject, 1, finding.time_ms, finding.event_id, finding.patients, finding.capped
            )
        else:
            hit.findings += 1
