"""The subjects of a routed partition: those in use, those at rest, and which of them changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.core.census import Census
from monitor.core.resting import RestingSubject
from monitor.core.subject import Subject
from monitor.core.windows import NEVER
from monitor.errors import InvariantError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from monitor.core.plan import Plan
    from monitor.core.resting import Unpack

#: (axis, name).
SubjectKey = tuple[str, str]


class Subjects:
    """What is held of each subject; `unpack` reads what `restore_resting` and `rest` are given."""

    def __init__(self, unpack: Unpack | None = None) -> None:
        #: By key. To be read by the detector; whatever changes it is here.
        self.held: dict[SubjectKey, Subject | RestingSubject] = {}
        self._unpack = unpack
        self._dirty: list[Subject] = []
        self._moved: list[SubjectKey] = []
        self._round: Iterator[SubjectKey] = iter(())
        #: How much they hold, as the rounds find it.
        self.census = Census()
        #: Restored subjects that always count: their credential's status was changed.
        self._lasting: list[SubjectKey] = []

    def __len__(self) -> int:
        return len(self.held)

    def __repr__(self) -> str:
        return f"Subjects({len(self.held)})"

    @property
    def resting_count(self) -> int:
        """How many of them are packed."""
        return sum(isinstance(subject, RestingSubject) for subject in self.held.values())

    @property
    def dirty_count(self) -> int:
        """How many changed since `take_dirty`, about."""
        return len(self._dirty)

    def take_dirty(self) -> list[SubjectKey]:
        """Return the subjects that changed since the last call, in the order they first did."""
        dirty, self._dirty = self._dirty, []
        keys = []
        for subject in dirty:
            # One that was freed meanwhile is no longer dirty.
            if subject.dirty:
                subject.dirty = False
                keys.append((subject.axis, subject.name))
        return keys

    def counts_until(self, key: SubjectKey) -> int | None:
        """Return the append time (ms) after which a subject no longer counts; None where it always does."""
        return self.held[key].counts_until_ms

    def open(self, key: SubjectKey, epoch: int) -> Subject:
        """Return a new, empty subject in the place of what was held; `epoch` is the rule set's version."""
        expired = self.held.get(key)
        if isinstance(expired, Subject):
            expired.dirty = False
        subject = self.held[key] = Subject(*key, epoch)
        return subject

    def touch(self, subject: Subject, time_ms: int, keep_ms: int) -> None:
        """Note a change that counts until `time_ms + keep_ms`, by append time (inclusive)."""
        expires_ms = time_ms + keep_ms
        if expires_ms > subject.expires_ms:
            subject.expires_ms = expires_ms
        if not subject.dirty:
            subject.dirty = True
            self._dirty.append(subject)

    def awake(self, key: SubjectKey, subject: Subject | RestingSubject) -> Subject:
        """Return what is held of `key` unpacked. Raises InvariantError where it cannot be read."""
        if isinstance(subject, Subject):
            return subject
        if self._unpack is None:
            raise InvariantError("a subject at rest, and nothing to unpack it with")
        self.held[key] = awake = subject.wake(*key, self._unpack)
        return awake

    def rest(self, key: SubjectKey, packed: bytes) -> bool:
        """Keep a subject as the packed form of its last snapshot; False where it changed since."""
        subject = self.held.get(key)
        if not isinstance(subject, Subject) or subject.dirty:
            return False
        self.held[key] = RestingSubject(packed, subject.recovered, subject.counts_until_ms)
        return True

    def restore_resting(self, key: SubjectKey, stamp: int, packed: bytes, until_ms: int | None) -> None:
        """Take a subject as `restore` does, but unpack it only when a row needs it.

        `until_ms` is what `counts_until` said of it.
        """
        self.held[key] = RestingSubject(packed, stamp, until_ms)
        if until_ms is None:
            self._lasting.append(key)

    def take_lasting(self) -> list[SubjectKey]:
        """Return those that always count, of what was restored since the last call and is still held."""
        if not self._lasting:
            return []
        lasting, self._lasting = self._lasting, []
        return [key for key in lasting if key in self.held]

    def restore(self, key: SubjectKey, stamp: int, plain: Sequence[object] | None, epoch: int) -> None:
        """Take a subject as it was after the routed offset `stamp`; None says that it was freed.

        Its rows at offsets up to `stamp`, as recovered, are then skipped: the state holds them. Raises
        InvariantError for a form that this code does not read.
        """
        axis, name = key
        if plain is None:
            subject = Subject(axis, name, epoch)
            subject.recovered = stamp
        else:
            subject = Subject.restore(axis, name, stamp, plain)
            if subject.counts_until_ms is None:
                self._lasting.append((axis, name))
        self.held[axis, name] = subject

    def move(self, key: SubjectKey, to: SubjectKey) -> None:
        """Call a subject by another name from now on; raises InvariantError where it cannot be read."""
        subject = self.awake(key, self.held[key])
        del self.held[key]
        replaced = self.held.get(to)
        if isinstance(replaced, Subject):
            replaced.dirty = False
        subject.name = to[1]
        self.held[to] = subject
        self.touch(subject, NEVER, 0)
        self._moved.append(key)

    def take_moved(self) -> list[SubjectKey]:
        """Return the names that subjects gave up since the last call, and that nothing has now."""
        moved, self._moved = self._moved, []
        return [key for key in dict.fromkeys(moved) if key not in self.held]

    def trim(self, plan: Plan) -> None:
        """Drop of all those in use what no rule looks back to (see `Subject.trim`)."""
        for subject in self.held.values():
            if isinstance(subject, Subject):
                subject.trim(plan)

    def next_of_round(self, limit: int) -> Iterator[tuple[SubjectKey, Subject | RestingSubject]]:
        """Yield up to `limit` subjects; successive calls go round all of them."""
        for _ in range(limit):
            key = next(self._round, None)
            if key is None:
                self._round = iter(list(self.held))
                self.census.end_round()
                return
            subject = self.held.get(key)
            if subject is not None:
                self.census.add(subject)
                yield key, subject

    def free(self, key: SubjectKey) -> None:
        """Forget a subject; it is not saved any more."""
        subject = self.held.pop(key)
        if isinstance(subject, Subject):
            subject.dirty = False
