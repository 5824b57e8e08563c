"""Places in a JSON document, as formats write them.

============================  =====================================================
``response.status``           keys, one inside the other
``attributes."http.route"``   a key that holds a dot (or a bracket) stands in quotes
``agent[0].name``             the first of a list; ``[-1]`` the last
``headers.X-Id[*]``           each of a list
``agent[type.code=110152]``   those of a list in which a key has a value (as text);
                              lists on the way to it count if one of them does
============================  =====================================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

_key = re.compile(r'"([^"]+)"|([^\s."\[\]=]+)')
_index = re.compile(r"-?[0-9]{1,4}\Z")


@dataclass(frozen=True, slots=True)
class Key:
    """The value of a key of an object."""

    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """One of a list."""

    number: int


@dataclass(frozen=True, slots=True)
class Each:
    """Every one of a list."""


@dataclass(frozen=True, slots=True)
class Where:
    """Those of a list in which the value of `keys` is `text`."""

    keys: tuple[str, ...]
    text: str


Step = Key | Index | Each | Where


@dataclass(frozen=True, slots=True)
class Path:
    """One place, or several, of a document."""

    text: str
    steps: tuple[Step, ...]

    @property
    def keys(self) -> tuple[str, ...] | None:
        """The keys, where the path is nothing else."""
        names = tuple(step.name for step in self.steps if isinstance(step, Key))
        return names if len(names) == len(self.steps) else None

    @property
    def first_keys(self) -> tuple[str, ...]:
        """The keys that the path begins with; at least one."""
        names = []
        for step in self.steps:
            if not isinstance(step, Key):
                break
            names.append(step.name)
        return tuple(names)

    def values(self, document: Any) -> list[Any]:
        """Return what stands there: nothing, one value or several; null is nothing."""
        found = [document]
        for step in self.steps:
            found = _take(step, found)
        return [value for value in found if value is not None]


def parse_path(text: str) -> Path:
    """Return the path that a text writes; raises ValueError saying where it goes wrong."""
    steps: list[Step] = []
    at = 0
    while at < len(text):
        if text[at] == "[":
            end = text.find("]", at)
            if end < 0:
                raise ValueError(f"{text!r}: a bracket is not closed")
            if not steps:
                raise ValueError(f"{text!r}: begins with a bracket, expected a key before it")
            steps.append(_bracket(text, text[at + 1 : end]))
            at = end + 1
            continue
        if steps:
            if text[at] != ".":
                raise ValueError(f"{text!r}: expected a dot or a bracket at character {at + 1}")
            at += 1
        found = _key.match(text, at)
        if found is None:
            raise ValueError(f"{text!r}: expected a key at character {at + 1}")
        steps.append(Key(found[1] or found[2]))
        at = found.end()
    if not steps:
        raise ValueError("a path is empty")
    return Path(text, tuple(steps))


def _bracket(text: str, inside: str) -> Step:
    if inside == "*":
        return Each()
    if _index.match(inside):
        return Index(int(inside))
    place, equals, value = inside.partition("=")
    if not equals or not value:
        raise ValueError(f"{text!r}: [{inside}] is none of [*], [0] and [key=value]")
    keys = parse_path(place).keys
    if keys is None:
        raise ValueError(f"{text!r}: only keys may stand before the = of [{inside}]")
    return Where(keys, value)


def _take(step: Step, found: list[Any]) -> list[Any]:
    if isinstance(step, Key):
        name = step.name
        return [value[name] for value in found if value.__class__ is dict and name in value]
    if isinstance(step, Where):
        return [entry for entry in _flat(found) if _holds(entry, step.keys, step.text)]
    lists = [value for value in found if value.__class__ is list]
    if isinstance(step, Index):
        number = step.number
        return [value[number] for value in lists if -len(value) <= number < len(value)]
    return [entry for value in lists for entry in value]


def _holds(entry: Any, keys: tuple[str, ...], wanted: str) -> bool:
    found = [entry]
    for name in keys:
        found = [value[name] for value in _flat(found) if value.__class__ is dict and name in value]
    return any(value.__class__ in _SCALARS and str(value) == wanted for value in _flat(found))


def _flat(values: list[Any]) -> list[Any]:
    """Return values with lists replaced by what they hold, one level deep."""
    if not any(value.__class__ is list for value in values):
        return values
    return [inner for value in values for inner in (value if value.__class__ is list else (value,))]


_SCALARS: Final = frozenset({str, int})
