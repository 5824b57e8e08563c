"""Sigma detections → the core's conditions."""

from __future__ import annotations

import difflib
import ipaddress
import re
from typing import TYPE_CHECKING, Any, Final, cast

import re2
from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
)
from sigma.exceptions import SigmaError
from sigma.policy import SigmaPolicy
from sigma.policy.regex_engine import RegexEngine
from sigma.rule import SigmaDetectionItem
from sigma.types import (
    CompareOperators,
    SigmaBool,
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaString,
    SpecialChars,
)

from monitor.core.events import FIELDS
from monitor.core.rules import AllOf, AnyOf, Condition, Match, Negation, Operator
from monitor.rulebook.patterns import compile_pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.rulebook.documents import Document

MODIFIERS: Final = (
    "all",
    "cased",
    "cidr",
    "contains",
    "endswith",
    "exists",
    "gt",
    "gte",
    "i",
    "ignorecase",
    "lt",
    "lte",
    "m",
    "multiline",
    "neq",
    "re",
    "s",
    "dotall",
    "startswith",
)
#: Behind intake these are pseudonyms: a rule may count them, group by them, ask whether they are
#: there, but a text from outside would never equal them.
_PSEUDONYMS: Final = frozenset({"patient", "object"})
_ADDRESS: Final = "client_ip"
_KEPT_IPV6_BITS: Final = 64
_MAX_PATTERN: Final = 1000
_COMPARISONS: Final[dict[CompareOperators, Operator]] = {
    CompareOperators.GT: "gt",
    CompareOperators.GTE: "gte",
    CompareOperators.LT: "lt",
    CompareOperators.LTE: "lte",
}


class _QuietEngine(RegexEngine):
    """RE2 as pySigma uses it, without RE2's own lines on stderr.

    pySigma copies what it is given where it applies filters, so nothing is kept in here.
    """

    @property
    def error(self) -> type[Exception]:
        """The exception of a pattern that RE2 cannot read."""
        return cast("type[Exception]", re2.error)

    def compile(self, pattern: str, flags: int = 0) -> Any:
        """Compile a pattern; `flags` are those of Python's `re`."""
        letters = "".join(
            letter
            for letter, flag in (("i", re.IGNORECASE), ("m", re.MULTILINE), ("s", re.DOTALL))
            if flags & flag
        )
        options = re2.Options()
        options.log_errors = False
        return re2.compile(f"(?{letters}){pattern}" if letters else pattern, options)


#: What pySigma is given wherever it may meet a pattern.
POLICY: Final = SigmaPolicy(regex_engine=_QuietEngine())


