"""The subjects of the native store, as the Python code of incidents, findings and saving sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from monitor import engine
from monitor.core.census import Held
from monitor.core.quiet import Listening
from monitor.core.subject import Subject
from monitor.core.windows import NEVER
from monitor.engine.packed import PackedRows
from monitor.errors import InvariantError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from monitor.core.events import RowsRecord
    from monitor.core.incident import Incident
    from monitor.core.plan import Plan
    from monitor.core.subjects import SubjectKey

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode


class HeldSubject:
    """A subject of the store, as the code of incidents and findings sees it."""

    __slots__ = ("_store", "axis", "name")

    def __init__(self, store: Any, axis: str, name: str) -> None:
        self._store = store
        self.axis = axis
        self.name = name

    def __repr__(self) -> str:
        return f"HeldSubject({self.axis})"

    @property
    def recovered(self) -> int:
        """The routed offset up to which a restored state already holds the log."""
        return int(self._about[0])

    @property
    def counts_until_ms(self) -> int | None:
        """The append time (inclusive) up to which the state counts, None where it always does."""
        _, expires_ms, lasting, _ = self._about
        return None if lasting else int(expires_ms)

    @property
    def dirty(self) -> bool:
        """Whether it changed since it was saved."""
        return bool(self._about[3])

    def expired(self, append_ms: int) -> bool:
        """Return whether the state no longer counts at an append time."""
        until_ms = self.counts_until_ms
        return until_ms is not None and until_ms < append_ms

    @property
    def floor_ms(self) -> int:
        """Events up to this time count no more."""
        return int(self._store.floor_ms(self.axis, self.name))

    @property
    def incident(self) -> Incident | None:
        """What happened since a finding; its `lasting` part is told to the store by `tell_incident`."""
        found: Incident | None = self._store.incident(self.axis, self.name)
        return found

    @incident.setter
    def incident(self, incident: Incident | None) -> None:
        self._store.set_incident(self.axis, self.name, incident, lasts(incident))

    def tell_incident(self) -> None:
        """Note whether the subject always counts, after its incident changed."""
        self.incident = self.incident

    @property
    def history(self) -> HeldSubject | None:
        """Its patients, where it read any."""
        return None if self._store.count_after(self.axis, self.name, NEVER) is None else self

    def count_after(self, after_ms: int) -> tuple[int, bool, int]:
        """Return (patients, whether there were more, tenants) read after a time (exclusive)."""
        found: tuple[int, bool, int] = self._store.count_after(self.axis, self.name, after_ms)
        return found

    def reopen(self) -> None:
        """Open every latch."""
        self._store.reopen(self.axis, self.name)

    def restart(self, floor_ms: int) -> None:
        """Let nothing up to a time (inclusive) count any more."""
        self._store.restart(self.axis, self.name, floor_ms)

    @property
    def credit(self) -> int:
        """How many events may wait: none does here."""
        return 0

    @credit.setter
    def credit(self, _: int) -> None:
        pass

    def rename(self, pseudonym: str, to: str) -> bool:
        """Call a pseudonym by another key's from now on; return whether it was here."""
        plain = _unpack(self._store.snapshot(self.axis, self.name))
        subject = Subject.restore(self.axis, self.name, self.recovered, plain)
        if not subject.rename(pseudonym, to):
            return False
        self._store.change(self.axis, self.name, _pack(subject.snapshot()))
        return True

    @property
    def _about(self) -> tuple[int, int, bool, bool]:
        found: tuple[int, int, bool, bool] | None = self._store.about(self.axis, self.name)
        if found is None:
            raise InvariantError("a subject that is no longer held")
        return found


