"""Strict YAML for formats and routes: every fault with its line, and keys that stand twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

from monitor.errors import ConfigurationError, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydantic import ValidationError

Place = tuple[str | int, ...]
_MAX_FILE_BYTES: Final = 1024 * 1024
_MESSAGES: Final = {
    "extra_forbidden": "there is no such setting",
    "missing": "is required",
}
#: What pydantic puts into a place that is no key of the file.
_NOT_KEYS: Final = (
    "function-",
    "list[",
    "str",
    "ValueSpec",
    "Condition",
    "tagged-union",
    "constrained-",
    "dict[",
)


class Document:
    """One YAML file that is a mapping, and the line of each part of it."""

    def __init__(self, name: str, content: dict[str, Any], lines: dict[Place, int]) -> None:
        self.name = name
        self.content = content
        self._lines = lines

    def fault(self, place: Place, problem: str, remedy: str = "") -> Fault:
        """Return a fault at a place; at the nearest part around it where it has no line."""
        known = place
        while known and known not in self._lines:
            known = known[:-1]
        line = f":{self._lines[known]}" if known else ""
        dotted = ""
        for part in place:
            dotted += f"[{part}]" if isinstance(part, int) else f".{part}" if dotted else str(part)
        return Fault(f"{self.name}{line} {dotted}".rstrip(), problem, remedy)

    def faults_of(self, error: ValidationError) -> list[Fault]:
        """Return what pydantic found wrong, each at its line."""
        faults: dict[str, Fault] = {}
        for item in error.errors(include_input=False, include_url=False):
            place = tuple(
                part for part in item["loc"] if isinstance(part, int) or not part.startswith(_NOT_KEYS)
            )
            problem = _MESSAGES.get(item["type"]) or item["msg"].removeprefix("Value error, ")
            fault = self.fault(place, problem)
            faults.setdefault(str(fault), fault)
        return list(faults.values())


def read_document(path: Path, name: str | None = None) -> Document:
    """Return the document of a file; raises ConfigurationError where it is none."""
    name = name or path.name
    title = f"{name} cannot be used"
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ConfigurationError(title, [Fault(str(path), "is larger than 1 MiB")])
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "cannot be read"
        raise ConfigurationError(title, [Fault(f"{name}{at}", f"not YAML: {problem}")]) from None
    except (OSError, UnicodeDecodeError, RecursionError, ValueError) as error:
        problem = f"cannot be read ({type(error).__name__})"
        raise ConfigurationError(title, [Fault(str(path), problem)]) from None
    if not isinstance(content, dict) or node is None:
        raise ConfigurationError(title, [Fault(name, "expected a mapping of settings")])
    lines: dict[Place, int] = {}
    twice = [Fault(f"{name}:{line} {key}", "stands twice") for key, line in _note(node, (), lines)]
    if twice:
        raise ConfigurationError(title, twice)
    return Document(name, content, lines)


def _note(node: yaml.Node, place: Place, lines: dict[Place, int]) -> Iterator[tuple[str, int]]:
    """Note the line of each part; yield the keys that stand twice in one mapping."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            inner = (*place, str(key.value))
            line = key.start_mark.line + 1
            if key.value in seen:
                yield str(key.value), line
            seen.add(key.value)
            lines[inner] = line
            yield from _note(value, inner, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            inner = (*place, index)
            lines[inner] = value.start_mark.line + 1
            yield from _note(value, inner, lines)
