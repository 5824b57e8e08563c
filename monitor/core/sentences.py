"""Plain sentences for people. None of them ever holds a patient, an address or a record's id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from monitor.core.events import AXIS_PATIENT, AXIS_PRINCIPAL, split_credential

if TYPE_CHECKING:
    from monitor.core.rules import Rule

#: How one and several values of a field are called; a field that is missing here is called by its name.
_NOUNS: Final = {
    "patient": ("patient", "patients"),
    "principal": ("credential", "credentials"),
    "tenant": ("practice", "practices"),
    "client_ip": ("network address", "network addresses"),
    "principal_kind": ("kind of credential", "kinds of credentials"),
    "principal_class": ("class of credential", "classes of credentials"),
    "object": ("record", "records"),
    "category": ("data category", "data categories"),
    "method": ("HTTP method", "HTTP methods"),
    "status": ("HTTP status", "HTTP statuses"),
}
_UNITS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))


def summary(rule: Rule, subject: str, value: int, elapsed_ms: int, tenants: int, *, more: bool) -> str:
    """Return what happened in one sentence.

    `value` was counted within `elapsed_ms`; `tenants` is how many tenants the patients read belong to,
    0 where that is not known, and a lower bound where there were `more` patients than are remembered.
    """
    limit = f"limit is {rule.threshold} in {duration(rule.timespan_ms)}"
    took = f"in {duration(elapsed_ms)}"
    within = f" (within one {_joined(rule.group_by[1:])})" if len(rule.group_by) > 1 else ""
    if rule.axis == AXIS_PRINCIPAL:
        _, name = split_credential(subject)
        return f"{name} {_did(rule, value, tenants, more=more)} {took}{within}; its {limit}"
    if rule.axis == AXIS_PATIENT:
        return f"One patient's records were read {_by(rule, value)} {took}{within}; the {limit}"
    return f"One {_noun(rule.axis, 1)} had {_requests(rule, value)} {took}{within}; the {limit}"


def duration(span_ms: int) -> str:
    """Return a length of time, down to seconds, in its two largest units: ``4 min 12 s``."""
    parts = []
    rest = span_ms
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "less than 1 s"


def _did(rule: Rule, value: int, tenants: int, *, more: bool) -> str:
    if rule.counted is None:
        return f"made {value} {_plural(value, 'request', 'requests')}"
    if rule.kind == "value_sum":
        return f"received at least {_summed(value)}"
    what = f"{value} different {_noun(rule.counted, value)}"
    if rule.counted == "patient":
        at_least = "at least " if more else ""
        practices = f" of {at_least}{tenants} {_noun('tenant', tenants)}" if tenants else ""
        return f"read {what}{practices}"
    if rule.counted == "object":
        return f"read {what}"
    return f"made requests with {what}"


def _by(rule: Rule, value: int) -> str:
    if rule.counted is None:
        return f"{value} {_plural(value, 'time', 'times')}"
    if rule.kind == "value_sum":
        return f"in answers of at least {_summed(value)}"
    if rule.counted == "principal":
        return f"by {value} different {_noun('principal', value)}"
    return f"with {value} different {_noun(rule.counted, value)}"


def _requests(rule: Rule, value: int) -> str:
    if rule.counted is None:
        return f"{value} {_plural(value, 'request', 'requests')}"
    if rule.kind == "value_sum":
        return f"answers of at least {_summed(value)}"
    return f"requests with {value} different {_noun(rule.counted, value)}"


def _summed(value: int) -> str:
    return f"{value} {_plural(value, 'record', 'records')}"


def _joined(fields: tuple[str, ...]) -> str:
    return " and one ".join(_noun(name, 1) for name in fields)


def _noun(field: str, count: int) -> str:
    one, several = _NOUNS.get(field, (field, f"{field}s"))
    return _plural(count, one, several)


def _plural(count: int, one: str, several: str) -> str:
    return one if count == 1 else several
