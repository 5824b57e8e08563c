"""Who does the work of a trial: this process alone, or processes that decode and others that judge.

With processes, blocks go round the readers in turn. Each reader sends a piece of each block to every
shard; a shard takes pieces in the order of the blocks, so it reads from the readers in turn too. Pipes
push back, and cannot lock: of the oldest block that is not yet everywhere, every shard has all before
it and waits for nothing else.
"""

from __future__ import annotations

import fcntl
import gc
import multiprocessing
import signal
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, Protocol

from monitor.errors import MonitorError
from monitor.trial.judging import DetectorJudge, Shard
from monitor.trial.reading import Reader, Reading, Tally
from monitor.trial.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection

    from monitor.trial.judging import Judge
    from monitor.trial.reading import Block

#: Blocks under way per reader: one in work, one in its pipe.
_BLOCKS_AHEAD: Final = 2
_PIPE_BYTES: Final = 1 << 20
_STOP_SECONDS: Final = 5.0


class Report(NamedTuple):
    """What a block held: the last time of its feed's clock in it, and what was read."""

    feed: int
    last_ms: int
    tally: Tally


class Failure(NamedTuple):
    """What ended a process early, without any data."""

    text: str


class Outcome(NamedTuple):
    """What came of a run: each shard's result, and the processor time of all processes but this one."""

    results: list[Any]
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """What a trial does with its events; every process of it gets the same."""

    reading: Reading
    #: For each feed, what time its clock does not begin before.
    starts: tuple[int, ...]
    allowed_lateness_ms: int
    #: Whether the highest counts are wanted instead of findings.
    peaks: bool = False

    def shard(self, number: int) -> Shard:
        """Return a shard that has seen nothing yet."""
        judge: Judge
        if self.peaks:
            from monitor.trial.peaks import PeaksJudge  # noqa: PLC0415 - one of two is needed

            judge = PeaksJudge(self.reading, self.allowed_lateness_ms)
        else:
            judge = DetectorJudge(self.reading, self.allowed_lateness_ms, number)
        sources = [feed.source for feed in self.reading.feeds]
        return Shard(Timeline(self.starts, sources), judge)


class Crew(Protocol):
    """Reads and judges blocks; reports come back in any order."""

    #: How many blocks may be under way.
    room: int

    def put(self, block: Block) -> None:
        """Take a block; a feed's blocks come in order, and an empty one ends it."""

    def reports(self, *, wait: bool) -> list[Report]:
        """Return reports that are there; with `wait`, at least one."""

    def finish(self) -> Outcome:
        """Return what came of it, after all reports."""

    def close(self) -> None:
        """End what was started, whatever happened."""


class Alone:
    """This process, one block after the other."""

    room = 1

    def __init__(self, work: Work) -> None:
        self._reader = Reader(work.reading, 1)
        self._shard = work.shard(0)
        self._reports: list[Report] = []

    def put(self, block: Block) -> None:
        """Read and judge a block at once."""
        tally, (piece,) = self._reader.read(block)
        self._shard.take(piece)
        self._reports.append(Report(piece.feed, piece.last_ms, tally))

    def reports(self, *, wait: bool) -> list[Report]:  # noqa: ARG002 - nothing is ever under way
        """Return the reports since the last call."""
        reports, self._reports = self._reports, []
        return reports

    def finish(self) -> Outcome:
        """Return the one result."""
        return Outcome([self._shard.result()], 0.0)

    def close(self) -> None:
        """Nothing was started."""


