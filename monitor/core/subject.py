"""What a routed partition holds for one subject: its windows and latches, its history, its status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from monitor.core.incident import Incident, PatientHistory
from monitor.core.values import pseudonym_number
from monitor.core.windows import NEVER, ValueCountWindow, restore_window
from monitor.errors import InvariantError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.core.events import Row
    from monitor.core.findings import Place
    from monitor.core.plan import Counter, Plan, SeriesKey
    from monitor.core.windows import Window

_FORMAT: Final = 2
#: It had no stale latches, and no time before which nothing counts.
_FORMAT_BEFORE: Final = 1
#: Offset of a subject that was not recovered: every row is newer.
NOT_RECOVERED: Final = -1
#: What most series and subjects have none of; never written to.
NO_LATCHES: Final[dict[str, int]] = {}
_NO_STALE: Final[frozenset[str]] = frozenset()


class Series:
    """One window of a subject, with the latches of the rules that look at it.

    A latch is shut where it has an entry: `L` of the last evaluation that was true. Those in `stale`
    were shut by an event too old to act on, and are open to one that is not. `slack` is how much more
    must be added before any rule can hold that does not hold now; 0 where that is not known.
    """

    __slots__ = ("born", "expires_ms", "latches", "slack", "stale", "window")

    def __init__(self, born: int, window: Window, slack: int) -> None:
        self.born = born
        self.window = window
        #: Append time after which nothing in here can change a result.
        self.expires_ms = NEVER
        self.latches = NO_LATCHES
        self.stale = _NO_STALE
        self.slack = slack


class Subject:
    """All state of one (axis, subject).

    `recovered` is the routed offset up to which a restored state already holds the log. Whether the
    state has expired is decided by the log alone (`expires_ms` against the append time of the next
    row), so it does not matter when, or whether, its memory is freed.
    """

    __slots__ = (
        "axis",
        "credit",
        "dirty",
        "epoch",
        "expires_ms",
        "floor_ms",
        "history",
        "incident",
        "latest_ms",
        "name",
        "recovered",
        "series",
        "sum_credit",
        "waiting",
    )

    def __init__(self, axis: str, name: str, epoch: int) -> None:
        self.axis = axis
        self.name = name
        #: Version of the rule set that the series were last brought in line with.
        self.epoch = epoch
        self.recovered = NOT_RECOVERED
        self.expires_ms = NEVER
        #: Events up to this time count no more.
        self.floor_ms = NEVER
        self.dirty = False
        self.series: dict[SeriesKey, Series] = {}
        self.history: PatientHistory | None = None
        self.incident: Incident | None = None
        #: Events that are not counted yet (see `batching`), in order of their time, each with the mask of
        #: what counts it; how much more may
        #: wait, and the latest time of all that came.
        self.waiting: list[tuple[int, Place, Row, int]] | tuple[()] = ()
        self.credit = 0
        self.sum_credit = 0
        self.latest_ms = NEVER

    def __repr__(self) -> str:
        return f"Subject({self.axis})"

    def expired(self, append_ms: int) -> bool:
        """Return whether the state no longer counts at an append time.

        A credential whose status was ever changed keeps it: a repeated, older status must not pass
        for news.
        """
        until_ms = self.counts_until_ms
        return until_ms is not None and until_ms < append_ms

    @property
    def counts_until_ms(self) -> int | None:
        """The append time (inclusive) up to which the state counts, None where it always does."""
        incident = self.incident
        lasts = incident is not None and (incident.version or incident.watch)
        return None if lasts else self.expires_ms

    def adopt(self, plan: Plan) -> None:
        """Bring the series in line with a rule set: windows of what is still counted stay."""
        if self.epoch == plan.record.version:
            return
        self.epoch = plan.record.version
        self.credit = 0
        for key, series in list(self.series.items()):
            counter = plan.counters.get(key[0])
            capacity = counter.capacity_of(key[2]) if counter is not None else 0
            if counter is None or counter.born != series.born or not capacity:
                del self.series[key]
                continue
            series.window.resize(capacity)
            series.slack = 0
            for latch in series.latches.keys() - plan.latches:
                del series.latches[latch]
            series.stale &= plan.latches

    def open_series(self, counter: Counter, key: SeriesKey) -> Series:
        """Return a new, empty series in the place of `key`."""
        series = self.series[key] = Series(counter.born, counter.new_window(key[2]), counter.least)
        return series

    def rename(self, pseudonym: str, to: str) -> bool:
        """Call a pseudonym by another key's from now on, in windows and groups; return whether it was here."""
        number, new = pseudonym_number(pseudonym), pseudonym_number(to)
        found = self.history is not None and self.history.rename(number, new)
        grouped = []
        for key, series in self.series.items():
            if series.window.__class__ is ValueCountWindow and series.window.rename(number, new):
                found = True
            if pseudonym in key[1]:
                grouped.append(key)
        for key in grouped:
            window_key, group, timespan_ms = key
            renamed = tuple(to if value == pseudonym else value for value in group)
            self.series.setdefault((window_key, renamed, timespan_ms), self.series.pop(key))
        return found or bool(grouped)

    def reopen(self) -> None:
        """Open every latch."""
        for series in self.series.values():
            series.latches, series.stale = NO_LATCHES, _NO_STALE

    def restart(self, floor_ms: int) -> None:
        """Let nothing up to a time (inclusive) count any more; a time before the last one changes nothing."""
        if floor_ms <= self.floor_ms:
            return
        self.floor_ms = floor_ms
        # Nothing that may not count waits to be counted.
        self.latest_ms = max(self.latest_ms, floor_ms + 1)
        for series in self.series.values():
            series.window.forget(floor_ms)
            series.slack = 0

    def latest_counted_ms(self) -> int:
        """Return the latest time of all that its windows were told of, `NEVER` where they are empty."""
        latest = [series.window.last for series in self.series.values()]
        if self.history is not None:
            latest.append(self.history.last_ms)
        return max(latest, default=NEVER)

    def prune(self, plan: Plan, append_ms: int) -> None:
        """Free series that have expired, and entries that no rule looks back to; it changes no result."""
        for key, series in list(self.series.items()):
            if series.expires_ms < append_ms:
                del self.series[key]
        self.trim(plan)

    def trim(self, plan: Plan) -> None:
        """Drop the entries that no rule looks back to.

        Once more before another rule set comes into force, and before the subject is saved: what a rule
        with a longer timespan finds then is a matter of the log alone, not of when memory was freed.
        """
        if self.epoch != plan.record.version:
            return  # done before that set came into force
        for (window_key, _, timespan_ms), series in self.series.items():
            longest_ms = timespan_ms or plan.counters[window_key].longest_ms
            series.window.trim(series.window.last - longest_ms)

    def snapshot(self) -> list[Any]:
        """Return a plain form that `restore` reads."""
        return [
            _FORMAT,
            self.epoch,
            self.expires_ms,
            [
                [
                    *key,
                    series.born,
                    series.expires_ms,
                    series.window.snapshot(),
                    list(series.latches.items()),
                    sorted(series.stale),
                ]
                for key, series in self.series.items()
            ],
            None if self.history is None else self.history.snapshot(),
            None if self.incident is None else self.incident.snapshot(),
            self.floor_ms,
        ]

    @classmethod
    def restore(cls, axis: str, name: str, stamp: int, plain: Sequence[Any]) -> Subject:
        """Return the subject of a plain form, of this version or the one before.

        It is recovered up to the routed offset `stamp`. Raises InvariantError for a form that this code
        does not read.
        """
        version, epoch, expires_ms, all_series, history, incident, *floor = plain
        if version not in (_FORMAT, _FORMAT_BEFORE):
            msg = (
                f"subject snapshot of version {version!r}: this monitor reads {_FORMAT_BEFORE} and {_FORMAT};"
                " was it downgraded?"
            )
            raise InvariantError(msg)
        subject = cls(axis, name, epoch)
        subject.recovered = stamp
        subject.expires_ms = expires_ms
        for window_key, group, timespan_ms, born, series_expires_ms, window, latches, *stale in all_series:
            series = Series(born, restore_window(window), 0)
            series.expires_ms = series_expires_ms
            if latches:
                series.latches = dict(latches)
            if stale and stale[0]:
                series.stale = frozenset(stale[0])
            subject.series[window_key, tuple(group), timespan_ms] = series
        if history is not None:
            subject.history = PatientHistory.restore(history)
        if incident is not None:
            subject.incident = Incident.restore(incident)
        subject.latest_ms = subject.latest_counted_ms()
        if floor and floor[0] != NEVER:
            subject.floor_ms = floor[0]
            subject.latest_ms = max(subject.latest_ms, subject.floor_ms + 1)
        return subject
