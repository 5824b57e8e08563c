"""One event as every format decodes it, before pseudonyms and routing."""

from __future__ import annotations

from typing import Any, Final

import msgspec

MAX_TEXT: Final = 2048
#: Patients of one event that are counted; what is beyond them is not.
MAX_PATIENTS: Final = 10_000


class Event(msgspec.Struct, frozen=True, gc=False):
    """One access, as the gateway saw it.

    It still holds raw ids, so it never leaves intake, and its repr says nothing. `principal` is
    set only where the gateway authenticated it. `patients` are different (patient, tenant) pairs.
    """

    time_ms: int
    realm: str
    status: int
    event_id: str | None = None  # only where the format vouches that the gateway made it
    principal: str | None = None
    principal_kind: str | None = None
    object: str | None = None
    patients: tuple[tuple[str, str | None], ...] = ()
    tenant: str | None = None
    client_ip: str | None = None
    method: str | None = None
    route: str | None = None
    bytes: int | None = None
    records: int | None = None
    gateway: str | None = None
    category: str | None = None  # which kind of data the route gives, where its template says so
    number: int | None = None  # where the gateway numbers its records: one more each time

    def __repr__(self) -> str:
        """Return a text without any value: events hold raw ids."""
        return "Event(…)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return nothing: rich prints tracebacks with local values."""
        return []


class PartlyRead(tuple[Event, ...]):  # noqa: SLOT001 - it has attributes of its own
    """The events of a batch of which some could not be read; `refusals` says which, and why.

    Each is (number in the batch from 1, reason, detail); of very many only the first are kept,
    and `refused` is how many there were.
    """

    refusals: tuple[tuple[int, str, str], ...]
    refused: int

    @classmethod
    def of(cls, events: list[Event], refusals: list[tuple[int, str, str]], refused: int) -> PartlyRead:
        """Return the events of a batch with what was refused of it."""
        batch = cls(events)
        batch.refusals = tuple(refusals)
        batch.refused = refused
        return batch

    def __repr__(self) -> str:
        """Return counts only."""
        return f"PartlyRead({len(self)} events, {self.refused} refused)"


def clean(text: str | None) -> str | None:
    """Return a text that is safe to store and show: at most 2,048 printable characters.

    An empty text is absent. Other characters (control, ANSI escapes, line breaks, invisible and
    direction marks) become U+FFFD.
    """
    if not text:
        return None
    if len(text) > MAX_TEXT:
        text = text[:MAX_TEXT]
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
