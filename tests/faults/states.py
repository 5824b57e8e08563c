"""What a worker would recover from `state` is what the `routed` log implies."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from monitor.core.window_base import unpacked
from monitor.observe.metrics import Metrics
from monitor.stream.saved import SavedState
from tests.faults.oracles import new_detector

if TYPE_CHECKING:
    from array import array

    from monitor.core.detector import Detector
    from monitor.core.subjects import SubjectKey
    from monitor.settings import Settings
    from tests.faults.logs import Logs
    from tests.faults.oracles import Fold, Verdict

_EVER: Final = 1 << 62


def check_state(settings: Settings, logs: Logs, fold: Fold, to: Verdict, *, fenced: bool) -> None:
    """A, E: what a worker would recover is the fold of the log; no record is followed by an older one."""
    for partition in range(settings.kafka.partitions):
        stamps: dict[bytes, int] = {}
        for record in logs.of("state", partition):
            if record.value is None or record.key[:1] == b"p":
                continue
            stamp = msgspec.msgpack.decode(record.value)[1]
            if fenced:
                older = stamp < stamps.get(record.key, -1)
                to.require(not older, f"E state-{partition} offset {record.offset}: older than one before")
            stamps[record.key] = stamp
        asyncio.run(_compare_state(settings, partition, fold, to))


async def _compare_state(settings: Settings, partition: int, fold: Fold, to: Verdict) -> None:
    held = new_detector(settings, partition)
    await SavedState(settings.topic("state"), partition, held, Metrics()).recover(settings.kafka)
    whole, now_ms = fold.detectors[partition], fold.append_ms[partition]
    for key in sorted(held.subjects.held.keys() | whole.subjects.held.keys()):
        left, right = _subject(held, key, now_ms), _subject(whole, key, now_ms)
        to.seen["subjects"] += 1
        text = f"A state-{partition}: subject {key} is not the fold of the log: {_parts(left, right)}"
        to.require(left == right, text)
    marks = sorted(held.marks.snapshot()[1]), sorted(whole.marks.snapshot()[1])
    to.require(marks[0] == marks[1], f"A state-{partition}: marks are not those of the log")


def _subject(detector: Detector, key: SubjectKey, now_ms: int) -> list[Any] | None:
    """Return a subject in a form to compare, or None where it no longer counts.

    When it was saved and pruned may show in what no rule looks at any more, and in the order of equal times.
    """
    held = detector.subjects.held.get(key)
    if held is None or held.expired(now_ms):
        return None
    subject = detector.subjects.awake(key, held)
    detector._settle(subject)
    subject.prune(detector._plan, now_ms)
    version, epoch, expires_ms, series, history, incident, *more = subject.snapshot()
    longest = detector._plan.counters
    windows = [
        [
            *(window_key, list(group), straggler_ms, born, until_ms, sorted(latches), stale),
            _window(window, straggler_ms or longest[window_key].longest_ms),
        ]
        for window_key, group, straggler_ms, born, until_ms, window, latches, stale in series
    ]
    patients = None
    if history is not None:
        window, tenants, places = history
        of = dict(zip(_numbers("Q", window[-1]), (tenants[place] for place in places), strict=True))
        patients = [_window(window, _EVER), sorted(of.items())]
    return [version, epoch, expires_ms, sorted(windows), patients, incident, more]


def _window(plain: list[Any], longest_ms: int) -> list[Any]:
    version, kind, capacity, last, lost, times, *columns = plain
    values = [_numbers("q", column) for column in columns if column]
    entries = sorted(zip(_numbers("q", times), *values, strict=True))
    return [version, kind, capacity, last, lost if lost > last - longest_ms else None, entries]


def _numbers(code: str, content: bytes) -> array[int]:
    return unpacked(code, content)


def _parts(left: list[Any] | None, right: list[Any] | None) -> str:
    """Return which parts of two subjects differ."""
    if left is None or right is None:
        return "there is none" if left is None else "it is freed"
    names = ("version", "epoch", "expires", "windows", "patients", "incident", "more")
    return ", ".join(
        f"{name} {one!r} / {other!r}"[:300]
        for name, one, other in zip(names, left, right, strict=True)
        if one != other
    )
