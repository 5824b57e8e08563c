"""Reads feeds in the order in which the timeline needs them, and has a crew work on them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from monitor.core.windows import NEVER
from monitor.trial.crew import Alone, Processes, Work, without_collection
from monitor.trial.inputs import STDIN, blocks_of
from monitor.trial.reading import Block, Tally, first_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from monitor.trial.crew import Crew, Outcome
    from monitor.trial.reading import Reading

#: Below it, processes take longer to start than they save.
_WORTH_PROCESSES_BYTES = 24 << 20


def default_jobs(size: int | None) -> int:
    """Return how many readers and shards to use for so many bytes (None: unknown)."""
    if size is not None and size < _WORTH_PROCESSES_BYTES:
        return 1
    return min(len(os.sched_getaffinity(0)), 16)


def run_files(
    reading: Reading,
    paths: Sequence[Path],
    *,
    jobs: int,
    allowed_lateness_ms: int,
    peaks: bool = False,
    on_read: Callable[[int], None] = lambda _: None,
) -> tuple[Tally, Outcome]:
    """Work through files as one timeline; return what was read and what came of it."""
    inputs = [_file_blocks(number, path, on_read) for number, path in enumerate(paths)]
    starts = [NEVER] * len(paths)
    if len(paths) > 1:
        # A file that begins later is not opened before it is its turn.
        starts = [
            NEVER if str(path) == STDIN else _start(reading, number, path)
            for number, path in enumerate(paths)
        ]
    return run(Work(reading, tuple(starts), allowed_lateness_ms, peaks), inputs, jobs)


def run(work: Work, inputs: Sequence[Iterator[Block]], jobs: int) -> tuple[Tally, Outcome]:
    """Work through the blocks of each feed; return what was read and what came of it.

    What came of it does not depend on `jobs`.
    """
    crew: Crew = Alone(work) if jobs == 1 else Processes(work, jobs)
    try:
        with without_collection():
            tally = _feed(crew, work.starts, inputs)
            return tally, crew.finish()
    finally:
        crew.close()


def _feed(crew: Crew, starts: Iterable[int], inputs: Sequence[Iterator[Block]]) -> Tally:
    reached = list(starts)
    waiting = set(range(len(inputs)))
    total = Tally()
    under_way = 0
    while waiting or under_way:
        if waiting:
            # The feed that is furthest behind holds the timeline up.
            feed = min(waiting, key=lambda number: (reached[number], number))
            block = next(inputs[feed], None)
            if block is None:
                waiting.discard(feed)
                block = Block(feed, 0, b"")
            crew.put(block)
            under_way += 1
        for report in crew.reports(wait=not waiting or under_way >= crew.room):
            under_way -= 1
            total.add(report.tally)
            reached[report.feed] = max(reached[report.feed], report.last_ms)
    return total


def _file_blocks(number: int, path: Path, on_read: Callable[[int], None]) -> Iterator[Block]:
    line = 1
    for data in blocks_of(path, on_read):
        yield Block(number, line, data)
        line += data.count(b"\n")


def _start(reading: Reading, number: int, path: Path) -> int:
    content = blocks_of(path)
    try:
        data = next(content, b"")
    finally:
        content.close()  # type: ignore[attr-defined]
    return first_time(reading, Block(number, 1, data)) if data else NEVER
