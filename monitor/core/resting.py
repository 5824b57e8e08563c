"""A subject at rest: what it was when it was saved, packed, until a row needs it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from monitor.core.subject import Subject
from monitor.errors import InvariantError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    #: Returns a snapshot from its packed form; the counterpart of whatever packed it.
    Unpack = Callable[[bytes], Sequence[Any]]


class RestingSubject:
    """One (axis, subject) whose state is packed: a tenth of the memory, and nothing to decode at a restart.

    `counts_until_ms` is the append time after which it no longer counts, None where it always does.
    """

    __slots__ = ("counts_until_ms", "packed", "recovered")

    #: It is saved as it is.
    dirty: Final = False

    def __init__(self, packed: bytes, recovered: int, counts_until_ms: int | None) -> None:
        self.packed = packed
        self.recovered = recovered
        self.counts_until_ms = counts_until_ms

    def __repr__(self) -> str:
        return f"RestingSubject({len(self.packed)} bytes)"

    def expired(self, append_ms: int) -> bool:
        """Return whether the state no longer counts at an append time."""
        return self.counts_until_ms is not None and self.counts_until_ms < append_ms

    def wake(self, axis: str, name: str, unpack: Unpack) -> Subject:
        """Return the subject. Raises InvariantError where the packed form cannot be read."""
        try:
            plain = unpack(self.packed)
        except (ValueError, TypeError) as error:
            msg = f"the state of a subject cannot be read ({type(error).__name__})"
            raise InvariantError(msg) from None
        return Subject.restore(axis, name, self.recovered, plain)
