"""Sigma correlation rules, with our `response`, → the core's rules."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from sigma.correlations import (
    SigmaCorrelationCondition,
    SigmaCorrelationConditionOperator,
    SigmaCorrelationTimespan,
    SigmaCorrelationType,
)

from monitor.core.events import AXIS_PRINCIPAL, FIELDS
from monitor.core.rules import Action, AnyOf, Base, Mode, Rule, RuleKind, rule_revision
from monitor.rulebook.detections import UnsupportedError, unknown_field

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sigma.correlations import SigmaCorrelationRule

    from monitor.core.rules import Condition
    from monitor.errors import Fault
    from monitor.rulebook.documents import Document

    #: What each alias means in each base rule.
    Aliases = Mapping[str, Mapping[str, str]]

MAX_THRESHOLD: Final = 100_000
MAX_TIMESPAN_SECONDS: Final = 30 * 86_400
MIN_TTL_SECONDS: Final = 60
MAX_TTL_SECONDS: Final = 365 * 86_400
CORRELATION_KEYS: Final = ("type", "rules", "group-by", "timespan", "condition", "aliases")
RESPONSE_KEYS: Final = ("action", "mode", "ttl")
_WHY_NOT: Final = {
    "generate": "remove it: base rules never alert on their own",
}
_KINDS: Final[dict[SigmaCorrelationType, RuleKind]] = {
    SigmaCorrelationType.EVENT_COUNT: "event_count",
    SigmaCorrelationType.VALUE_COUNT: "value_count",
    SigmaCorrelationType.VALUE_SUM: "value_sum",
}
#: What can be added up: of anything else a threshold of 100,000 says little.
_SUMMED: Final = "records"
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_duration = re.compile(r"([0-9]{1,9})([smhd])\Z").match


def check_shape(document: Document) -> list[Fault]:
    """Return the faults of a correlation that pySigma passes over or stops at."""
    correlation = document.value["correlation"]
    if not isinstance(correlation, dict):
        return [document.fault(("correlation",), "expected a mapping")]
    faults = []
    for key in correlation:
        if key not in CORRELATION_KEYS:
            remedy = _WHY_NOT.get(key, f"keys are: {', '.join(CORRELATION_KEYS)}")
            faults.append(document.fault(("correlation", key), f"{key!r} is not supported", remedy))
    if not _is_aliases(correlation.get("aliases", {})):
        remedy = "aliases: {what: {patient_read: patient, object_read: object}}"
        faults.append(document.fault(("correlation", "aliases"), "expected names with a field each", remedy))
    return faults


def _is_aliases(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str)
        and isinstance(means, dict)
        and all(isinstance(part, str) for item in means.items() for part in item)
        for name, means in value.items()
    )


def readable_part(correlation: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a correlation that pySigma can be given: it trusts types."""
    return {
        key: value
        for key, value in correlation.items()
        if key in CORRELATION_KEYS
        and (key != "type" or isinstance(value, str))
        and (key != "aliases" or _is_aliases(value))
    }


def read_rule(
    document: Document,
    sigma: SigmaCorrelationRule,
    conditions: Mapping[str, Condition | None],
    unfiltered: Mapping[str, Condition | None],
    faults: list[Fault],
    *,
    sound: bool,
) -> Rule | None:
    """Return the rule of a correlation, or None with its faults added.

    `sound` is False where the document has other faults already. `conditions` holds each base rule's
    condition by its name and by its id, and `unfiltered` the same without allow-lists; None stands
    for a base rule that has faults of its own.
    """
    reading = _Reading(document, sigma, conditions, unfiltered)
    rule = reading.rule(sound=sound)
    faults += reading.faults
    return None if reading.faults else rule


