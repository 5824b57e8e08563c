"""Texts that come again and again, such as methods and routes: what is made of each is looked up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST: Final = 4096
_LONGEST: Final = 128


class Remembered(dict[str, str | None]):
    """What a function makes of texts; of at most 4,096 texts of at most 128 characters it is kept."""

    def __init__(self, make: Callable[[str], str | None]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, text: str) -> str | None:
        """Make it; raises what the function raises, and then remembers nothing."""
        made = self._make(text)
        if len(text) <= _LONGEST:
            if len(self) >= _MOST:
                self.clear()
            self[text] = made
        return made