class HeldSubjects:
    """The subjects of the store, with the methods of `core.subjects.Subjects`."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._moved: list[SubjectKey] = []
        self._lasting: list[SubjectKey] = []

    def __len__(self) -> int:
        return len(self._store)

    def __repr__(self) -> str:
        return f"HeldSubjects({len(self)})"

    @property
    def held(self) -> HeldSubjects:
        """By key: this object, which has the methods of a mapping that are used."""
        return self

    def __iter__(self) -> Iterator[SubjectKey]:
        return iter(self.keys())

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and self._store.about(*key) is not None

    def keys(self) -> list[SubjectKey]:
        """Return the keys of all subjects."""
        found: list[SubjectKey] = self._store.keys()
        return found

    def get(self, key: SubjectKey) -> HeldSubject | None:
        """Return what is held under a key."""
        return None if self._store.about(*key) is None else HeldSubject(self._store, *key)

    def __getitem__(self, key: SubjectKey) -> HeldSubject:
        if self._store.about(*key) is None:
            raise KeyError(key)
        return HeldSubject(self._store, *key)

    @property
    def resting_count(self) -> int:
        """How many of them are packed."""
        return int(self._store.resting())

    @property
    def dirty_count(self) -> int:
        """How many changed since `take_dirty`, about."""
        return int(self._store.dirty())

    @property
    def census(self) -> HeldSubjects:
        """What they hold: `last`."""
        return self

    @property
    def last(self) -> Held:
        """What the last whole round of the sweep came to."""
        return Held(*self._store.census())

    def trim(self, plan: Plan) -> None:
        """Leave it to the store: it drops what no rule looks back to as it takes another plan."""

    def take_dirty(self) -> list[SubjectKey]:
        """Return the subjects that changed since the last call, in the order they first did."""
        found: list[SubjectKey] = self._store.take_dirty()
        return found

    def counts_until(self, key: SubjectKey) -> int | None:
        """Return the append time (ms) after which a subject no longer counts; None where it always does."""
        return self[key].counts_until_ms

    def open(self, key: SubjectKey, epoch: int) -> HeldSubject:  # noqa: ARG002 - the store knows its rules
        """Return a new, empty subject in the place of what was held."""
        self._store.open(*key)
        return HeldSubject(self._store, *key)

    def touch(self, subject: HeldSubject, time_ms: int, keep_ms: int) -> None:
        """Note a change that counts until `time_ms + keep_ms`, by append time (inclusive)."""
        subject.tell_incident()
        self._store.touch(subject.axis, subject.name, time_ms, keep_ms)

    def awake(self, key: SubjectKey, subject: HeldSubject) -> HeldSubject:
        """Return what is held of `key` unpacked. Raises InvariantError where it cannot be read."""
        self._store.wake(*key)
        return subject

    def rest(self, key: SubjectKey, packed: bytes) -> bool:
        """Keep a subject as the packed form of its last snapshot; False where it changed since."""
        subject = self.get(key)
        if subject is None or subject.dirty:
            return False
        self._restore(key, subject.recovered, packed, subject.counts_until_ms)
        return True

    def restore_resting(self, key: SubjectKey, stamp: int, packed: bytes, until_ms: int | None) -> None:
        """Take a subject as `restore` does, but unpack it only when a row needs it."""
        self._restore(key, stamp, packed, until_ms)
        if until_ms is None:
            self._lasting.append(key)

    def restore(self, key: SubjectKey, stamp: int, plain: Sequence[object] | None, epoch: int) -> None:  # noqa: ARG002
        """Take a subject as it was after the routed offset `stamp`; None says that it was freed."""
        if plain is None:
            self._store.restore(*key, stamp, b"", False, NEVER)
            return
        self._store.restore(*key, stamp, _pack(plain), False, NEVER)
        self._store.wake(*key)
        if self[key].counts_until_ms is None:
            self._lasting.append(key)

    def _restore(self, key: SubjectKey, stamp: int, packed: bytes, until_ms: int | None) -> None:
        self._store.restore(*key, stamp, packed, until_ms is None, NEVER if until_ms is None else until_ms)

    def note_lasting(self, keys: Sequence[SubjectKey]) -> None:
        """Note subjects that were restored and always count."""
        self._lasting += keys

    def take_lasting(self) -> list[SubjectKey]:
        """Return those that always count, of what was restored since the last call and is still held."""
        if not self._lasting:
            return []
        lasting, self._lasting = self._lasting, []
        return [key for key in lasting if key in self]

    def move(self, key: SubjectKey, to: SubjectKey) -> None:
        """Call a subject by another name from now on; raises InvariantError where it cannot be read."""
        self._store.move(*key, to[1])
        self._moved.append(key)

    def take_moved(self) -> list[SubjectKey]:
        """Return the names that subjects gave up since the last call, and that nothing has now."""
        moved, self._moved = self._moved, []
        return [key for key in dict.fromkeys(moved) if key not in self]


class HeldListening(Listening):
    """Listens to refused credentials without unpacking whatever comes meanwhile."""

    def _requests(self, record: RowsRecord, prior: int, append_ms: int) -> Iterable[tuple[str, int]]:
        rows = record.rows
        if isinstance(rows, PackedRows):
            found: list[tuple[str, int]] | None = engine.store.heard(
                rows.content, rows.at, prior, append_ms, self._earliest
            )
            if found is not None:
                return found
        return super()._requests(record, prior, append_ms)


def lasts(incident: Incident | None) -> bool:
    """Return whether a subject always counts: its credential's status was changed, or it is watched."""
    return incident is not None and bool(incident.version or incident.watch)
