"""The highest value so far in a log, asked at many places: by a search instead of a walk for each."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Rising:
    """Made of (place, value) pairs in any order."""

    def __init__(self, pairs: Iterable[tuple[int, int]]) -> None:
        ordered = sorted(pairs)
        self._places = [place for place, _ in ordered]
        self._highest = list(accumulate((value for _, value in ordered), max))

    def below(self, place: int, default: int) -> int:
        """Return the highest value at places below `place`, or `default` where there is none."""
        count = bisect_left(self._places, place)
        return self._highest[count - 1] if count else default
