"""State as it is recovered where C++ holds the subjects: it takes most of their records itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from monitor.wire.state import RecoveredState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from monitor.core.subjects import SubjectKey
    from monitor.engine.native import NativeDetector
    from monitor.wire.state import ReadRecord, RecoveredSubject

#: Subjects that are made ready in one call: some milliseconds of work.
_SETTLED_AT_ONCE: Final = 10_000

_decode = msgspec.msgpack.Decoder().decode


class NativeRecoveredState(RecoveredState):
    """Takes the records of one state partition as `RecoveredState` does, and gives the same subjects.

    Of each subject the store keeps its newest record, at rest, while the others are read. What concerns several
    records of a subject (pages, pieces of version 1) is collected in Python, and those subjects in the end too.
    """

    def __init__(self, place: str, detector: NativeDetector) -> None:
        super().__init__(place)
        self._detector = detector
        self._store = detector.store

    def add_all(self, records: Sequence[ReadRecord]) -> None:
        """Take records in the order of the log; raises as `add` does."""
        left = self._store.recover(records)
        self.records += len(records) - len(left)
        for number in left:
            record = records[number]
            self.add(record.key, record.value, record.offset)

    def subjects(self) -> Iterator[list[RecoveredSubject]]:
        """Yield the subjects that are not in their place yet, some at a time; see `RecoveredState.subjects`."""
        self._take_back(self._pages.keys() | self._before.keys())
        torn = []
        for at in range(0, len(self._store), _SETTLED_AT_ONCE):
            torn += self._detector.settle(at, _SETTLED_AT_ONCE)
            yield []
        self._take_back(torn)
        self.in_place = len(self._store)
        yield from super().subjects()

    def _take_back(self, keys: Iterable[SubjectKey]) -> None:
        for key in keys:
            given = self._store.give_back(*key)
            if given is not None:
                stamp, until_ms, content, is_whole = given
                self._heads[key] = stamp, until_ms, content if is_whole else _decode(content)
