"""What the detector must find, by brute force: every event is kept, every count is made anew.

It shares no code with the product but the rules, the row layout and the interpreter of conditions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from monitor.core import events as e
from monitor.core.conditions import matches
from tests.core.samples import LATENESS_MS, compile_pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.core.rules import Rule
    from tests.core.samples import Entry


@dataclass
class Pile:
    """All events that one window was given."""

    events: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)
    shut_at: int | None = None

    @property
    def latest(self) -> int | None:
        return max((time for time, _ in self.events), default=None)

    def times(self, rule: Rule) -> list[int]:
        """Return the times that count, oldest first: of each event, or of each value its latest."""
        latest = self.latest
        assert latest is not None
        inside = [
            (time, values) for time, values in self.events if latest - rule.timespan_ms < time <= latest
        ]
        if rule.counted is None:
            return sorted(time for time, _ in inside)
        by_value: dict[str, int] = {}
        for time, values in inside:
            for value in values:
                by_value[value] = max(time, by_value.get(value, time))
        return sorted(by_value.values())


def judge(  # noqa: C901, PLR0912 - brute force reads best in one piece
    rules: Sequence[Rule], log: Sequence[Entry]
) -> list[dict[str, Any]]:
    """Return what each finding must say, in order."""
    longest = max(rule.timespan_ms for rule in rules)
    main: dict[Any, Pile] = {}
    stragglers: dict[Any, Pile] = {}
    read: dict[str, dict[str, tuple[int, str | None]]] = {}
    status: dict[str, tuple[int, str]] = {}
    found: list[dict[str, Any]] = []
    for entry in log:
        for row in entry.record.rows:  # type: ignore[union-attr]
            subject = row[e.SUBJECT]
            if row[e.KIND] == e.RowKind.STATUS:
                if row[e.STATUS_VERSION] > status.get(subject, (0, ""))[0]:
                    status[subject] = row[e.STATUS_VERSION], row[e.STATUS_VALUE]
                    if row[e.STATUS_VALUE] == "active":
                        for key, pile in [*main.items(), *stragglers.items()]:
                            if key[1:3] == ("principal", subject):
                                pile.shut_at = None
                continue
            time = min(row[e.TIME], entry.append_ms)
            if time < entry.append_ms - longest - LATENESS_MS:
                continue
            refused = row[e.STATUS] in (401, 403, 429)
            if row[e.AXIS] == "principal" and refused and status.get(subject, (0, "active"))[1] != "active":
                continue
            patients = read.setdefault(subject, {})
            if row[e.AXIS] == "principal" and 200 <= row[e.STATUS] < 300:
                for patient, tenant in row[e.PATIENTS]:
                    before = patients.get(patient, (time, None))[0]
                    patients[patient] = max(time, before), tenant or row[e.TENANT]
            for rule in rules:
                if rule.axis != row[e.AXIS] or not matches(rule.condition, row, compile_pattern):
                    continue
                for group, values in _groups(rule, row).items():
                    key = rule.id, row[e.AXIS], subject, group
                    pile, straggler = main.setdefault(key, Pile()), False
                    latest = pile.latest
                    if latest is not None and time <= latest - rule.timespan_ms:
                        pile, straggler = stragglers.setdefault(key, Pile()), True
                        latest = pile.latest
                        if latest is not None and time <= latest - rule.timespan_ms:
                            continue
                    pile.events.append((time, tuple(values)))
                    times, last = pile.times(rule), pile.latest
                    assert last is not None
                    if len(times) < rule.threshold:
                        continue
                    open_latch = pile.shut_at is None or last - pile.shut_at > rule.timespan_ms
                    pile.shut_at = last
                    if not open_latch:
                        continue
                    inside = [t for at, t in patients.values() if at > last - rule.timespan_ms]
                    principal = row[e.AXIS] == "principal"
                    found.append(
                        {
                            "rule": rule.id,
                            "subject": subject,
                            "group": group,
                            "straggler": straggler,
                            "source": (entry.record.source.partition, row[e.OFFSET]),  # type: ignore[union-attr]
                            "window": (last - rule.timespan_ms, last, times[-rule.threshold]),
                            "patients": len(inside) if principal else int(row[e.AXIS] == "patient"),
                            "tenants": len(set(inside) - {None}) if principal else 0,
                        }
                    )
    return found


def _groups(rule: Rule, row: Sequence[Any]) -> dict[tuple[str, ...], list[str]]:
    """Return the values to count by group, from all (patient, tenant) pairs that the event names."""
    pairs = [(patient, own or row[e.TENANT]) for patient, own in row[e.PATIENTS]]
    if not pairs or row[e.TENANT] not in [None, *(tenant for _, tenant in pairs)]:
        pairs.append((None, row[e.TENANT]))
    further = rule.group_by[1:]
    groups: dict[tuple[str, ...], list[str]] = {}
    for patient, tenant in pairs:
        column = {"patient": patient, "tenant": tenant, "route": row[e.ROUTE], "principal": row[e.PRINCIPAL]}
        group = tuple(column[name] for name in further)
        if None in group:
            continue
        values = groups.setdefault(group, [])
        value = column[rule.counted] if rule.counted else None
        if value is not None:
            values.append(value)
    return groups
