"""Conditions on a row: compiled once to Python, and a slow interpreter that says what they mean.

Both never raise for a value of an unexpected type: it does not match. Patterns are compiled by the
caller (`compile_pattern`), because the engine that runs them is no part of the core; a match anywhere
in the text counts, and a pattern that is not `cased` gets the flag ``(?i)`` in front.
"""

from __future__ import annotations

import ipaddress
import operator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from monitor.core.events import COLUMN, MULTI_VALUED, PATIENTS, TENANT, TIME
from monitor.core.rules import EVENT_TIME, AllOf, AnyOf, Match, Negation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from monitor.core.events import Row
    from monitor.core.rules import Condition

    CompilePattern = Callable[[str], Callable[[str], bool]]
    Test = Callable[[Any], bool]
    Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: How each operator on texts and numbers reads in Python: {0} is the value, {1} what it is compared to.
_TEXT_FORMS: Final = {
    "eq": "{0} == {1}",
    "contains": "{1} in {0}",
    "startswith": "{0}.startswith({1})",
    "endswith": "{0}.endswith({1})",
}
_NUMBER_FORMS: Final = {
    "eq": "{0} == {1}",
    "gt": "{0} > {1}",
    "gte": "{0} >= {1}",
    "lt": "{0} < {1}",
    "lte": "{0} <= {1}",
}
#: The same for the interpreter, written another way.
_TEXTS: Final[dict[str, Callable[[str, str], bool]]] = {
    "eq": operator.eq,
    "contains": operator.contains,
    "startswith": str.startswith,
    "endswith": str.endswith,
}
NUMBERS: Final[dict[str, Callable[[int, int], bool]]] = {
    "eq": operator.eq,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
#: Where the first value of a field stands that may have several: mostly there is one, and it exists.
_FIRST_VALUE: Final = {
    "patient": (PATIENTS, f"(c{PATIENTS}[0][0] if c{PATIENTS} else None)"),
    "tenant": (TENANT, f"c{TENANT}"),
}
_CACHED_ADDRESSES: Final = 65_536
#: Where the values stand of what conditions compare, but for fields of several values.
COLUMNS: Final = {**COLUMN, EVENT_TIME: TIME}
#: With more comparisons than this, what a row meets is looked up by what was compared.
_FEW_LEAVES: Final = 4
_REMEMBERED: Final = 4_096
#: Columns that hold few different values.
REPEATED: Final = frozenset(
    COLUMN[name]
    for name in (
        "realm",
        "principal_kind",
        "principal_class",
        "method",
        "route",
        "status",
        "gateway",
        "category",
    )
)


def compile_conditions(
    conditions: Sequence[Condition], compile_pattern: CompilePattern
) -> Callable[[Row], int]:
    """Return one function over a row: bit `n` of its result says whether condition `n` matches.

    Raises ValueError for an unknown field, a network that is none, or what `compile_pattern` refuses.
    """
    writer = _Writer(compile_pattern)
    terms = [
        f"({1 << position} if {writer.expression(condition)} else 0)"
        for position, condition in enumerate(conditions)
    ]
    columns = [f"    c{column} = row[{column}]" for column in sorted(writer.columns)]
    lines = ["def direct(row):", *columns, f"    return {' | '.join(terms) or '0'}"]
    if len(writer.leaves) > _FEW_LEAVES:
        # What a row meets hangs on few different values: the answer for them is remembered.
        lines += [
            "def select(row):",
            *columns,
            f"    if {' or '.join(writer.unsure) or 'False'}: return direct(row)",
            "    try:",
            f"        key = ({', '.join(writer.key)},)",
            "        found = remembered.get(key)",
            "    except TypeError: return direct(row)",
            "    if found is None:",
            f"        if len(remembered) > {_REMEMBERED}: remembered.clear()",
            "        found = remembered[key] = direct(row)",
            "    return found",
        ]
        writer.names["remembered"] = {}
    # Texts of rules never enter the source: they are constants of its namespace.
    exec(compile("\n".join(lines), "<conditions>", "exec"), writer.names)  # noqa: S102
    select: Callable[[Row], int] = writer.names.get("select") or writer.names["direct"]
    return select


def compile_test(match: Match, compile_pattern: CompilePattern) -> Test:
    """Return the test of one value, not None, that a comparison makes: for a leaf that is not ``exists``."""
    return _Writer(compile_pattern).test(match)


def field_values(name: str, row: Row) -> list[Any]:
    """Return all values that a row holds of a field, none of them None."""
    if name not in MULTI_VALUED:
        value = row[COLUMNS[name]]
        return [] if value is None else [value]
    pairs = row[PATIENTS] or ()
    if name == "patient":
        return [patient for patient, _ in pairs if patient is not None]
    tenants = [tenant for _, tenant in pairs if tenant is not None]
    if row[TENANT] is not None:
        tenants.append(row[TENANT])
    return tenants


def matches(condition: Condition, row: Row, compile_pattern: CompilePattern) -> bool:
    """Return whether a row meets a condition, read straight from its tree: slow, for tests."""
    match condition:
        case AllOf():
            return all(matches(part, row, compile_pattern) for part in condition.parts)
        case AnyOf():
            return any(matches(part, row, compile_pattern) for part in condition.parts)
        case Negation():
            return not matches(condition.part, row, compile_pattern)
        case Match():
            values = field_values(condition.field, row)
            if condition.operator == "exists":
                return bool(values) == condition.value
            return any(_holds(condition, value, compile_pattern) for value in values)


def _holds(match: Match, value: Any, compile_pattern: CompilePattern) -> bool:
    name, wanted = match.operator, match.value
    if type(value) is int and type(wanted) is int:
        return name in NUMBERS and NUMBERS[name](value, wanted)
    if not (isinstance(value, str) and isinstance(wanted, str)):
        return False
    if name == "cidr":
        return within(ipaddress.ip_network(wanted, strict=False), value)
    if name == "re":
        return compile_pattern(wanted if match.cased else f"(?i){wanted}")(value)
    if not match.cased:
        value, wanted = value.casefold(), wanted.casefold()
    return name in _TEXTS and _TEXTS[name](value, wanted)


def within(network: ipaddress.IPv4Network | ipaddress.IPv6Network, text: str) -> bool:
    """Return whether an address lies in a network; a text that is no address does not.

    An IPv4 address written as IPv6 (``::ffff:…``) is that IPv4 address.
    """
    address = _address(text)
    return address is not None and address in network


@lru_cache(_CACHED_ADDRESSES)
def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


class _Writer:
    """Writes Python expressions, and gathers the columns and constants that they name."""

    def __init__(self, compile_pattern: CompilePattern) -> None:
        self._compile_pattern = compile_pattern
        self.columns: set[int] = set()
        self.names: dict[str, Any] = {"any_value": _any_value, "field_values": field_values}
        #: All comparisons, and the values that decide all of them.
        #: By the type of what is wanted, too: False equals 0 and is not meant by it.
        self.leaves: dict[tuple[Match, type], str] = {}
        self.key: dict[str, None] = {}
        #: Where it is true, a value that equals another one is perhaps not the same: 200.0 is not 200.
        self.unsure: dict[str, None] = {}

    def expression(self, condition: Condition) -> str:
        match condition:
            case AllOf():
                return self._joined(condition.parts, " and ", "True")
            case AnyOf():
                return self._joined(condition.parts, " or ", "False")
            case Negation():
                return f"(not {self.expression(condition.part)})"
            case Match():
                return self._match(condition)

    def _joined(self, parts: Iterable[Condition], word: str, empty: str) -> str:
        terms = [self.expression(part) for part in parts]
        return f"({word.join(terms)})" if terms else empty

    def _constant(self, value: Any) -> str:
        name = f"k{len(self.names)}"
        self.names[name] = value
        return name

    def _match(self, match: Match) -> str:
        known = match, match.value.__class__
        leaf = self.leaves.get(known)
        if leaf is None:
            leaf = self.leaves[known] = self._leaf(match)
            column = COLUMNS.get(match.field)
            if match.operator != "exists" and column in REPEATED:
                self.key[f"c{column}"] = None
                if type(match.value) is int:
                    self.unsure[f"c{column}.__class__ is not int"] = None
            else:
                self.key[leaf] = None
        return leaf

    def _leaf(self, match: Match) -> str:
        if match.field in MULTI_VALUED:
            field = self._constant(match.field)
            if match.operator == "exists":
                place, first = _FIRST_VALUE[match.field]
                self.columns.add(place)
                present = f"({first} is not None or bool(field_values({field}, row)))"
                return f"({present} == {self._constant(match.value)})"
            return f"any_value({field}, row, {self._constant(self.test(match))})"
        column = COLUMNS.get(match.field)
        if column is None:
            msg = f"unknown field {match.field!r}"
            raise ValueError(msg)
        self.columns.add(column)
        return self._comparison(match, f"c{column}")

    def test(self, match: Match) -> Test:
        """Return a test of one value: the same expression as for a column."""
        source = f"lambda value: {self._comparison(match, 'value')}"
        test: Test = eval(source, self.names)  # noqa: S307 - our own source, see `compile_conditions`
        return test

    def _comparison(self, match: Match, value: str) -> str:
        wanted = match.value
        if match.operator == "exists":
            return f"(({value} is not None) == {self._constant(wanted)})"
        if type(wanted) is int:
            form = _NUMBER_FORMS.get(match.operator)
            if form is None:
                return "False"
            return f"({value}.__class__ is int and {form.format(value, self._constant(wanted))})"
        if not isinstance(wanted, str):
            return "False"
        return f"({value}.__class__ is str and {self._text(match, wanted, value)})"

    def _text(self, match: Match, wanted: str, value: str) -> str:
        if match.operator == "cidr":
            network = ipaddress.ip_network(wanted, strict=False)
            return f"{self._constant(within)}({self._constant(network)}, {value})"
        if match.operator == "re":
            pattern = self._compile_pattern(wanted if match.cased else f"(?i){wanted}")
            return f"{self._constant(pattern)}({value})"
        form = _TEXT_FORMS.get(match.operator)
        if form is None:
            return "False"
        if match.cased:
            return form.format(value, self._constant(wanted))
        return form.format(f"{value}.casefold()", self._constant(wanted.casefold()))


def _any_value(name: str, row: Row, test: Test) -> bool:
    return any(test(value) for value in field_values(name, row))
