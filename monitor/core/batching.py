"""Counts several events of a subject at once, where none of them can make a rule hold.

A rule holds only once as much was added as its threshold is away (`Series.slack`), so until then events
may wait, in order, and are counted together: column by column instead of event by event. What waits is
counted before anything could tell the difference: an event out of order, a status, a rule set, a snapshot,
an expiry. Whether and when events waited changes no result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.core.counting import patients_read, slack_of
from monitor.core.events import AXIS_PRINCIPAL, EVENT_ID, PATIENTS, RECORDS, TENANT, TIME
from monitor.core.incident import PatientHistory
from monitor.core.plan import FEW
from monitor.core.windows import SumWindow
from monitor.errors import InvariantError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from monitor.core.events import Row
    from monitor.core.findings import Place
    from monitor.core.plan import AxisPlan, Counter, Plan
    from monitor.core.subject import Subject


def waits(subject: Subject, row: Row, place: Place, plan: Plan) -> bool:
    """Leave an event to wait and return True, or False where it may not: a rule could hold with it."""
    time_ms, append_ms, patients = row[TIME], place.append_ms, row[PATIENTS]
    if (
        subject.epoch != plan.record.version
        or time_ms.__class__ is not int
        or row[EVENT_ID] is not None
        or not subject.latest_ms <= time_ms <= append_ms <= subject.expires_ms
    ):
        return False
    axis_plan = plan.axes[subject.axis]
    waiting = subject.waiting
    added = len(patients) or 1
    if added > 1 or (patients and axis_plan.counts_tenants and patients[0][1] != row[TENANT]):
        added += 1  # the event's own practice, beside those of its patients
    records = row[RECORDS] or 0
    if (
        added >= subject.credit
        or records >= subject.sum_credit
        or append_ms - time_ms > axis_plan.shortest_horizon_ms
        or time_ms < axis_plan.floor_ms
        or (waiting and append_ms > waiting[0][0] + axis_plan.shortest_keep_ms)
    ):
        return False
    mask = axis_plan.mask(row)
    if mask & axis_plan.touchy_mask:
        return False
    if waiting:
        waiting.append((time_ms, place, row, mask))
    else:
        subject.waiting = [(time_ms, place, row, mask)]
    subject.credit -= added
    if records > 0:
        subject.sum_credit -= records
    subject.latest_ms = time_ms
    return True


def settle(subject: Subject, plan: Plan) -> None:
    """Count the events that wait. Raises, with nothing counted, where one of them is malformed."""
    axis_plan = plan.axes[subject.axis]
    batches = [
        (counter, append_ms, axis_plan.batch_readers[counter.window_key](rows))
        for counter, append_ms, rows in _by_counter(subject, axis_plan)
    ]
    read = []
    if subject.axis == AXIS_PRINCIPAL:
        read = [(time_ms, pairs) for time_ms, _, row, _ in subject.waiting if (pairs := patients_read(row))]
    # Everything that may raise is done.
    subject.waiting = ()
    if read:
        if subject.history is None:
            subject.history = PatientHistory()
        subject.history.extend(read)
    for counter, append_ms, batch in batches:
        for group, (last_ms, entries) in batch.items():
            key = (counter.window_key, group, 0) if group else counter.main_key
            series = subject.series.get(key)
            if series is None or series.expires_ms < append_ms:
                series = subject.open_series(counter, key)
            series.slack -= series.window.extend(last_ms, entries)
            if series.slack <= 0:
                msg = "events waited although a rule could hold with them"
                raise InvariantError(msg)
            series.expires_ms = max(series.expires_ms, last_ms + counter.keep_ms)
    let_wait(subject, plan, axis_plan)


def _by_counter(
    subject: Subject, axis_plan: AxisPlan
) -> Iterable[tuple[Counter, int, list[tuple[int, Row]]]]:
    """Return for each counter the (time, row) pairs that move it, and the append time of the first."""
    found: dict[str, tuple[Counter, int, list[tuple[int, Row]]]] = {}
    lists_by_mask: dict[int, list[list[tuple[int, Row]]]] = {}
    for time_ms, place, row, mask in subject.waiting:
        lists = lists_by_mask.get(mask)
        if lists is None:
            lists = lists_by_mask[mask] = [
                found.setdefault(counter.window_key, (counter, place.append_ms, []))[2]
                for counter, _ in axis_plan.selected(mask)
            ]
        for rows in lists:
            rows.append((time_ms, row))
    return found.values()


def let_wait(subject: Subject, plan: Plan, axis_plan: AxisPlan) -> None:
    """Set how much may wait before a rule could hold; nothing where one does, or a finding is followed."""
    credit, sum_credit = axis_plan.least, axis_plan.least_sum
    incident = subject.incident
    # What follows a finding is told event by event.
    followed = incident is not None and (not incident.active or incident.follows(subject.latest_ms))
    if followed or subject.epoch != plan.record.version:
        subject.credit = 0
        return
    for (window_key, _, straggler_ms), series in subject.series.items():
        if straggler_ms or window_key in axis_plan.touchy:
            continue
        slack = series.slack
        if slack < FEW:
            # Windows empty as time goes on.
            slack = series.slack = slack_of(series.window, plan.counters[window_key].spans)
        if series.window.__class__ is SumWindow:
            if slack < sum_credit:
                sum_credit = slack
        elif slack < credit:
            credit = slack
    subject.credit, subject.sum_credit = (credit if credit > FEW else 0), sum_credit
