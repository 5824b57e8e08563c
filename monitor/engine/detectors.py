"""Which detector counts: the native one where it was built, else the one in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from monitor import engine
from monitor.core.detector import Detector
from monitor.engine.native import SAVED_AT_ONCE, NativeDetector
from monitor.engine.recovered import NativeRecoveredState
from monitor.wire import state
from monitor.wire.pages import LONGEST_PAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monitor.core.subjects import SubjectKey
    from monitor.wire.state import EncodedSubject

    #: The records of small subjects, each whole; and larger ones, which have pages.
    Changed = tuple[list[tuple[bytes, bytes]], list[tuple[SubjectKey, EncodedSubject]]]

#: How many subjects are saved at a go where Python does it: about a millisecond of work.
_SAVED_IN_PYTHON: Final = 25


def new_detector(partition: int, **options: Any) -> Detector:
    """Return a detector with the arguments of `Detector`; it reads subjects as `wire.state` packs them."""
    kind = Detector if engine.store is None else NativeDetector
    return kind(partition, unpack=state.unpack_subject, **options)


def recovered_state(detector: Detector, place: str) -> state.RecoveredState:
    """Return what takes the records of a state partition for a detector that holds nothing yet."""
    if isinstance(detector, NativeDetector):
        return NativeRecoveredState(place, detector)
    return state.RecoveredState(place)


class Saving:
    """Makes the records of subjects that changed, and lets those rest that did not change since."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        #: What was saved last of small subjects, where the native store does not keep it.
        self._packed: dict[SubjectKey, bytes] = {}

    def forget(self, key: SubjectKey) -> None:
        """Forget what was saved of a subject that was freed."""
        self._packed.pop(key, None)

    def rest(self) -> Iterator[None]:
        """Keep what was saved and did not change since in its packed form only; yields as `changed` does."""
        detector, packed = self._detector, self._packed
        if isinstance(detector, NativeDetector):
            while detector.store.rest(SAVED_AT_ONCE):
                yield
            return
        self._packed = {}
        for number, (key, content) in enumerate(packed.items()):
            detector.subjects.rest(key, content)
            if number % SAVED_AT_ONCE == 0:
                yield

    def changed(self, stamp: int) -> Iterator[Changed]:
        """Yield the records of what changed since the last call, some milliseconds of work at a time."""
        detector = self._detector
        if isinstance(detector, NativeDetector):
            while detector.subjects.dirty_count:
                small, large = detector.store.save(stamp, SAVED_AT_ONCE, LONGEST_PAGE)
                yield small, [(key, self._encoded(key, stamp)) for key in large]
            return
        keys = detector.subjects.take_dirty()
        for at in range(0, len(keys), _SAVED_IN_PYTHON):
            small, pages = [], []
            for key in keys[at : at + _SAVED_IN_PYTHON]:
                encoded = self._encoded(key, stamp)
                if encoded.packed is None:
                    pages.append((key, encoded))
                else:
                    self._packed[key] = encoded.packed
                    small.append((encoded.key, encoded.value))
            yield small, pages

    def _encoded(self, key: SubjectKey, stamp: int) -> EncodedSubject:
        detector = self._detector
        snapshot = detector.snapshot_subject(key)
        return state.encode_subject(key, stamp, detector.subjects.counts_until(key), snapshot)
