"""Counts one event in the windows of its subject, and evaluates the rules that look at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.core.events import PATIENTS, STATUS, TENANT
from monitor.core.findings import Excess
from monitor.core.incident import PatientHistory
from monitor.core.subject import NO_LATCHES
from monitor.core.values import pseudonym_number
from monitor.core.windows import LARGEST_AMOUNT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.core.events import Row
    from monitor.core.plan import Counter, Plan, Span
    from monitor.core.readers import Counted, Value
    from monitor.core.subject import Series, Subject
    from monitor.core.windows import Window


def count(  # noqa: C901, PLR0917 - the hot path, in one piece
    subject: Subject,
    plan: Plan,
    work: Sequence[tuple[Counter, Counted]],
    read: Sequence[tuple[int, str | None]],
    time_ms: int,
    append_ms: int,
    counters: dict[str, int],
    *,
    stale: bool = False,
) -> list[Excess]:
    """Count an event of a subject; return the rules that hold and whose latch was open.

    `work` says what it adds to which counters, `read` which patients it read with success. `counters`
    takes ``late`` and ``lost_late``. `stale` says that the event is too old to be acted on: a latch that
    it shuts is open to the first event that is not.
    """
    if subject.epoch != plan.record.version:
        subject.adopt(plan)
    if read:
        if subject.history is None:
            subject.history = PatientHistory()
        subject.history.add(time_ms, read)
    excesses: list[Excess] = []
    all_series = subject.series
    for counter, counted in work:
        expires_ms = time_ms + counter.keep_ms
        for group, values in counted:
            key = (counter.window_key, group, 0) if group else counter.main_key
            series = all_series.get(key)
            if series is None or series.expires_ms < append_ms:
                series = subject.open_series(counter, key)
            window = series.window
            last_before = window.last
            added = window.add(time_ms, values)
            if expires_ms > series.expires_ms:
                series.expires_ms = expires_ms
            series.slack -= added
            if time_ms <= last_before - counter.shortest_ms:
                timely = []
                for span in counter.spans:
                    if time_ms > last_before - span.timespan_ms:
                        timely.append(span)
                    else:
                        counters["late"] += 1
                        _straggle(
                            subject,
                            counter,
                            span,
                            group,
                            values,
                            time_ms,
                            append_ms,
                            excesses,
                            counters,
                            stale,
                        )
                _evaluate(series, timely, group, excesses, straggler=False, stale=stale)
                series.slack = 0  # the other timespans were not looked at
            elif series.slack <= 0:
                _evaluate(series, counter.spans, group, excesses, straggler=False, stale=stale)
    return excesses


def patients_read(row: Row) -> Sequence[tuple[int, str | None]]:
    """Return the (patient's number, tenant) pairs that a row read with success.

    The row's own tenant stands where a pair has none. Raises TypeError where the row is malformed.
    """
    pairs = row[PATIENTS]
    if not pairs or not 200 <= row[STATUS] < 300:  # noqa: PLR2004 - HTTP's successes
        return ()
    tenant = row[TENANT]
    read = []
    for patient, own in pairs:
        if patient.__class__ is not str:
            msg = "a row with a patient of a wrong type"
            raise TypeError(msg)
        read.append((pseudonym_number(patient), tenant if own is None else own))
    return read


def _straggle(  # noqa: PLR0917 - all that an event is
    subject: Subject,
    counter: Counter,
    span: Span,
    group: tuple[Value, ...],
    values: Sequence[int],
    time_ms: int,
    append_ms: int,
    excesses: list[Excess],
    counters: dict[str, int],
    stale: bool,
) -> None:
    """Count an event that is late for a timespan: a log that comes late is still a burst, with an `L` of its own."""
    key = (counter.window_key, group, span.timespan_ms)
    series = subject.series.get(key)
    if series is None or series.expires_ms < append_ms:
        series = subject.open_series(counter, key)
    if time_ms <= series.window.last - span.timespan_ms:
        counters["lost_late"] += 1
        return
    series.slack -= series.window.add(time_ms, values)
    series.expires_ms = max(series.expires_ms, time_ms + counter.keep_ms)
    if series.slack <= 0:
        _evaluate(series, (span,), group, excesses, straggler=True, stale=stale)


def slack_of(window: Window, spans: Sequence[Span]) -> int:
    """Return how much must be added before any rule holds; at most 0 where one does."""
    last = window.last
    slack = LARGEST_AMOUNT
    for span in spans:
        missing = span.least - window.count_after(last - span.timespan_ms)
        if missing < slack:
            slack = missing
    return slack


def _evaluate(
    series: Series,
    spans: Sequence[Span],
    group: tuple[Value, ...],
    excesses: list[Excess],
    *,
    straggler: bool,
    stale: bool,
) -> None:
    """Evaluate all rules of a window; note those that hold and whose latch was open.

    Counts grow by what is added and shrink as `L` moves on, so until as much was added as the nearest
    threshold is away none can hold (`slack`): most events are not evaluated at all.
    """
    window, latches = series.window, series.latches
    last = window.last
    slack = LARGEST_AMOUNT
    for span in spans:
        timespan_ms = span.timespan_ms
        held = window.count_after(last - timespan_ms)
        for planned in span.rules:
            missing = planned.threshold - held
            if missing < slack:
                slack = missing
            if missing <= 0:
                shut = latches.get(planned.latch)
                if latches is NO_LATCHES:
                    latches = series.latches = {}
                latches[planned.latch] = last
                if (
                    shut is None
                    or last - shut > timespan_ms
                    or (not stale and series.stale and planned.latch in series.stale)
                ):
                    first = window.nth_latest(planned.threshold)
                    excesses.append(Excess(planned, group, straggler, last, first, stale))
                    if stale:
                        series.stale |= {planned.latch}
                    elif series.stale:
                        series.stale -= {planned.latch}
    series.slack = slack
