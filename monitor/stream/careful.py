"""Gets past an event that ends the process itself: a native crash, or memory that runs out.

An exception is caught where it happens and its event goes to the dead letters. What kills the process
leaves nobody to do that, and it would be read again at each start: one event would be a remote off switch.
So before a partition's first records after its opening a note is committed beside its position: somebody
begins here. Progress takes it away. Where three processes ended at one position, the next one takes few records at a
time, then one event at a time, each with a note before and durable after; the event that was being tried
alone when three processes in a row ended is left out, as a dead letter
(docs/adr/0016-past-a-fatal-event.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from monitor.stream.chunks import Chunk
from monitor.wire.positions import WHOLE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from monitor.stream.partition import OpenPartition

log = structlog.get_logger(__name__)

#: So many processes may begin at one position and get no further; with the one that came upon it while it
#: ran, three have ended there then.
MOST_TRIES: Final = 2
#: Records that are taken at a time then, first; one at a time where that ended a process too.
SLICE: Final = 64
#: So many processes in a row must end at one event alone: one that is ended for another reason, while an event
#: is tried or made durable, says nothing about that event.
MOST_ENDS: Final = 3
#: Records after which all is as before: more than a process holds that is not durable, on a normal day.
SLOW_RECORDS: Final = 4_096


class Tries:
    """Hands the chunks of one opening to its partition, with notes of what is tried."""

    def __init__(
        self,
        partition: OpenPartition,
        commit_note: Callable[[OpenPartition], Awaitable[object]],
        flush: Callable[[], Awaitable[None]],
    ) -> None:
        self._partition = partition
        self._commit_note = commit_note
        self._flush = flush
        found = partition.note
        self._tries = found.tries + 1
        self._begun = False
        self._left = SLOW_RECORDS if found.tries >= MOST_TRIES else 0
        self._size = 1 if found.slice else SLICE
        #: What the processes before were trying alone, and how many in a row ended at it.
        self._alone = (found.trying, found.ended) if found.slice == 1 else (None, 0)
        self._fatal = found.trying if self._left and self._alone[1] >= MOST_ENDS else None

    async def take(self, chunk: Chunk) -> None:
        """Have the partition take what is new in a chunk."""
        partition = self._partition
        if not self._begun:
            self._begun = True
            if not self._left:
                await self._note(partition.note.slice, partition.note.trying)
            else:
                log.error(
                    "processes ended here again and again: records are taken a few at a time",
                    topic=partition.tp.topic,
                    partition=partition.tp.partition,
                    position=partition.committed,
                    tries=self._tries - 1,
                    slice=self._size,
                )
        if not self._left:
            records = partition.continuity.admit(chunk)
            if records:
                await partition.take(records)
            return
        for part in slices(chunk, self._size):
            await self._take_slice(part)

    async def _take_slice(self, part: Chunk) -> None:
        partition = self._partition
        if self._size > 1:
            await self._note(self._size, (part.records[0].offset, WHOLE))
        # Nothing may come between this and the taking: a flush would commit what is not applied.
        records = partition.continuity.admit(part)
        if not records or partition.closed:
            return
        first = records[0]
        if self._size > 1:
            await partition.take(records)
        else:
            fatal = self._fatal[1] if self._fatal is not None and self._fatal[0] == first.offset else None
            await partition.take_alone(first, fatal, lambda event: self._note(1, (first.offset, event)))
            # Judged: an end in what follows, which takes longer, is none of its fault.
            await self._note(1, None)
        await self._flush()
        self._left = max(0, self._left - len(records))

    async def _note(self, size: int, trying: tuple[int, int] | None) -> None:
        partition = self._partition
        before, ends = self._alone
        ended = (ends + 1 if trying == before else 1) if size == 1 else 0
        partition.note = msgspec.structs.replace(
            partition.note, tries=self._tries, slice=size, trying=trying, ended=ended
        )
        await self._commit_note(partition)


def slices(chunk: Chunk, size: int) -> Iterator[Chunk]:
    """Yield a chunk as joining chunks of at most `size` records."""
    records = chunk.records
    start = chunk.start
    for at in range(0, len(records), size):
        rest = at + size < len(records)
        after = records[at + size].offset if rest else chunk.next
        yield Chunk(start, after, records[at : at + size], chunk.round)
        start = after