class Processes:
    """As many readers as shards, each a process of its own."""

    def __init__(self, work: Work, number: int) -> None:
        # Fresh processes, which hold none of our files, threads or terminal.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self.room = _BLOCKS_AHEAD * number
        self._turn = 0
        blocks = [_pipe() for _ in range(number)]
        reports = [_pipe() for _ in range(number)]
        results = [_pipe() for _ in range(number)]
        pieces = [[_pipe() for _ in range(number)] for _ in range(number)]
        self._blocks = [writing for _, writing in blocks]
        self._reports: list[Connection[Any, Any]] = [reading for reading, _ in reports]
        self._results = [reading for reading, _ in results]
        self._processes = []
        for at in range(number):
            to_shards = [pieces[at][shard][1] for shard in range(number)]
            from_readers = [pieces[reader][at][0] for reader in range(number)]
            self._processes += [
                context.Process(
                    target=_read, args=(work, blocks[at][0], to_shards, reports[at][1]), daemon=True
                ),
                context.Process(target=_judge, args=(work, at, from_readers, results[at][1]), daemon=True),
            ]
        try:
            for process in self._processes:
                process.start()
        finally:
            # An end that we kept would hide that whoever has the other is gone.
            for ends in (*blocks, *(pipe for row in pieces for pipe in row)):
                ends[0].close()
            for ends in (*reports, *results, *(pipe for row in pieces for pipe in row)):
                ends[1].close()

    def put(self, block: Block) -> None:
        """Give a block to the reader whose turn it is."""
        try:
            self._blocks[self._turn].send(block)
        except OSError:
            self._failed()
        self._turn = (self._turn + 1) % len(self._blocks)

    def reports(self, *, wait: bool) -> list[Report]:
        """Return reports that are there; with `wait`, at least one."""
        ready = connection.wait(self._reports, None if wait else 0)
        return [self._receive(pipe) for pipe in self._reports if pipe in ready]

    def finish(self) -> Outcome:
        """Tell the readers that there are no more blocks, and wait for the shards."""
        for pipe in self._blocks:
            with suppress(OSError):
                pipe.send(None)
        seconds = sum(self._receive(pipe) for pipe in self._reports)
        results = []
        for pipe in self._results:
            result, of_shard = self._receive(pipe)
            results.append(result)
            seconds += of_shard
        return Outcome(results, seconds)

    def close(self) -> None:
        """End all processes."""
        for pipe in (*self._blocks, *self._reports, *self._results):
            pipe.close()
        for process in self._processes:
            if process.pid is not None:
                process.terminate()
        for process in self._processes:
            if process.pid is not None:
                process.join(_STOP_SECONDS)
                if process.is_alive():
                    process.kill()
                    process.join()
                process.close()

    def _receive(self, pipe: Connection[Any, Any]) -> Any:
        try:
            received = pipe.recv()
        except (EOFError, OSError):
            received = None
        if isinstance(received, Failure):
            raise MonitorError(received.text)
        if received is None:
            self._failed()
        return received

    def _failed(self) -> NoReturn:
        """Say why there is no result: what a process told, or how one ended."""
        for pipe in (*self._reports, *self._results):
            with suppress(EOFError, OSError):
                told = pipe.recv() if pipe.poll() else None
                if isinstance(told, Failure):
                    raise MonitorError(told.text)
        for process in self._processes:
            process.join(_STOP_SECONDS / len(self._processes))
        codes = {process.exitcode for process in self._processes if process.exitcode is not None}
        ends = sorted(codes - {0})
        how = f" (exit codes {', '.join(map(str, ends))})" if ends else ""
        msg = f"a process of this run ended early{how}, so there is no result; is there enough memory?"
        raise MonitorError(msg)


@contextmanager
def without_collection() -> Iterator[None]:
    """Leave memory to reference counts meanwhile: events and windows hold no cycles.

    Looking for some among millions of objects was a tenth of the work.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _pipe() -> tuple[Connection[Any, Any], Connection[Any, Any]]:
    reading, writing = multiprocessing.Pipe(duplex=False)
    with suppress(OSError, AttributeError):  # smaller ones work too; the system limits what a user has
        fcntl.fcntl(writing.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return reading, writing


def _read(
    work: Work,
    blocks: Connection[Any, Any],
    shards: Sequence[Connection[Any, Any]],
    reports: Connection[Any, Any],
) -> None:
    def run() -> None:
        reader = Reader(work.reading, len(shards))
        while (block := blocks.recv()) is not None:
            tally, pieces = reader.read(block)
            for pipe, piece in zip(shards, pieces, strict=True):
                pipe.send(piece)
            reports.send(Report(pieces[0].feed, pieces[0].last_ms, tally))
        reports.send(time.process_time())
        # The shards end at the first of these, and may be gone when the others come.
        for pipe in shards:
            pipe.send(None)

    _until_the_end(run, reports)


def _judge(
    work: Work, number: int, readers: Sequence[Connection[Any, Any]], results: Connection[Any, Any]
) -> None:
    def run() -> None:
        shard = work.shard(number)
        turn = 0
        while (piece := readers[turn].recv()) is not None:
            shard.take(piece)
            turn = (turn + 1) % len(readers)
        result = shard.result()
        results.send((result, time.process_time()))

    _until_the_end(run, results)


def _until_the_end(run: Callable[[], None], told: Connection[Any, Any]) -> None:
    """Do a process's work; where another one is gone there is nothing to say, since it said it."""
    # Ctrl-C goes to all: the first process ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with without_collection():
            run()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:  # noqa: BLE001 - its text may hold data: only its type is told
        text = str(error) if isinstance(error, MonitorError) else type(error).__name__
        with suppress(OSError):
            told.send(Failure(f"a process of this run failed ({text}), so there is no result"))
