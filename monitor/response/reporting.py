"""What the enforcer's metrics and logs say of its decisions and its book."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from monitor.response.states import ENDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.observe.metrics import Metrics
    from monitor.response.casebook import Casebook
    from monitor.response.states import Decision

log = structlog.get_logger(__name__)

_OPEN: Final = ("held", "requested", "accepted", "enforced", "quiet", "failed")
_HELD: Final = ("fuse", "protected", "stale", "paused")
#: What a person must see at once, whatever the level of the log.
_LOUD: Final = frozenset(
    {"fuse_blown", "automation_paused", "allow_all", "failed", "adapter_disabled", "held"}
)


def report(decisions: Sequence[Decision], book: Casebook, metrics: Metrics) -> None:
    """Count and log decisions that have become durable."""
    for decision in decisions:
        details = decision.details
        metrics.decisions_total.labels(decision.kind).inc()
        if decision.kind == "leaked":
            metrics.leaks_total.inc()
        if decision.kind in {"enforced", "failed"} and details.get("incident"):
            metrics.incident_patients.observe(book.records[f"{details['realm']}/{details['id']}"].patients)
        elif decision.kind == "exposed" and details["page"]:
            metrics.held_pages_total.inc()
        if decision.kind == "enforced":
            record = book.records.get(f"{details['realm']}/{details['id']}")
            if record is not None and record.enforced_ms is not None:
                metrics.enforced_seconds.observe((record.enforced_ms - record.requested_ms) / 1000)
        tell = log.warning if decision.kind in _LOUD else log.info
        tell(
            decision.kind,
            incident=details.get("incident"),
            finding=details.get("finding"),
            reason=details.get("reason"),
            mode=details.get("mode", book.policy.mode),
        )


def refresh(book: Casebook, metrics: Metrics, now_ms: int) -> None:
    """Set the gauges that say how things stand."""
    open_, held = dict.fromkeys(_OPEN, 0), dict.fromkeys(_HELD, 0)
    oldest = oldest_held = 0.0
    exposed = 0
    for record in book.records.values():
        if record.state not in ENDS:
            open_[record.state] += 1
        if record.held is not None:
            held[record.held] += 1
            if record.held != "stale":
                oldest_held = max(oldest_held, (now_ms - record.since_ms) / 1000)
                exposed = max(exposed, record.patients)
        if record.accepted_ms is None and book.policy.delivers:
            oldest = max(oldest, (now_ms - record.requested_ms) / 1000)
    for state, count in open_.items():
        metrics.open_incidents.labels(state).set(count)
    metrics.list_incidents(
        (record.incident, record.rule.id, record.state)
        for record in book.records.values()
        if record.state not in ENDS
    )
    for reason, count in held.items():
        metrics.held.labels(reason).set(count)
    metrics.oldest_undelivered_seconds.set(oldest)
    metrics.oldest_held_seconds.set(oldest_held)
    metrics.held_patients.set(exposed)
    metrics.fuses_blown.set(len(book.fuse.blown))
    for name, glass in (("pause", book.glass.paused), ("allow_all", book.glass.allow_all)):
        on = glass is not None and glass.until_ms > now_ms
        metrics.break_glass_until_timestamp_seconds.labels(name).set(
            glass.until_ms / 1000 if glass is not None and on else 0
        )


def silence(metrics: Metrics) -> None:
    """Say nothing any more of how things stand: from now on somebody else knows.

    What a former enforcer last said would page for ever, since alerts take the worst of all processes.
    """
    metrics.enforcer_active.set(0)
    metrics.incident_info.clear()
    for gauge in (
        metrics.oldest_undelivered_seconds,
        metrics.oldest_held_seconds,
        metrics.held_patients,
        metrics.fuses_blown,
    ):
        gauge.set(0)
    for state in _OPEN:
        metrics.open_incidents.labels(state).set(0)
    for reason in _HELD:
        metrics.held.labels(reason).set(0)
    for glass in ("pause", "allow_all"):
        metrics.break_glass_until_timestamp_seconds.labels(glass).set(0)
    metrics.directory_readable.set(1)
    for labelled in (
        metrics.dead_letters,
        metrics.adapter_disabled,
        metrics.adapter_breaker_open,
        metrics.drill_last_successful,
    ):
        labelled.clear()
