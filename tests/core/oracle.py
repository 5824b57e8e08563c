"""What the detector must find, by brute force: every event is kept, every count is made anew.

It shares no code with the product but the rules, the row layout and the interpreter of conditions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from monitor.core import events as e
from monitor.core.conditions import matches
from tests.core.samples import LATENESS_MS, MAX_AGE_MS, compile_pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.core.rules import Rule
    from tests.core.samples import Entry


@dataclass
class Pile:
    """All events that one window was given: time, what they add, and the id that is vouched for."""

    events: list[tuple[int, tuple[Any, ...], str | None]] = field(default_factory=list)
    shut_at: int | None = None
    #: Whether an event too old to act on has shut it.
    stale: bool = False
    latest: int | None = None

    def add(self, kind: str, time: int, values: tuple[Any, ...], event_id: str | None) -> None:
        """Take an event; where events or their amounts are counted, the same one again is no other."""
        self.latest = time if self.latest is None else max(self.latest, time)
        counted = [entry for entry in self.events if entry[1] or kind == "event_count"]
        if (
            kind == "value_count"
            or event_id is None
            or not any((at, of) == (time, event_id) for at, _, of in counted)
        ):
            self.events.append((time, values, event_id))

    def reached_at(self, rule: Rule) -> int | None:
        """Return the time from which on, back from the latest, the threshold is reached, if it is."""
        latest = self.latest
        assert latest is not None
        inside = [entry for entry in self.events if latest - rule.timespan_ms < entry[0] <= latest]
        if rule.kind == "event_count":
            adds = [(time, 1) for time, _, _ in inside]
        elif rule.kind == "value_sum":
            adds = [(time, amount) for time, values, _ in inside for amount in values]
        else:
            by_value: dict[str, int] = {}
            for time, values, _ in inside:
                for value in values:
                    by_value[value] = max(time, by_value.get(value, time))
            adds = [(time, 1) for time in by_value.values()]
        total = 0
        for time, amount in sorted(adds, reverse=True):
            total += amount
            if total >= rule.threshold:
                return time
        return None


def judge(  # noqa: C901, PLR0912, PLR0915 - brute force reads best in one piece
    rules: Sequence[Rule], log: Sequence[Entry]
) -> list[dict[str, Any]]:
    """Return what each finding must say, in order."""
    longest: dict[str, int] = {}  # of all rules that count the same thing, and of each axis
    for rule in rules:
        for name in (rule.window_key, rule.axis):
            longest[name] = max(longest.get(name, 0), rule.timespan_ms)
    main: dict[Any, Pile] = {}
    stragglers: dict[Any, Pile] = {}
    read: dict[str, dict[str, tuple[int, str | None]]] = {}
    status: dict[str, tuple[int, str]] = {}
    floor: dict[str, int] = {}
    reopened: dict[str, int] = {}
    found: list[dict[str, Any]] = []
    for entry in log:
        for row in entry.record.rows:  # type: ignore[union-attr]
            subject = row[e.SUBJECT]
            if row[e.KIND] == e.RowKind.STATUS:
                version, value = row[e.STATUS_VERSION], row[e.STATUS_VALUE]
                before = status.get(subject, (0, ""))
                if version < before[0]:
                    continue
                piles = [
                    p for k, p in [*main.items(), *stragglers.items()] if k[1:3] == ("principal", subject)
                ]
                reopens = version > before[0] and value == "active"
                if version > before[0]:
                    status[subject] = version, value
                restart, reopen = row[e.STATUS_RESTART], row[e.STATUS_REOPEN]
                if restart is not None:
                    floor[subject] = max(restart, floor.get(subject, restart))
                    for pile in piles:
                        pile.events = [entry for entry in pile.events if entry[0] > floor[subject]]
                if reopen is not None and reopen > reopened.get(subject, reopen - 1):
                    reopened[subject], reopens = reopen, True
                if reopens:
                    for pile in piles:
                        pile.shut_at, pile.stale = None, False
                continue
            time = min(row[e.TIME], entry.append_ms)
            oldest = entry.append_ms - LATENESS_MS
            if time < oldest - longest.get(row[e.AXIS], 0):
                continue
            refused = row[e.STATUS] in (401, 403, 429)
            if row[e.AXIS] == "principal" and refused and status.get(subject, (0, "active"))[1] != "active":
                continue
            since = floor.get(subject, time - 1) if row[e.AXIS] == "principal" else time - 1
            stale = entry.append_ms - time > MAX_AGE_MS
            patients = read.setdefault(subject, {})
            if row[e.AXIS] == "principal" and 200 <= row[e.STATUS] < 300:
                for patient, tenant in row[e.PATIENTS]:
                    before = patients.get(patient, (time, None))[0]
                    patients[patient] = max(time, before), tenant or row[e.TENANT]
            for rule in rules:
                if rule.axis != row[e.AXIS] or time < oldest - longest[rule.window_key] or time <= since:
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
                    pile.add(rule.kind, time, tuple(values), row[e.EVENT_ID])
                    first, last = pile.reached_at(rule), pile.latest
                    assert last is not None
                    if first is None:
                        continue
                    open_latch = pile.shut_at is None or last - pile.shut_at > rule.timespan_ms
                    pile.shut_at = last
                    if not open_latch and (stale or not pile.stale):
                        continue
                    pile.stale = stale
                    begin = last - rule.timespan_ms
                    if row[e.AXIS] == "principal":
                        begin = max(begin, floor.get(subject, begin))
                    inside = [t for at, t in patients.values() if at > begin]
                    principal = row[e.AXIS] == "principal"
                    found.append(
                        {
                            "rule": rule.id,
                            "subject": subject,
                            "group": group,
                            "straggler": straggler,
                            "source": (entry.record.source.partition, row[e.OFFSET]),  # type: ignore[union-attr]
                            "window": (begin, last, first),
                            "stale": stale,
                            "patients": len(inside) if principal else int(row[e.AXIS] == "patient"),
                            "tenants": len(set(inside) - {None}) if principal else 0,
                        }
                    )
    return found


def _groups(rule: Rule, row: Sequence[Any]) -> dict[tuple[str, ...], list[Any]]:
    """Return what an event adds by group, from all (patient, tenant) pairs that it names.

    Each base rule that it meets reads its own fields; what two of them read alike counts once.
    """
    pairs = [(patient, own or row[e.TENANT]) for patient, own in row[e.PATIENTS]]
    if not pairs or row[e.TENANT] not in [None, *(tenant for _, tenant in pairs)]:
        pairs.append((None, row[e.TENANT]))
    groups: dict[tuple[str, ...], list[Any]] = {}
    added: set[Any] = set()
    for base in rule.bases:
        if not matches(base.condition, row, compile_pattern):
            continue
        for patient, tenant in pairs:
            column = {
                "patient": patient,
                "tenant": tenant,
                "route": row[e.ROUTE],
                "principal": row[e.PRINCIPAL],
                "method": row[e.METHOD],
                "records": row[e.RECORDS],
            }
            group = tuple(column[name] for name in base.group_by[1:])
            if None in group:
                continue
            values = groups.setdefault(group, [])
            value = column[base.counted] if base.counted else None
            if value is None or (rule.kind == "value_sum" and (value <= 0 or (group, base.counted) in added)):
                continue
            added.add((group, base.counted))
            values.append(value)
    if rule.kind == "value_sum":
        return {group: [sum(values)] if values else [] for group, values in groups.items()}
    return groups
