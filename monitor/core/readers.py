"""What a row adds to a counter: per group, the numbers to count."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from monitor.core.conditions import field_values
from monitor.core.events import COLUMN, EVENT_ID, FIELDS, MULTI_VALUED, PATIENTS, PSEUDONYMS, TENANT
from monitor.core.values import numbering, pseudonym_number, text_number

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from monitor.core.events import Row
    from monitor.core.rules import Base, RuleKind

    Value = str | int
    #: What one event adds: per group (values of the further group fields) the numbers to count.
    Counted = Sequence[tuple[tuple[Value, ...], Sequence[int]]]
    Reader = Callable[[Row], Counted]
    #: The same of several events: per group the latest time, and (time, number) of all.
    Batch = dict[tuple[Value, ...], tuple[int, list[tuple[int, int]]]]
    BatchReader = Callable[[Sequence[tuple[int, Row]]], Batch]

_ONCE: Final[Counted] = (((), ()),)


def reader(kind: RuleKind, bases: Sequence[Base]) -> Reader:
    """Return what reads a row that met all of some base rules of one rule.

    It returns numbers as the window of the kind takes them: the event's id if it has one
    (`event_count`), different values (`value_count`), an amount and the event's id (`value_sum`). It
    raises where the row is malformed. Raises ValueError for an unknown field.
    """
    different = list(dict.fromkeys((base.group_by[1:], base.counted) for base in bases))
    unknown = {name for fields, counted in different for name in (*fields, counted or "status")} - set(FIELDS)
    if unknown:
        msg = f"unknown fields {sorted(unknown)}"
        raise ValueError(msg)
    if kind == "event_count":
        groups = list(dict.fromkeys(fields for fields, _ in different))
        if groups == [()]:
            return _once
        return lambda row: _events(row, groups)
    if kind == "value_sum":
        if different == [((), different[0][1])]:
            return _amount(COLUMN[different[0][1] or ""])
        return lambda row: _amounts(row, different)
    if len(different) == 1 and not different[0][0]:
        return _values(different[0][1] or "")
    return lambda row: _grouped_values(row, different)


class How(IntEnum):
    """How the native store reads a row by itself (src/plan.hpp); `PYTHON` calls what `reader` returns."""

    ONCE = 0
    PATIENTS = 1
    TENANTS = 2
    COLUMN = 3
    AMOUNT = 4
    PYTHON = 5


def reading(kind: RuleKind, bases: Sequence[Base]) -> tuple[int, int, bool]:
    """Return how a row is read that met some base rules: a `How`, its column, whether that holds pseudonyms."""
    different = list(dict.fromkeys((base.group_by[1:], base.counted) for base in bases))
    counted = different[0][1] or ""
    if any(fields for fields, _ in different) or (kind != "event_count" and len(different) > 1):
        return How.PYTHON, 0, False
    if kind == "event_count":
        return How.ONCE, 0, False
    if kind == "value_sum":
        return How.AMOUNT, COLUMN[counted], False
    if counted in MULTI_VALUED:
        return How.PATIENTS if counted == "patient" else How.TENANTS, 0, False
    return How.COLUMN, COLUMN[counted], counted in PSEUDONYMS


def batch_reader(kind: RuleKind, base: Base) -> BatchReader:
    """Return what reads several rows, in order of time, that met one base rule and have no ids.

    It returns per group the latest time and what to add as (time, number), number being 0 for an event.
    """
    counted = base.counted or ""
    if base.group_by[1:] or counted == "tenant":
        read = reader(kind, [base])
        return lambda rows: _grouped(kind, read, rows)
    if kind == "event_count":
        return lambda rows: {(): (rows[-1][0], [(time_ms, 0) for time_ms, _ in rows])}
    if kind == "value_sum":
        column = COLUMN[counted]
        return lambda rows: {
            (): (
                rows[-1][0],
                [(at, n) for at, row in rows if (n := row[column]).__class__ is int and n > 0],
            )
        }
    if counted == "patient":
        return lambda rows: {
            (): (
                rows[-1][0],
                [
                    (at, pseudonym_number(patient))
                    for at, row in rows
                    for patient, _ in row[PATIENTS] or ()
                    if patient.__class__ is str
                ],
            )
        }
    number, column = numbering(counted), COLUMN[counted]
    return lambda rows: {
        (): (rows[-1][0], [(at, n) for at, row in rows if (n := number(row[column])) is not None])
    }


def _grouped(kind: RuleKind, read: Reader, rows: Sequence[tuple[int, Row]]) -> Batch:
    groups: dict[tuple[Value, ...], tuple[int, list[tuple[int, int]]]] = {}
    for at, row in rows:
        for group, values in read(row):
            entries = groups[group][1] if group in groups else []
            groups[group] = at, entries
            if kind == "event_count":
                entries.append((at, 0))
            else:
                entries.extend((at, value) for value in values)
    return groups


def _once(row: Row) -> Counted:
    event_id = row[EVENT_ID]
    return _ONCE if event_id is None else (((), (text_number(event_id),)),)


def _values(counted: str) -> Reader:
    """Return what reads the values of one field, without groups."""
    if counted == "patient":
        return lambda row: (
            ((), [pseudonym_number(p) for p, _ in row[PATIENTS] or () if p.__class__ is str]),
        )
    number = numbering(counted)
    if counted in MULTI_VALUED:
        return lambda row: (((), _present(map(number, dict.fromkeys(field_values(counted, row))))),)
    column = COLUMN[counted]
    return lambda row: (((), _present((number(row[column]),))),)


def _amount(column: int) -> Reader:
    """Return what reads one amount, without groups."""

    def read(row: Row) -> Counted:
        amount, event_id = row[column], row[EVENT_ID]
        if amount.__class__ is not int or amount <= 0:
            return _ONCE
        return (((), (amount,) if event_id is None else (amount, text_number(event_id))),)

    return read


def _present(numbers: Any) -> list[int]:
    return [number for number in numbers if number is not None]


def _events(row: Row, groups: Sequence[tuple[str, ...]]) -> Counted:
    ((_, once),) = _once(row)
    return [
        (group, once) for group in dict.fromkeys(g for fields in groups for g, _ in _facets_by(row, fields))
    ]


def _amounts(row: Row, different: Sequence[tuple[tuple[str, ...], str | None]]) -> Counted:
    """Return the amounts of an event, each field of it once per group; nothing is no amount."""
    ((_, once),) = _once(row)
    sums: dict[tuple[Value, ...], int] = {}
    for fields, counted in different:
        amount = row[COLUMN[counted or ""]]
        for group in dict.fromkeys(group for group, _ in _facets_by(row, fields)):
            sums[group] = sums.get(group, 0) + (amount if amount.__class__ is int and amount > 0 else 0)
    return [(group, (amount, *once) if amount else ()) for group, amount in sums.items()]


def _grouped_values(row: Row, different: Sequence[tuple[tuple[str, ...], str | None]]) -> Counted:
    groups: dict[tuple[Value, ...], list[int]] = {}
    for fields, counted in different:
        number = numbering(counted or "")
        for group, facet in _facets_by(row, fields):
            numbers = groups.setdefault(group, [])
            value = number(facet[counted] if counted in facet else row[COLUMN[counted or ""]])
            if value is not None:
                numbers.append(value)
    return tuple(groups.items())


def _facets_by(row: Row, fields: Sequence[str]) -> list[tuple[tuple[Value, ...], dict[str, Any]]]:
    """Return each (patient, tenant) pair of a row with the group that it belongs to, if it has one.

    A patient belongs to its own tenant, so the two vary together: patients of one tenant are not
    counted for another that the same event names.
    """
    found = []
    for patient, tenant in _facets(row):
        own = {"patient": patient, "tenant": tenant}
        group = tuple(own[name] if name in own else row[COLUMN[name]] for name in fields)
        if all(_countable(value) for value in group):
            found.append((group, own))
    return found


def _facets(row: Row) -> list[tuple[Any, Any]]:
    """Return the (patient, tenant) pairs of a row; its own tenant stands where a pair has none."""
    tenant = row[TENANT]
    pairs = [(patient, tenant if own is None else own) for patient, own in row[PATIENTS] or ()]
    if not pairs or (tenant is not None and all(own != tenant for _, own in pairs)):
        pairs.append((None, tenant))
    return pairs


def _countable(value: Any) -> bool:
    return value.__class__ is str or value.__class__ is int
