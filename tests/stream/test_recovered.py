"""State as it is recovered: what C++ takes of the log is what Python says that it holds."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import engine
from monitor.core.detector import Detector
from monitor.core.windows import NEVER
from monitor.engine.native import NativeDetector
from monitor.errors import InvariantError
from monitor.wire import state
from tests.core.samples import Entry, detectors_of, logs, new_detector, over_the_wire, put
from tests.core.test_detector_exact import dice
from tests.rig.native import native
from tests.stream.test_saved import OverTopic, Written, recovered, small_pages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.core.subjects import SubjectKey
    from monitor.stream.saved import Record

pack = msgspec.msgpack.encode


def states(log: Sequence[Entry]) -> list[tuple[SubjectKey, list[Any], int | None]]:
    """Return (key, snapshot, until) of the subjects of a log, as they were now and then."""
    detector = new_detector()
    found = []
    for entry in log:
        put(detector, entry)
        found += [
            (key, detector.snapshot_subject(key), detector.subjects.counts_until(key))
            for key in detector.subjects.take_dirty()
        ]
    return found


def of_version_1(key: SubjectKey, stamp: int, content: Any, pieces: int) -> list[tuple[bytes, bytes | None]]:
    """Return the records of a subject as the version before wrote them."""
    blob = pack(content)
    size = -(-len(blob) // pieces)
    parts = [blob[at : at + size] for at in range(0, len(blob), size)]
    name = f"s{key[0]}\0{key[1]}\0".encode()
    return [(name + b"%d" % index, pack((1, stamp, len(parts), part))) for index, part in enumerate(parts)]


def written(log: Sequence[Entry], rng: random.Random) -> list[Record]:
    """Return records of the subjects of a log in any order: stale, repeated, deleted, freed, in pages or pieces."""
    records: list[Record] = []
    #: Pieces of one stamp are of one state: no writer ever mixed them.
    cut: set[tuple[SubjectKey, int]] = set()
    for key, plain, until_ms in states(log):
        stamp = rng.randrange(6)
        kind = rng.random()
        if kind < 0.1:
            records.append(state.encode_freed(key, stamp))
        elif kind < 0.2 and (key, stamp) not in cut:
            cut.add((key, stamp))
            records += of_version_1(key, stamp, plain, rng.randint(1, 3))
        else:
            encoded = state.encode_subject(key, stamp, until_ms, plain)
            records += [*encoded.pages.items(), (encoded.key, encoded.value)]
    deleted = [(key, None) for key, _ in rng.sample(records, len(records) // 6) if key[:1] == b"s"]
    records += deleted
    records += rng.sample(records, len(records) // 6)
    rng.shuffle(records)
    return records


async def held(kind: type[Detector], records: list[Record]) -> Any:
    """Return all that a detector of a class holds of records, or why it does not."""
    with detectors_of(kind):
        detector = new_detector()
        saved = OverTopic(records, detector)
        try:
            recovery = await saved._recover(None)  # type: ignore[arg-type]
        except InvariantError as error:
            return str(error)
        keys = sorted(detector.subjects.held.keys())
        resting = detector.subjects.resting_count
        lasting = sorted(detector.subjects.take_lasting())
        told = [
            (key, detector.subjects.held[key].recovered, detector.subjects.counts_until(key)) for key in keys
        ]
        return (
            (recovery, keys, resting, lasting, saved._pages, told),
            [over_the_wire(detector.snapshot_subject(key)) for key in keys],
        )


@settings(max_examples=400)
@given(logs(rule_changes=True), dice, st.integers(0, 3))
async def test_both_detectors_recover_the_same(log: list[Entry], rng: random.Random, missing: int) -> None:
    native(engine.store)
    with small_pages():
        records = written(log, rng)
        if missing == 0 and records:
            del records[rng.randrange(len(records))]
        found = await held(NativeDetector, records)
        assert found == await held(Detector, records)


KEY = ("principal", "gw/p")


def subject(number: int, *, large: bool = False) -> list[Any]:
    """Return the snapshot of a subject that can be told by a number; a large one stands in pages."""
    plain: list[Any] = [2, 1, 100 + number, [], None, None, NEVER]
    if large:
        latches = [[f"latch {latch}", number] for latch in range(60)]
        plain[3] = [["key", [], 0, 1, 100, [2, 0, 9, 1, NEVER, bytes(8), b""], latches, []]]
    return plain


def of_version_2(stamp: int, plain: Any) -> list[Record]:
    """Return the records of a subject, its pages first."""
    encoded = state.encode_subject(KEY, stamp, None if plain is None else plain[2], plain)
    return [*encoded.pages.items(), (encoded.key, encoded.value)]


def cases() -> dict[str, tuple[list[Record], tuple[int, list[Any] | None] | str | None]]:
    """Return records, and the stamp and snapshot (None: freed) of what they hold, if they hold something."""
    small, other, large = subject(1), subject(2), subject(3, large=True)
    with small_pages():
        paged = of_version_2(5, large)
        stale = of_version_2(2, large)
    freed: list[Record] = [state.encode_freed(KEY, 4)]
    deleted: list[Record] = [(state.subject_tombstone(KEY), None)]
    old = of_version_1(KEY, 4, other, 2)
    return {
        "newest last": (of_version_2(1, other) + of_version_2(3, small), (3, small)),
        "newest first": (of_version_2(3, small) + of_version_2(1, other), (3, small)),
        "the same stamp twice": (of_version_2(3, other) + of_version_2(3, small), (3, small)),
        "in pages": (paged, (5, large)),
        "in pages, these last": (paged[::-1], (5, large)),
        "in pages, then small": (stale + of_version_2(3, small), (3, small)),
        "small, then in pages": (of_version_2(3, small) + paged, (5, large)),
        "small, and a stale large one": (of_version_2(3, small) + stale, (3, small)),
        "a page is missing": (paged[1:], "a page of a subject is missing"),
        "all pages are missing": (paged[-1:], "a page of a subject is missing"),
        "freed": (of_version_2(3, small) + freed, (4, None)),
        "freed, and a stale one": (freed + of_version_2(3, small), (4, None)),
        "freed, and back": (freed + of_version_2(6, small), (6, small)),
        "deleted": (of_version_2(3, small) + freed + deleted, None),
        "deleted, and back at an older stamp": (freed + deleted + of_version_2(3, small), (3, small)),
        "deleted with its pages": (paged + deleted + [(key, None) for key, _ in paged[:-1]], None),
        "of version 1": (old, (4, other)),
        "of version 1, and then of version 2": (old + of_version_2(6, small), (6, small)),
        "of version 2, and a newer one of version 1": (of_version_2(3, small) + old, (4, other)),
        "of version 1, and freed": (old + freed, (4, None)),
        "of version 1, in part, and of version 2": (old[1:] + of_version_2(1, small), (1, small)),
        "of version 1, deleted": (old + [(key, None) for key, _ in old], None),
    }


@pytest.mark.parametrize("kind", [Detector, NativeDetector])
@pytest.mark.parametrize("case", cases())
async def test_of_all_records_of_a_subject_the_newest_stands(case: str, kind: type[Detector]) -> None:
    if kind is NativeDetector:
        native(engine.store)
    records, expected = cases()[case]
    with detectors_of(kind):
        if isinstance(expected, str):
            with pytest.raises(InvariantError, match=expected):
                await recovered(records)
            return
        detector, _ = await recovered(records)
    found = detector.subjects.held.get(KEY)
    if expected is None:
        assert found is None
        return
    stamp, plain = expected
    assert found is not None
    assert found.recovered == stamp
    snapshot = over_the_wire(detector.snapshot_subject(KEY))
    assert snapshot == (plain or [2, -1, NEVER, [], None, None, NEVER])


@pytest.mark.parametrize("kind", [Detector, NativeDetector])
async def test_a_record_of_somebody_else_stops_with_its_place(kind: type[Detector]) -> None:
    if kind is NativeDetector:
        native(engine.store)
    good = of_version_2(3, subject(1))
    for odd in (
        pack((2, 1, 1, 7)),
        pack((2, 1, 1, b"")),
        pack((3, 1, 1, b"x")),
        pack((2, 1, 1)),
        b"",
        b"\x94",
    ):
        with detectors_of(kind), pytest.raises(InvariantError, match="state-0 offset 1: not a state record"):
            await recovered([*good, (good[0][0], odd)])


@pytest.mark.parametrize("subjects", [3_000])
def test_subjects_are_found_however_many_come_and_go(subjects: int) -> None:
    """Against a dictionary: the place of one that goes is taken by another."""
    native(engine.store)
    store = NativeDetector(3, allowed_lateness_ms=0, compile_pattern=lambda _: bool).store
    rng, expected = random.Random(1), dict[str, int]()
    for stamp in range(10 * subjects):
        name = f"gw/{rng.randrange(subjects)}"
        deleted = rng.random() < 0.4
        value = None if deleted else state.encode_subject(("principal", name), stamp, stamp, ["x"]).value
        store.recover([Written(state.subject_tombstone(("principal", name)), value, stamp)])
        if deleted:
            expected.pop(name, None)
        else:
            expected[name] = stamp
    assert sorted(store.keys()) == sorted(("principal", name) for name in expected)
    for number in range(subjects):
        about = store.about("principal", f"gw/{number}")
        assert (None if about is None else about[0]) == expected.get(f"gw/{number}")
