"""Coverage: each source offset takes effect exactly once, whatever fails on the way."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from monitor.core.coverage import Marks
from monitor.core.events import RowsRecord, SourceId
from monitor.errors import InvariantError
from tests.core.samples import EVENTS, OTHER_EVENTS, over_the_wire

RUNS = 3_000
END = 60


@dataclass
class Sender:
    """Intake for one source partition and one routed partition: reads, sends, commits, fails."""

    start: int
    position: int = 0
    covered: int | None = None
    flight: list[RowsRecord] = field(default_factory=list)
    failed: bool = False

    def __post_init__(self) -> None:
        self.position = self.start

    def read(self, target: dict[int, int], rng: random.Random) -> None:
        """Read a chunk of random size; its rows of the target go into flight."""
        end = min(END, self.position + rng.randint(1, 6))
        rows = [(offset,) for offset in range(self.position, end) for _ in range(target.get(offset, 0))]
        if rows:
            resume = self.covered is None
            first = self.start if self.covered is None else self.covered + 1
            self.flight.append(RowsRecord(EVENTS, first, end - 1, resume, rows))
            self.covered = end - 1
        self.position = end


def simulated_log(  # noqa: C901 - one branch for each thing that may happen
    rng: random.Random, target: dict[int, int]
) -> list[RowsRecord]:
    """Return what reaches the log from senders that crash, lose batches, and send on when replaced."""
    log: list[RowsRecord] = []
    committed = 0
    sender = Sender(committed)
    zombies: list[list[RowsRecord]] = []
    for _ in range(400):
        dice = rng.random()
        if dice < 0.35 and not sender.failed:
            sender.read(target, rng)
        elif dice < 0.60 and sender.flight:
            record = sender.flight.pop(0)
            if rng.random() < 0.12:
                sender.failed = True  # it never reaches the log, though later ones may
            else:
                log.append(record)
        elif dice < 0.72 and not sender.failed and not sender.flight:
            committed = max(committed, sender.position)
        elif dice < 0.80 or (sender.failed and rng.random() < 0.3):
            if sender.flight:
                zombies.append(sender.flight[:])
            sender = Sender(committed)
        elif zombies:
            late = rng.choice(zombies)
            record = late.pop(0)
            if rng.random() < 0.8:
                log.append(record)
            if not late:
                zombies.remove(late)
    last = Sender(committed)
    while last.position < END:
        last.read(target, rng)
    return log + last.flight


def applied(log: list[RowsRecord], rng: random.Random, *, naive: bool) -> list[int]:
    """Return the source offsets that took effect, by the real marks or by a bare mark."""
    marks, bare, got = Marks(), -1, []
    for record in log:
        if rng.random() < 0.1:
            restored = Marks()
            restored.restore(over_the_wire(marks.snapshot()))
            marks = restored
        prior = marks.admit(record)
        if naive:
            prior, bare = bare, max(bare, record.last)
        if prior is not None:
            got += [row[0] for row in record.rows if row[0] > prior]
    return got


def wrong_runs(*, naive: bool) -> int:
    wrong = 0
    for seed in range(RUNS):
        rng = random.Random(seed)
        target = {offset: rng.choice((1, 1, 2)) for offset in range(END) if rng.random() < 0.4}
        log = simulated_log(rng, target)
        want = [offset for offset in range(END) for _ in range(target.get(offset, 0))]
        wrong += applied(log, rng, naive=naive) != want
    return wrong


def test_crashes_zombies_and_lost_batches_neither_lose_nor_repeat() -> None:
    assert wrong_runs(naive=False) == 0


def test_a_bare_mark_would_lose() -> None:
    """The negative control: without the rule about holes most runs are wrong."""
    assert wrong_runs(naive=True) > RUNS // 4


def record(first: int, last: int, *, resume: bool = False, source: SourceId = EVENTS) -> RowsRecord:
    return RowsRecord(source, first, last, resume, [])


def test_a_hole_is_ignored_and_the_mark_stays() -> None:
    marks = Marks()
    assert marks.admit(record(5, 9, resume=True)) == -1
    assert marks.admit(record(11, 12)) is None
    assert marks.admit(record(10, 12)) == 9
    assert marks.mark(EVENTS) == 12


def test_a_repetition_returns_the_mark_and_never_lowers_it() -> None:
    marks = Marks()
    marks.admit(record(0, 9, resume=True))
    assert marks.admit(record(0, 4)) == 9
    assert marks.admit(record(3, 11)) == 9
    assert marks.mark(EVENTS) == 11


def test_sources_have_marks_of_their_own() -> None:
    marks = Marks()
    made_again = SourceId(EVENTS.cluster, "another-id", EVENTS.topic, EVENTS.partition)
    marks.admit(record(0, 9, resume=True))
    assert marks.admit(record(0, 3, source=OTHER_EVENTS)) == -1
    assert marks.admit(record(0, 3, source=made_again)) == -1
    assert marks.admit(record(5, 6, source=SourceId("c", "i", "t", 0))) is None


def test_snapshots_are_the_same_whatever_the_order() -> None:
    one, other = Marks(), Marks()
    for marks, sources in ((one, (EVENTS, OTHER_EVENTS)), (other, (OTHER_EVENTS, EVENTS))):
        for source in sources:
            marks.admit(record(0, 3, resume=True, source=source))
    assert one.snapshot() == other.snapshot()


def test_marks_of_another_version_are_refused() -> None:
    with pytest.raises(InvariantError, match="version 9"):
        Marks().restore([9, []])
