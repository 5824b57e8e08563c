"""Where a role goes on in a partition that it was given, or why it must not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog

from monitor.errors import ConfigurationError, Fault
from monitor.stream.gaps import Gap
from monitor.wire.positions import PositionNote, decode_note

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monitor.stream.chunks import Partition, RoleApp
    from monitor.stream.gaps import Gaps

log = structlog.get_logger(__name__)


class Beginnings:
    """The positions of one group on one cluster, checked against the topics that they belong to."""

    def __init__(self, app: RoleApp, topic_ids: Mapping[str, str], gaps: Gaps | None) -> None:
        self._app = app
        self._topic_ids = topic_ids
        self._gaps = gaps

    async def of(self, tp: Partition) -> tuple[int, PositionNote]:
        """Return the position of a partition with its note.

        Raises ConfigurationError where a person must say how to go on: there is no position, the topic
        is another one than it was, or records between were deleted and the policy is to stop.
        """
        thread = self._app.thread
        position, note = await self._committed(tp)
        first, end = await thread.bounds(tp)
        topic_id = self._topic_ids.get(tp.topic)
        if note.topic_id not in (None, topic_id):
            problem = f"it was deleted and made again since group {self._app.group} last read it"
            raise _refusal(tp, "The topic is another one", problem, _adopt(tp.topic))
        if position > end:
            problem = (
                f"group {self._app.group} goes on at {position}, but the topic ends at {end}: it was deleted"
                " and made again, or its data was lost"
            )
            raise _refusal(tp, "The topic is another one", problem, _adopt(tp.topic))
        note = msgspec.structs.replace(note, topic_id=topic_id)
        if position < first:
            gap = Gap(self._app.group, tp.topic, topic_id or "", tp.partition, position, first - 1)
            if self._gaps is not None:
                await self._gaps.met(gap)
            return first, msgspec.structs.replace(note, holes_below=max(note.holes_below, end))
        return position, note

    async def _committed(self, tp: Partition) -> tuple[int, PositionNote]:
        found = await self._app.thread.committed(tp.topic, tp.partition + 1)
        if tp.partition in found:
            position, text = found[tp.partition]
            return position, decode_note(text, f"{tp.topic}-{tp.partition}")
        # A partition that was added after `monitor init` begins at its first record: nothing was read of
        # it. One that was there then had a position, which has expired: only a person may choose anew.
        notes = [decode_note(text, f"{tp.topic}-{number}") for number, (_, text) in found.items()]
        known = max((note.partitions for note in notes), default=0)
        if not 0 < known <= tp.partition:
            problem = f"group {self._app.group} has no position there"
            remedy = (
                "on the first run: `monitor init`, with --from to say where to begin. If the positions expired"
                " or the topic was made again: `monitor init --from earliest`; what was counted is not"
                " counted again"
            )
            raise _refusal(tp, "No position to go on from", problem, remedy)
        log.warning(
            "a partition was added; it is read from its first record", topic=tp.topic, partition=tp.partition
        )
        return 0, PositionNote(partitions=known)


def _adopt(topic: str) -> str:
    return f"`monitor init --adopt {topic}` takes the topic as it is now; see docs/disaster.md"


def _refusal(tp: Partition, title: str, problem: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(title, [Fault(f"{tp.topic}-{tp.partition}", problem, remedy)])
