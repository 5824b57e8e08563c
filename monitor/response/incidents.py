"""What people do with incidents: who is on it, what it is, that it is nothing, that it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.response.answers import Answer, because, done, refused, unchanged
from monitor.response.lifecycle import of
from monitor.response.states import Decision, Step, changed
from monitor.wire import acts

if TYPE_CHECKING:
    from monitor.response.casebook import Casebook
    from monitor.wire.credentials import CredentialRecord


def on_incident(book: Casebook, act: acts.IncidentAct, now_ms: int) -> Answer:
    """Return what follows from an act on an incident, the latest of its credential or an earlier one."""
    record = book.incident(act.incident)
    if record is None:
        return refused(f"{act.incident} is not known here (any more); the ledger has what there was")
    match act:
        case acts.Acknowledge():
            if record.acknowledged_ms is not None:
                return unchanged(f"{record.acknowledged_by} is on it already", record)
            after = changed(record, acknowledged_ms=now_ms, acknowledged_by=act.by)
            return _noted(book, after, act, "acknowledged", "noted that you are on it")
        case acts.Qualify():
            if record.qualified == act.qualified:
                return unchanged(f"it was judged so by {record.qualified_by}", record)
            after = changed(record, qualified_ms=now_ms, qualified_by=act.by, qualified=act.qualified)
            return _noted(book, after, act, "qualified", f"noted: {act.qualified}")
        case acts.Close():
            return _close(book, record, act, now_ms)
        case acts.Dismiss():
            if record.state != "held" or not book.is_current(record):
                instead = "reinstate the credential instead" if record.refused else f"it is {record.state}"
                return refused(f"nothing is held: {instead}", record)
            return done("dismissed: nobody is refused for it", dismiss(record, act, now_ms))


def dismiss(record: CredentialRecord, act: acts.Act, now_ms: int) -> Step:
    """Return the step by which what is held is dropped; the events that led to it count no more."""
    after = changed(
        record,
        state="dismissed",
        held=None,
        fuse=None,
        since_ms=now_ms,
        ended_ms=now_ms,
        restart_ms=now_ms,
        reopen_ms=now_ms,
        by=act.by,
        reason=act.reason,
    )
    return Step([Decision("dismissed", {**of(after), **because(act)})], after, heard=True)


def _close(book: Casebook, record: CredentialRecord, act: acts.Close, now_ms: int) -> Answer:
    if record.state == "held":
        return refused("it is held: approve or dismiss it first", record)
    if record.verdict == act.verdict:
        return unchanged(f"{record.closed_by} has closed it with that verdict", record)
    after = changed(record, closed_ms=now_ms, closed_by=act.by, verdict=act.verdict)
    return _noted(book, after, act, "closed", f"closed: {act.verdict}")


def _noted(book: Casebook, after: CredentialRecord, act: acts.IncidentAct, kind: str, text: str) -> Answer:
    step = Step([Decision(kind, {**of(after), **because(act), **_judged(act)})])
    before = book.records.get(after.subject)
    if before is not None and before.incident == after.incident:
        step.record = after
    else:
        step.archived = after
    return done(text, step, after)


def _judged(act: acts.IncidentAct) -> dict[str, str]:
    match act:
        case acts.Close():
            return {"verdict": act.verdict}
        case acts.Qualify():
            return {"qualified": act.qualified}
        case _:
            return {}