class _Reading:
    """One correlation rule on its way to the core's form."""

    def __init__(
        self,
        document: Document,
        sigma: SigmaCorrelationRule,
        conditions: Mapping[str, Condition | None],
        unfiltered: Mapping[str, Condition | None],
    ) -> None:
        self.document = document
        self.sigma = sigma
        self.conditions = conditions
        self.unfiltered = unfiltered
        self.faults: list[Fault] = []

    def rule(self, *, sound: bool) -> Rule | None:
        """Note the faults of all parts, and return the rule where there are none."""
        kind = self.part(("correlation", "type"), self.kind)
        names = self.part(("correlation", "rules"), self.base_rules) or []
        aliases = self.part(("correlation", "aliases"), lambda: self.aliases(names)) or {}
        group_by = self.part(("correlation", "group-by"), lambda: self.group_by(names, aliases))
        timespan_ms = self.part(("correlation", "timespan"), self.timespan_ms)
        threshold = self.part(("correlation", "condition"), self.threshold)
        counted = self.part(("correlation", "condition", "field"), lambda: self.counted(kind, names, aliases))
        bases = self.bases(names, aliases, group_by or (), counted, self.conditions)
        if kind is not None and group_by and counted:
            self.part(("correlation", "condition", "field"), lambda: _check_counted(kind, bases))
        action, mode, ttl_ms = self.response(bases[0].group_by if bases else ())
        if not sound or self.faults or not bases or any(self.conditions.get(name) is None for name in names):
            return None
        sigma = self.sigma
        rule = Rule(
            id=str(sigma.id),
            title=sigma.title,
            kind=kind,
            timespan_ms=timespan_ms,
            threshold=threshold,
            level=sigma.level.name.lower() if sigma.level is not None else "medium",
            action=action,
            mode=mode,
            ttl_ms=ttl_ms,
            description=(sigma.description or "").strip(),
            falsepositives=tuple(str(entry) for entry in sigma.falsepositives),
            runbook=self.document.value.get("runbook", ""),
            **_counting(bases, group_by, counted),
        )
        plain = self.bases(names, aliases, group_by, counted, self.unfiltered)
        if plain != bases:
            rule = replace(rule, unfiltered_key=replace(rule, **_counting(plain, group_by, counted)).meaning)
        return replace(rule, revision=rule_revision(rule))

    def part(self, path: tuple[str | int, ...], read: Callable[[], Any]) -> Any:
        """Return what `read` does, or None with its fault noted."""
        try:
            return read()
        except UnsupportedError as error:
            self.faults.append(self.document.fault(path, error.problem, error.remedy))
            return None

    def kind(self) -> RuleKind | None:
        kind = self.sigma.type
        if not isinstance(kind, SigmaCorrelationType):
            return None  # pySigma has reported it
        if kind not in _KINDS:
            remedy = f"types are: {', '.join(_KINDS.values())}"
            raise UnsupportedError(f"the type {kind.name.lower()} is not supported", remedy)
        return _KINDS[kind]

    def base_rules(self) -> list[str]:
        """Return what the rule calls its base rules: an event counts where any of them matches."""
        names = [str(reference.reference) for reference in self.sigma.rules or ()]
        for name in names:
            if name not in self.conditions:
                known = ", ".join(sorted(key for key in self.conditions if "-" not in key))
                raise UnsupportedError(f"no base rule {name!r}", f"base rules are: {known or 'none'}")
        return list(dict.fromkeys(names))

    def aliases(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        """Return each alias with the field that it means in each base rule."""
        found = {}
        for alias in self.sigma.aliases:
            if alias.alias in FIELDS:
                raise UnsupportedError(f"{alias.alias!r} is a field", "call the alias something else")
            means = {str(reference.reference): field for reference, field in alias.mapping.items()}
            for name in names:
                if name not in means:
                    raise UnsupportedError(
                        f"{alias.alias} has no field for {name}", "say it for every base rule"
                    )
            for name, field in means.items():
                if name not in names:
                    raise UnsupportedError(f"{alias.alias} speaks of {name!r}, no base rule of this rule")
                if field not in FIELDS:
                    raise unknown_field(field)
            found[alias.alias] = means
        return found

    def group_by(self, names: Sequence[str], aliases: Aliases) -> tuple[str, ...]:
        fields = self.sigma.group_by
        if not isinstance(fields, list) or not fields:
            remedy = "write group-by: [principal]; the first field is whom the rule is about"
            raise UnsupportedError("a rule must say per what it counts", remedy)
        for name in fields:
            if name not in FIELDS and name not in aliases:
                raise unknown_field(name)
        for base in names or [""]:
            meant = _meant(fields, base, aliases)
            if len(set(meant)) != len(meant):
                raise UnsupportedError("a field stands there twice")
        first = {meant for base in names or [""] for meant in _meant(fields[:1], base, aliases)}
        if len(first) > 1:
            raise UnsupportedError(
                f"{fields[0]} means {' and '.join(sorted(first))}: whom a rule is about is one field",
                "use an alias for further fields, or for what is counted",
            )
        if FIELDS[next(iter(first))] is int:
            raise UnsupportedError(
                f"{fields[0]} is a number, so it cannot be the first field",
                "begin with whom the rule is about, such as principal or patient",
            )
        return tuple(fields)

    def bases(
        self,
        names: Sequence[str],
        aliases: Aliases,
        group_by: tuple[str, ...],
        counted: str | None,
        of: Mapping[str, Condition | None],
    ) -> list[Base]:
        """Return what each base rule means; those that mean the same are one."""
        by_meaning: dict[tuple[tuple[str, ...], str | None], list[Condition]] = {}
        for name in names:
            field = None if counted is None else _meant([counted], name, aliases)[0]
            conditions = by_meaning.setdefault((_meant(group_by, name, aliases), field), [])
            condition = of.get(name)
            if condition is not None and condition not in conditions:
                conditions.append(condition)
        return [
            Base(conditions[0] if len(conditions) == 1 else AnyOf(tuple(conditions)), fields, field)
            for (fields, field), conditions in by_meaning.items()
        ]

    def timespan_ms(self) -> int | None:
        timespan = self.sigma.timespan
        if not isinstance(timespan, SigmaCorrelationTimespan):
            return None
        if timespan.unit not in _SECONDS:
            raise UnsupportedError(f"the unit {timespan.unit!r} is not supported", "units are: s, m, h, d")
        if timespan.seconds > MAX_TIMESPAN_SECONDS:
            raise UnsupportedError("longer than 30 days", "from 1s to 30d")
        return timespan.seconds * 1000

    def threshold(self) -> int | None:
        condition = self.sigma.condition
        correlation = self.document.value["correlation"]
        if not isinstance(condition, SigmaCorrelationCondition) or not isinstance(
            correlation.get("condition"), dict
        ):
            return None
        operator, count = condition.op, condition.count
        match operator:
            case SigmaCorrelationConditionOperator.GTE | SigmaCorrelationConditionOperator.GT:
                pass
            case SigmaCorrelationConditionOperator.LT | SigmaCorrelationConditionOperator.LTE:
                problem = "an event can only show that a count is reached, never that it stays below"
                raise UnsupportedError(problem, "use gte or gt")
            case _:
                problem = "a count moves on with the next event, so a rule finds where it is reached"
                raise UnsupportedError(problem, "use gte or gt")
        written = correlation["condition"][operator.name.lower()]
        if not isinstance(count, int) or not isinstance(written, int) or isinstance(written, bool):
            raise UnsupportedError("the count must be a whole number")
        if condition.percentile is not None:
            raise UnsupportedError("percentile is not supported")
        threshold = count + (operator is SigmaCorrelationConditionOperator.GT)
        if not 1 <= threshold <= MAX_THRESHOLD:
            raise UnsupportedError(
                f"a threshold of {threshold}", f"gte takes 1 to {MAX_THRESHOLD}, and gt one less"
            )
        return threshold

    def counted(self, kind: RuleKind | None, names: Sequence[str], aliases: Aliases) -> str | None:
        condition = self.sigma.condition
        field = getattr(condition, "fieldref", None)
        if kind == "event_count" and field is not None:
            raise UnsupportedError("event_count counts events, not a field", "use value_count")
        if kind in (None, "event_count") or field is None:
            return None  # pySigma reports a value_count without a field
        if not isinstance(field, str):
            raise UnsupportedError("one field is counted", "write field: patient")
        if field not in FIELDS and field not in aliases:
            raise unknown_field(field)
        for name in names:
            if kind == "value_sum" and _meant([field], name, aliases) != (_SUMMED,):
                raise UnsupportedError(
                    f"value_sum adds up {_SUMMED}, whole numbers; of {field} it would say little",
                    f"write field: {_SUMMED}",
                )
        return field

    def response(self, group_by: tuple[str, ...]) -> tuple[Action, Mode, int | None]:
        """Return (action, mode, ttl in ms); without `response` a rule alerts."""
        response = self.document.value.get("response")
        if response is None and "response" not in self.document.value:
            return "alert", "enforce", None
        if not isinstance(response, dict):
            self.part(("response",), lambda: _refuse("expected a mapping", _RESPONSE_REMEDY))
            return "alert", "enforce", None
        for key in response:
            if key not in RESPONSE_KEYS:
                self.part(("response", key), lambda: _refuse("not a key of response", _RESPONSE_REMEDY))
        action = self.part(("response", "action"), lambda: _choice(response, "action", get_args(Action)))
        if action in ("suspend", "revoke") and group_by and group_by[0] != AXIS_PRINCIPAL:
            self.part(
                ("response", "action"),
                lambda: _refuse(
                    f"a rule about a {group_by[0]} cannot {action} a credential",
                    "group by principal first, or use action: alert",
                ),
            )
        mode = "enforce"
        if "mode" in response:
            mode = self.part(("response", "mode"), lambda: _choice(response, "mode", get_args(Mode)))
        ttl_ms = self.part(("response", "ttl"), lambda: _ttl_ms(response, action))
        return cast("Action", action or "alert"), cast("Mode", mode or "enforce"), ttl_ms


def _meant(names: Sequence[str], base: str, aliases: Aliases) -> tuple[str, ...]:
    """Return the fields that names mean in a base rule."""
    return tuple(aliases[name].get(base, name) if name in aliases else name for name in names)


def _check_counted(kind: RuleKind, bases: Sequence[Base]) -> None:
    for base in bases:
        if kind == "value_count" and base.counted in base.group_by:
            raise UnsupportedError(
                f"the rule groups by {base.counted}, so each group has one {base.counted}",
                "count another field",
            )


def _counting(bases: Sequence[Base], group_by: tuple[str, ...], counted: str | None) -> dict[str, Any]:
    """Return the parts of a rule that say what it counts."""
    first = bases[0]
    if len(bases) == 1:
        return {
            "condition": first.condition,
            "group_by": first.group_by,
            "counted": first.counted,
            "aliases": (),
        }
    return {
        "condition": AnyOf(tuple(base.condition for base in bases)),
        "group_by": (first.group_by[0], *group_by[1:]),
        "counted": counted,
        "aliases": tuple(bases),
    }


_RESPONSE_REMEDY: Final = "response: {action: alert|suspend|revoke, mode: enforce|shadow, ttl: 24h}"


def _refuse(problem: str, remedy: str = "") -> None:
    raise UnsupportedError(problem, remedy)


def _choice(response: dict[str, Any], key: str, choices: tuple[str, ...]) -> str:
    value = response.get(key)
    if not isinstance(value, str) or value not in choices:
        problem = "missing" if key not in response else "not one of its values"
        raise UnsupportedError(problem, f"{key} is one of: {', '.join(choices)}")
    return value


def _ttl_ms(response: dict[str, Any], action: str | None) -> int | None:
    if "ttl" not in response:
        return None
    if action == "revoke":
        raise UnsupportedError("a revocation ends only by a person", "remove ttl, or use suspend")
    if action == "alert":
        raise UnsupportedError("an alert cuts nobody off, so nothing ends", "remove ttl")
    found = _duration(response["ttl"]) if isinstance(response["ttl"], str) else None
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not MIN_TTL_SECONDS <= seconds <= MAX_TTL_SECONDS:
        raise UnsupportedError("not a time from 1m to 365d", "such as 30m, 24h or 7d")
    return seconds * 1000
