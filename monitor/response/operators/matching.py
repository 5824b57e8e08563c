"""Which credential or incident a person means by the beginning of its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from monitor.wire.views import CredentialView, IncidentView

_View = TypeVar("_View")


def match_credentials(views: Iterable[CredentialView], text: str) -> list[CredentialView]:
    """Return those whose ``realm/id`` or id begins with a text; one that equals it excludes the others."""
    return _best(views, text, lambda view: (view.subject, view.id))


def match_incidents(views: Iterable[IncidentView], text: str) -> list[IncidentView]:
    """Return those whose name or finding begins with a text; ``142`` and ``inc-142`` are INC-0142 too."""
    wanted = text.upper()
    number = wanted.removeprefix("INC-")
    if number.isdigit() and (wanted.startswith("INC-") or len(number) <= len("0142")):
        by_number = [view for view in views if _number(view.incident) == int(number)]
        if by_number:
            return by_number
    return _best(views, text.lower(), lambda view: (view.incident.lower(), view.finding or ""))


def _number(incident: str) -> int:
    number = incident.removeprefix("INC-")
    return int(number) if number.isdigit() else -1


def _best(views: Iterable[_View], text: str, names: Callable[[_View], Sequence[str]]) -> list[_View]:
    begun = [view for view in views if any(name.startswith(text) for name in names(view) if name)]
    exact = [view for view in begun if text in names(view)]
    return exact or begun
