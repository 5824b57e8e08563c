"""One matcher for all templates: a tree of segments, literal ones before placeholders.

Paths are what clients write, so they are read as servers read them: percent-decoding after the
cut at slashes, empty and dot segments taken out, ``;parameters`` of a segment left off, a query with
the same parameter many times. Time is linear in the length of the path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, unquote_plus

import msgspec

from monitor.intake.event import MAX_PATIENTS, clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.intake.routes.templates import Parameter, Template


class Match(msgspec.Struct, frozen=True, gc=False):
    """What a path says. It holds raw ids, so its repr says nothing."""

    route: str
    category: str | None
    patients: tuple[tuple[str, str | None], ...] = ()
    tenant: str | None = None
    object: str | None = None

    def __repr__(self) -> str:
        """Return the template alone."""
        return f"Match({self.route})"


class _Leaf:
    """The end of a template."""

    __slots__ = ("captures", "parameters", "plain", "template")

    def __init__(self, template: Template) -> None:
        self.template = template
        self.captures = template.captures
        self.parameters: dict[str, list[Parameter]] = {}
        for parameter in template.parameters:
            self.parameters.setdefault(parameter.name, []).append(parameter)
        for listed in self.parameters.values():
            # `Patient/{patient}` before `{patient}`, which would take the type for a part of the id.
            listed.sort(key=lambda one: -len(one.before) - len(one.after))
        self.plain = Match(template.route, template.category)


class _Node:
    """A place in the tree."""

    __slots__ = ("any", "leaf", "literals", "rest")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.any: _Node | None = None
        self.leaf: _Leaf | None = None
        self.rest: _Leaf | None = None


class Matcher:
    """Finds the template of a path, and what stands at its placeholders."""

    def __init__(self, templates: Sequence[Template]) -> None:
        self.templates = tuple(templates)
        self._root = _Node()
        self._fold = any(template.ignore_case for template in templates)
        for template in templates:
            self._add(template)
        self._categories = {template.route: template.category for template in templates}

    def __call__(self, path: str) -> Match | None:
        """Return what a path (with its query) says, or None where no template is meant."""
        path, _, query = path.partition("?")
        if not path.startswith("/"):
            path = _of_absolute(path)
        segments = path.split("/")
        del segments[0]
        if "%" in path or ";" in path or "/." in path or "#" in path or "" in segments:
            segments = _normal(segments)
        leaf = _find(self._root, segments, 0, [one.lower() for one in segments] if self._fold else segments)
        if leaf is None:
            return None
        if not leaf.captures and (not query or not leaf.parameters):
            return leaf.plain
        return _read(leaf, segments, query)

    def category(self, route: str) -> str | None:
        """Return the category of a route that a gateway names itself."""
        return self._categories.get(route)

    def knows(self, route: str | None) -> bool:
        """Return whether a template is called so."""
        return route in self._categories

    def _add(self, template: Template) -> None:
        node = self._root
        for segment in template.segments:
            if segment is None:
                node.any = node.any or _Node()
                node = node.any
            else:
                literal = segment.lower() if self._fold else segment
                node = node.literals.setdefault(literal, _Node())
        if template.rest:
            node.rest = _Leaf(template)
        else:
            node.leaf = _Leaf(template)


def _find(node: _Node, segments: list[str], at: int, folded: list[str]) -> _Leaf | None:
    """Return the most specific template; as deep as templates are, whatever the path is."""
    if at == len(segments):
        return node.leaf
    child = node.literals.get(folded[at])
    if child is not None:
        found = _find(child, segments, at + 1, folded)
        if found is not None:
            return found
    if node.any is not None:
        found = _find(node.any, segments, at + 1, folded)
        if found is not None:
            return found
    return node.rest


def _read(leaf: _Leaf, segments: list[str], query: str) -> Match:
    found: dict[str, list[str]] = {"patient": [], "tenant": [], "object": []}
    for at, kind in leaf.captures:
        found[kind].append(segments[at])
    if query and leaf.parameters:
        _read_query(leaf, query, found)
    tenant = clean(found["tenant"][0]) if found["tenant"] else None
    patients = dict.fromkeys([(patient, tenant) for patient in found["patient"][:MAX_PATIENTS]])
    record = found["object"][0] if found["object"] else None
    return Match(leaf.plain.route, leaf.plain.category, tuple(patients), tenant, record)


def _read_query(leaf: _Leaf, query: str, found: dict[str, list[str]]) -> None:
    separator = leaf.template.separator
    for part in query.split("&"):
        name, _, value = part.partition("=")
        ways = leaf.parameters.get(unquote_plus(name) if "%" in name or "+" in name else name)
        if ways and value:
            text = unquote_plus(value) if "%" in value or "+" in value else value
            for one in text.split(separator) if separator else (text,):
                kind, named = _named(ways, one)
                if named:
                    found[kind].append(named)


def _named(ways: list[Parameter], value: str) -> tuple[str, str]:
    for one in ways:
        if value.startswith(one.before) and value.endswith(one.after):
            found = value[len(one.before) : len(value) - len(one.after)]
            if found:
                return one.kind, found
    return "", ""


def _of_absolute(path: str) -> str:
    """Return the path of ``http://host/path``, which a client may write instead of a path."""
    _, scheme, rest = path.partition("://")
    if not scheme:
        return "/" + path
    return "/" + rest.partition("/")[2]


def _normal(segments: list[str]) -> list[str]:
    """Return segments as servers understand them, whatever a client wrote."""
    plain: list[str] = []
    for segment in segments:
        text = segment.partition("#")[0].partition(";")[0]
        if "%" in text:
            text = unquote(text, errors="replace")
        if text == "..":
            if plain:
                plain.pop()
        elif text not in _LEFT_OUT:
            plain.append(text)
    return plain


_LEFT_OUT: Final = frozenset(("", "."))
