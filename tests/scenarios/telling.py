"""Words in which the stories are told. Times are seconds after `BEGIN`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

BEGIN = datetime(2026, 3, 2, 7, 0, tzinfo=UTC)  # a Monday
MINUTE, HOUR, DAY = 60, 3_600, 86_400

Line = dict[str, Any]
Document = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Story:
    """A folder to be: what it shows, its rules, what happens, and what must be found."""

    name: str
    why: str
    rules: list[Document]
    lines: list[Line]
    expected: list[Line] = field(default_factory=list)
    #: Rule sets that are published on the way, by file name.
    later_rules: dict[str, list[Document]] = field(default_factory=dict)


def at(seconds: float) -> str:
    """Return a moment as RFC 3339 with milliseconds."""
    moment = BEGIN + timedelta(milliseconds=round(seconds * 1000))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# Rules

SOURCE = {"product": "access-monitor", "category": "api_access"}
SUCCESS = {"status|gte": 200, "status|lt": 300}


def base(title: str, name: str, condition: str = "one", **selections: Any) -> Document:
    """Return a base rule."""
    return title, {
        "name": name,
        "logsource": SOURCE,
        "detection": {**selections, "condition": condition},
    }


def many(
    title: str,
    least: int,
    timespan: str,
    *,
    of: str | None = "patient",
    kind: str = "value_count",
    per: tuple[str, ...] = ("principal",),
    rules: tuple[str, ...] = ("read",),
    **more: Any,
) -> Document:
    """Return a correlation: `least` of a field, or events where `of` is None."""
    condition: dict[str, Any] = {"gte": least} if of is None else {"field": of, "gte": least}
    return title, {
        "correlation": {
            "type": "event_count" if of is None else kind,
            "rules": list(rules),
            "group-by": list(per),
            "timespan": timespan,
            "condition": condition,
            **more,
        },
        "level": "high",
    }


READ = base("A patient is read", "read", one=SUCCESS)
ANY = base("Any request", "any", "any", any={"status|gte": 0})


# What happens


def request(seconds: float, principal: str | None = "partner-1", status: int = 200, **more: Any) -> Line:
    """Return one request as its gateway writes it."""
    event: Line = {"time": at(seconds), "status": status}
    if principal is not None:
        event |= {"principal": principal, "authenticated": True}
    return event | more


def read(seconds: float, patient: int | str, principal: str = "partner-1", **more: Any) -> Line:
    """Return a successful read of one patient."""
    return request(seconds, principal, patient=f"p{patient}" if isinstance(patient, int) else patient, **more)


def reads(
    count: int, start: float, step: float, principal: str = "partner-1", first: int = 0, **more: Any
) -> list[Line]:
    """Return reads of `count` different patients, one every `step` seconds."""
    return [read(start + step * number, first + number, principal, **more) for number in range(count)]


def delivered(seconds: float, event: Line) -> Line:
    """Return an event that Kafka gets at another time than its own."""
    return {"event": event, "delivered": at(seconds)}


def becomes(seconds: float, status: str, principal: str = "partner-1") -> Line:
    """Return what the enforcer says of a credential."""
    return {"time": at(seconds), "status": {"credential": f"r/{principal}", "becomes": status}}


def published(seconds: float, name: str) -> Line:
    """Return that a rule set takes effect."""
    return {"time": at(seconds), "rules": name}


# What is found


def found(rule: str, seconds: float, value: int, patients: int, **more: Any) -> Line:
    """Return a finding; `patients` are those read since the window's begin, `seconds` the window's end."""
    return {
        "rule": rule,
        "subject": "r/partner-1",
        "time": at(seconds),
        "value": value,
        "threshold": value,
        "straggler": False,
        "warming": False,
        "patients": patients,
        "tenants": 0,
    } | more
