"""Which enforcer of this process answers operators: the active one, or none while others are active."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monitor.response.responder import Responder


class Duty:
    """Outlives the stays of the role in its group; what an earlier one still says changes nothing."""

    def __init__(self) -> None:
        self._responder: Responder | None = None

    def begin(self, responder: Responder) -> None:
        """Let an enforcer that has taken over answer from now on."""
        self._responder = responder

    def end(self, responder: Responder) -> None:
        """Let it answer no more; does nothing where another one has begun."""
        if self._responder is responder:
            self._responder = None

    def responder(self) -> Responder | None:
        """Return who answers now."""
        return self._responder
