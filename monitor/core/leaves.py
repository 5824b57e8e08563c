"""What decides which conditions a row meets: described for code that remembers it, and is not Python.

Conditions hang on few values: those of columns that repeat, whether others are there, and what single tests
say. `monitor/engine/src/conditions.hpp` looks up by these what the compiled conditions said before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from monitor.core.conditions import COLUMNS, NUMBERS, REPEATED, compile_conditions, compile_test
from monitor.core.events import MULTI_VALUED, PATIENTS, TENANT
from monitor.core.rules import AllOf, AnyOf, Match, Negation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from monitor.core.conditions import CompilePattern
    from monitor.core.events import Row
    from monitor.core.rules import Condition

    #: ``("value", column)``: the column's value decides; ``("exists", column)``: whether it is there decides;
    #: ``("number", column, operator, number)``: how it compares; ``("test", column, function)``: what a function
    #: of the value says, which is never asked of None. Where the column is `PATIENTS` or `TENANT` they mean any
    #: of the values that the field of that name has.
    Leaf = tuple[Any, ...]

_MULTI_VALUED_COLUMNS: Final = {"patient": PATIENTS, "tenant": TENANT}
_INT64: Final = range(-(2**63), 2**63)


def describe(
    conditions: Sequence[Condition], compile_pattern: CompilePattern
) -> tuple[Callable[[Row], int], tuple[Leaf, ...]]:
    """Return the function over a row that `compile_conditions` makes, and all leaves that decide it.

    Rows that are alike in all leaves meet the same conditions. Raises ValueError as `compile_conditions` does.
    """
    select = compile_conditions(conditions, compile_pattern)
    matches = dict.fromkeys(match for condition in conditions for match in _matches(condition))
    return select, tuple(dict.fromkeys(_leaf(match, compile_pattern) for match in matches))


def _matches(condition: Condition) -> Iterator[Match]:
    match condition:
        case AllOf() | AnyOf():
            for part in condition.parts:
                yield from _matches(part)
        case Negation():
            yield from _matches(condition.part)
        case Match():
            yield condition


def _leaf(match: Match, compile_pattern: CompilePattern) -> Leaf:
    if match.field in MULTI_VALUED:
        column = _MULTI_VALUED_COLUMNS[match.field]
        if match.operator == "exists":
            return "exists", column
        return "test", column, compile_test(match, compile_pattern)
    column = COLUMNS[match.field]
    if match.operator == "exists":
        return "exists", column
    if column in REPEATED:
        return "value", column
    if type(match.value) is int and match.operator in NUMBERS and match.value in _INT64:
        return "number", column, match.operator, match.value
    return "test", column, compile_test(match, compile_pattern)
