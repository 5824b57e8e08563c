"""What a file of records names, and what it does not: before a rule that counts patients is trusted.

A rule that sees no patients protects nobody, and nothing else says so.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from monitor.errors import RejectedRecordError
from monitor.intake.event import PartlyRead

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from monitor.intake.event import Event
    from monitor.intake.formats import Decoder
    from monitor.intake.routes import Match, Matcher

NAMED: Final = ("principal", "patient", "tenant", "route")
#: Different paths that are kept; a crawler makes up any number of them.
_KEPT_PATHS: Final = 50_000
_LONGEST_PATH: Final = 2_000
_MASK: Final = "{…}"
#: A text that may be a part of an API's paths. Others look like ids.
_word = re.compile(r"[A-Za-z$_][A-Za-z$_.-]{0,39}\Z|v[0-9]{1,2}\Z")
#: A word that stands in fewer paths than this may be somebody's name.
_FEWEST: Final = 3
_FEWEST_SHARE: Final = 0.01


class Watching:
    """A matcher that remembers the paths for which it found nothing."""

    def __init__(self, inner: Matcher | None) -> None:
        self._inner = inner
        self.unmatched: Counter[tuple[str, ...]] = Counter()

    def __call__(self, path: str) -> Match | None:
        """Return what the matcher finds."""
        found = None if self._inner is None else self._inner(path)
        if found is None:
            parts = tuple(path[:_LONGEST_PATH].partition("?")[0].split("/"))
            if parts in self.unmatched or len(self.unmatched) < _KEPT_PATHS:
                self.unmatched[parts] += 1
        return found

    def category(self, route: str) -> str | None:
        """Return the category of a route that a gateway names itself."""
        return None if self._inner is None else self._inner.category(route)

    def masked(self) -> list[tuple[str, int]]:
        """Return the paths that matched nothing, ids masked, most frequent first.

        Names of people are words too: one that stands in few paths is masked as an id is.
        """
        words: Counter[str] = Counter()
        total = 0
        for parts, number in self.unmatched.items():
            total += number
            for part in set(parts):
                words[part] += number
        least = max(_FEWEST, total * _FEWEST_SHARE)
        masked: Counter[str] = Counter()
        for parts, number in self.unmatched.items():
            shown = (
                part if not part or (_word.match(part) and words[part] >= least) else _MASK for part in parts
            )
            masked["/".join(shown)] += number
        return masked.most_common()


@dataclass(slots=True)
class Survey:
    """What was seen. Shares are of answers with 2xx: what was refused gave nothing away."""

    records: int = 0
    events: int = 0
    successes: int = 0
    named: Counter[str] = field(default_factory=Counter)
    categories: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    not_events: int = 0

    def read(self, decode: Decoder, records: Iterable[bytes]) -> None:
        """Count records."""
        for record in records:
            self.records += 1
            try:
                events: Sequence[Event] = decode(record)
            except RejectedRecordError as error:
                self.rejected[f"{error.reason}: {error.detail}"] += 1
                continue
            if isinstance(events, PartlyRead):
                for _, reason, detail in events.refusals:
                    self.rejected[f"{reason}: {detail}"] += 1
            elif not events:
                self.not_events += 1
            for event in events:
                self._count(event)

    def share(self, name: str) -> float:
        """Return the share of successful events that name something; 0 without any."""
        return self.named[name] / self.successes if self.successes else 0.0

    def below(self, least: dict[str, float]) -> list[str]:
        """Return what too few events name."""
        return [name for name in NAMED if self.share(name) < least.get(name, 0.0)]

    def _count(self, event: Event) -> None:
        self.events += 1
        if not 200 <= event.status < 300:  # noqa: PLR2004 - the range of HTTP's successes
            return
        self.successes += 1
        tenant = event.tenant is not None or any(own is not None for _, own in event.patients)
        for name, there in (
            ("principal", event.principal is not None),
            ("patient", bool(event.patients)),
            ("tenant", tenant),
            ("route", event.route is not None),
        ):
            if there:
                self.named[name] += 1
        if event.category is not None:
            self.categories[event.category] += 1