class UnsupportedError(Exception):
    """Something that Sigma can say and this monitor cannot do; (problem, remedy)."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(problem)


def unknown_field(name: str) -> UnsupportedError:
    """Return the fault of a field that no event has."""
    close = difflib.get_close_matches(name, FIELDS, 1)
    hint = f"do you mean {close[0]}? " if close else ""
    return UnsupportedError(f"no field {name!r}", f"{hint}fields are: {', '.join(FIELDS)}")


def check_detection(document: Document, path: tuple[str | int, ...], definition: Any) -> list[Any]:
    """Return the faults of one named detection, item by item.

    pySigma stops at a detection's first fault; here each item is read on its own.
    """
    if isinstance(definition, list):
        if not definition:
            return [document.fault(path, "an empty list matches nothing")]
        return [
            fault
            for index, entry in enumerate(definition)
            for fault in check_detection(document, (*path, index), entry)
        ]
    if not isinstance(definition, dict):
        problem = "a keyword without a field would search texts that intake does not keep"
        return [document.fault(path, problem, "name a field, such as route|contains: …")]
    faults = []
    for key, value in definition.items():
        try:
            _check_item(str(key), value)
        except UnsupportedError as error:
            faults.append(document.fault((*path, str(key)), error.problem, error.remedy))
        except SigmaError as error:
            faults.append(document.fault((*path, str(key)), error.args[0]))
    if not definition:
        faults.append(document.fault(path, "an empty selection matches everything"))
    return faults


def condition_of(node: Any) -> Condition:
    """Return the condition of a pySigma condition tree.

    Raises UnsupportedError where a part of it cannot be done.
    """
    match node:
        case ConditionAND():
            return AllOf(tuple(condition_of(part) for part in node.args))
        case ConditionOR():
            return AnyOf(tuple(condition_of(part) for part in node.args))
        case ConditionNOT():
            return Negation(condition_of(node.args[0]))
        case ConditionFieldEqualsValueExpression():
            return _match(node.field, node.value)
        case _:
            raise UnsupportedError("a condition without a field")


def _check_item(key: str, value: Any) -> None:
    name, *modifiers = key.split("|")
    if name not in FIELDS:
        raise unknown_field(name)
    for modifier in modifiers:
        if modifier not in MODIFIERS:
            remedy = f"modifiers are: {', '.join(MODIFIERS)}"
            raise UnsupportedError(f"the modifier {modifier!r} is not supported", remedy)
    values = value if isinstance(value, list) else [value]
    if not values:
        raise UnsupportedError("an empty list matches nothing", "remove the item or give a value")
    if any(isinstance(entry, list | dict) for entry in values):
        raise UnsupportedError("a value must be a text, a number, true, false or null")
    if "re" in modifiers and not all(isinstance(entry, str) for entry in values):
        raise UnsupportedError("a pattern must be a text", "put it in quotes")
    if "re" in modifiers:
        for entry in values:
            _compile(entry)
    for entry in SigmaDetectionItem.from_mapping(key, value, policy=POLICY).value:
        _match(name, entry)


def _match(name: str, value: Any) -> Condition:
    match value:
        case SigmaExists():
            return Match(name, "exists", value.exists)
        case SigmaNull():
            return Match(name, "exists", value=False)
    if name in _PSEUDONYMS:
        raise UnsupportedError(
            f"{name} is a pseudonym behind intake, so no value written here can equal it",
            f"count it, group by it, or use {name}|exists: true",
        )
    if name == _ADDRESS:
        return _address(value)
    if FIELDS[name] is int:
        return _number(name, value)
    match value:
        case SigmaString():
            return _text(name, value)
        case SigmaRegularExpression():
            return _pattern(name, value)
        case SigmaCIDRExpression():
            raise UnsupportedError(f"{name} is no address", f"cidr works on {_ADDRESS}")
        case SigmaNumber() | SigmaBool() | SigmaCompareExpression():
            raise UnsupportedError(f"{name} is a text, not a number", "put the value in quotes")
        case _:
            raise UnsupportedError(f"a value of type {type(value).__name__} is not supported")


def _number(name: str, value: Any) -> Match:
    operator: Operator = "eq"
    if isinstance(value, SigmaCompareExpression):
        operator, value = _COMPARISONS[value.op], value.number
    if not isinstance(value, SigmaNumber):
        remedy = f"write {name}: 200, or {name}|gte: 200 together with {name}|lt: 300"
        raise UnsupportedError(f"{name} is a number", remedy)
    if not isinstance(value.number, int):
        raise UnsupportedError(f"{name} is a whole number")
    return Match(name, operator, value.number)


def _address(value: Any) -> Match:
    if isinstance(value, SigmaString) and not value.contains_special():
        try:
            network = ipaddress.ip_network(value.to_plain())
        except ValueError:
            network = None
    else:
        network = value.network if isinstance(value, SigmaCIDRExpression) else None
    if network is None:
        remedy = f"write {_ADDRESS}|cidr: 192.0.2.0/24, or {_ADDRESS}: 192.0.2.7"
        raise UnsupportedError(f"{_ADDRESS} compares with addresses and networks only", remedy)
    if network.version == 6 and network.prefixlen > _KEPT_IPV6_BITS:  # noqa: PLR2004 - IPv6
        problem = f"of an IPv6 address only the first {_KEPT_IPV6_BITS} bits are kept"
        raise UnsupportedError(problem, f"write a network of /{_KEPT_IPV6_BITS} or shorter")
    return Match(_ADDRESS, "cidr", str(network))


def _text(name: str, value: SigmaString) -> Match:
    cased = isinstance(value, SigmaCasedString)
    star = SpecialChars.WILDCARD_MULTI
    parts = list(value.s)
    match parts:
        case []:
            return Match(name, "eq", "", cased)
        case [str(text)]:
            return Match(name, "eq", text, cased)
        case [str(text), special] if special is star:
            return Match(name, "startswith", text, cased)
        case [special, str(text)] if special is star:
            return Match(name, "endswith", text, cased)
        case [first, str(text), last] if first is star and last is star:
            return Match(name, "contains", text, cased)
        case _ if all(part is star for part in parts):
            return Match(name, "exists", value=True)
        case _:
            return Match(name, "re", _wildcard_pattern(parts, cased=cased), cased=True)


def _wildcard_pattern(parts: Sequence[Any], *, cased: bool) -> str:
    """Return the pattern of a text with wildcards in its middle, anchored on both sides."""
    wildcards = {SpecialChars.WILDCARD_MULTI: ".*", SpecialChars.WILDCARD_SINGLE: "."}
    body = "".join(
        "".join(_escaped(letter) for letter in part) if isinstance(part, str) else wildcards[part]
        for part in parts
    )
    return f"(?{'s' if cased else 'is'})\\A{body}\\z"


def _escaped(letter: str) -> str:
    return letter if letter.isalnum() or letter in "_/ -" else f"\\x{{{ord(letter):x}}}"


def _pattern(name: str, value: SigmaRegularExpression) -> Match:
    flags = "".join(sorted(value.sigma_to_re_flag[flag] for flag in value.flags))
    text = (f"(?{flags})" if flags else "") + str(value.regexp)
    _compile(text)
    return Match(name, "re", text, cased=True)


def _compile(text: str) -> None:
    if len(text) > _MAX_PATTERN:
        raise UnsupportedError(f"a pattern of more than {_MAX_PATTERN} characters")
    try:
        compile_pattern(text)
    except ValueError as error:
        raise UnsupportedError(str(error), "RE2 has no look-around and no back-references") from None
