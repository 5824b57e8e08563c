"""One mistake made by hand, and the tests that must notice it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """`old` stands once in the file; with `new` in its place the tests fail. `why` says what is lost."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    why: str

    def applied(self, text: str) -> str:
        """Return the wrong text of the file. Raises ValueError where it is not clear what to replace."""
        if text.count(self.old) != 1:
            msg = f"{self.name}: {self.file} has changed"
            raise ValueError(msg)
        return text.replace(self.old, self.new)
