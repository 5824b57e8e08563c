"""Filters: allow-lists on base rules, each with somebody who answers for it and a day on which it ends."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sigma.exceptions import SigmaError

from monitor.core.rules import EVENT_TIME, AllOf, AllowList, AnyOf, Match
from monitor.rulebook.detections import UnsupportedError, condition_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sigma.filters import SigmaFilter

    from monitor.core.rules import Condition
    from monitor.errors import Fault
    from monitor.rulebook.documents import Document

#: The keys that are ours; Sigma itself has no end for a filter.
FILTER_KEYS: Final = ("owner", "expires")
_LONGEST_OWNER: Final = 200
_EXPIRES_REMEDY: Final = (
    "write a day such as 2027-03-31 (its end, UTC) or a time such as 2027-03-31T18:00:00Z"
)


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that was read; `rules` None is every base rule."""

    about: AllowList
    rules: frozenset[str] | None
    kept: Condition

    def on(self, names: Iterable[str], condition: Condition) -> Condition:
        """Return a base rule's condition with this filter; `names` is what the base rule is called by.

        From the filter's end on, by event time, it leaves out nobody.
        """
        if self.rules is not None and self.rules.isdisjoint(names):
            return condition
        ended = Match(EVENT_TIME, "gte", self.about.expires_ms)
        return AllOf((condition, AnyOf((self.kept, ended))))


def read_filter(
    document: Document, sigma: SigmaFilter, names: Mapping[str, Any], faults: list[Fault]
) -> Filter | None:
    """Return the filter of a document, or None with its faults added; `names` are those of base rules."""
    before = len(faults)
    owner = document.value.get("owner")
    if not isinstance(owner, str) or not 0 < len(owner.strip()) <= _LONGEST_OWNER:
        problem = "missing" if "owner" not in document.value else "expected a text"
        faults.append(
            document.fault(("owner",), problem, "write who answers for it: owner: Integration team")
        )
    expires_ms = _expires_ms(document, faults)
    rules = _named(document, sigma, names, faults)
    kept = _kept(document, sigma, faults)
    if len(faults) > before or kept is None or expires_ms is None:
        return None
    about = AllowList(str(sigma.id), sigma.title, str(owner).strip(), expires_ms)
    return Filter(about, rules, kept)


def _expires_ms(document: Document, faults: list[Fault]) -> int | None:
    value = document.value.get("expires")
    try:
        if isinstance(value, str):
            value = dt.datetime.fromisoformat(value)
        if isinstance(value, dt.datetime):
            if value.tzinfo is None:
                faults.append(document.fault(("expires",), "a time without a time zone", _EXPIRES_REMEDY))
                return None
            return int(value.timestamp() * 1000)
        if isinstance(value, dt.date):
            end = dt.datetime.combine(value + dt.timedelta(days=1), dt.time(), dt.UTC)
            return int(end.timestamp() * 1000)
    except (ValueError, OverflowError):
        pass
    problem = "missing: an allow-list without an end is a hole that stays"
    if "expires" in document.value:
        problem = "not a day and not a time"
    faults.append(document.fault(("expires",), problem, _EXPIRES_REMEDY))
    return None


def _named(
    document: Document, sigma: SigmaFilter, names: Mapping[str, Any], faults: list[Fault]
) -> frozenset[str] | None:
    """Return the base rules that a filter names, None for all."""
    rules = sigma.filter.rules
    if not isinstance(rules, list):
        return None
    for index, reference in enumerate(rules):
        if reference.reference not in names:
            problem = f"no base rule {reference.reference!r}; filters apply to base rules"
            faults.append(document.fault(("filter", "rules", index), problem))
    return frozenset(reference.reference for reference in rules)


def _kept(document: Document, sigma: SigmaFilter, faults: list[Fault]) -> Condition | None:
    """Return the condition of what is still counted."""
    path = ("filter", "condition")
    try:
        parts: Sequence[Condition] = [condition_of(part.parsed) for part in sigma.filter.parsed_condition]
    except UnsupportedError as error:
        faults.append(document.fault(path, error.problem, error.remedy))
    except SigmaError as error:
        faults.append(document.fault(path, str(error.args[0])))
    except Exception as error:  # noqa: BLE001 - pySigma trusts types; a rule file may hold anything
        faults.append(document.fault(path, f"cannot be read ({type(error).__name__})"))
    else:
        return parts[0]
    return None
