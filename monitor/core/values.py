"""Values as 64-bit numbers, so that a window packs them: equal values have equal numbers.

A pseudonym's last 64 bits are as random as its key, so they are its number; any other text has 64 bits
of its BLAKE2b hash. Two of 100,000 different values share a number with a probability of 3·10^-10.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from monitor.core.events import PSEUDONYMS

if TYPE_CHECKING:
    from collections.abc import Callable

#: Numbers of fields that are numbers themselves lie below.
LIMIT: Final = 1 << 64
#: A pseudonym is ``key id:`` and as many hexadecimal digits.
_DIGITS: Final = 24
_NUMBER_DIGITS: Final = 16
_CACHED: Final = 65_536


@lru_cache(_CACHED)
def text_number(text: str) -> int:
    """Return the number of a text."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def pseudonym_number(text: str) -> int:
    """Return the number of a pseudonym; any other text has that of `text_number`."""
    if text[-_DIGITS - 1 : -_DIGITS] == ":":
        try:
            return int(text[-_NUMBER_DIGITS:], 16)
        except ValueError:
            return text_number(text)
    return text_number(text)


def numbering(field: str) -> Callable[[Any], int | None]:
    """Return what gives the number of a field's value, or None where there is none to count."""
    of_text = pseudonym_number if field in PSEUDONYMS else text_number

    def number(value: Any) -> int | None:
        if value.__class__ is str:
            return of_text(value)
        if value.__class__ is int and 0 <= value < LIMIT:
            return value
        return None

    return number
