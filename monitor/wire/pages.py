"""Cuts long byte strings in pages, at places that their content chooses.

A change somewhere in the middle, or at the front, moves no other place: only the pages that hold it are
new. (Content-defined chunking, as rsync-like tools do it.)
"""

from __future__ import annotations

import hashlib
from array import array
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Longer byte strings of a large subject are cut.
LONG_BYTES: Final = 8_192
SHORTEST_PAGE: Final = 2_048
LONGEST_PAGE: Final = 49_152
_DIGEST_BYTES: Final = 12
_NUMBER_BYTES: Final = 8
#: A number that this divides may end a page: about one in so many, 16 KiB. It is a prime, so that times
#: of whole seconds or minutes meet it as often as any.
_DIVISOR: Final = 2_039
#: Two bytes that may end a page of other content: the first, and a divisor of the second.
_SIGN: Final = b"\x60"
_SIGN_DIVISOR: Final = 64


def cut_numbers(content: bytes) -> Iterator[bytes]:
    """Yield the pages of packed 8-byte numbers, in order, each of 2 to 48 KiB (the last may be shorter)."""
    numbers = array("Q", content)
    ends = [place for place, number in enumerate(numbers, 1) if not number % _DIVISOR]
    return _pages(content, (_NUMBER_BYTES * end for end in ends))


def cut_text(content: bytes) -> Iterator[bytes]:
    """Yield the pages of any bytes, as `cut_numbers` does."""
    return _pages(content, _signs(content))


def _signs(content: bytes) -> Iterator[int]:
    at = content.find(_SIGN)
    while 0 <= at < len(content) - 1:
        if not content[at + 1] % _SIGN_DIVISOR:
            yield at + 2
        at = content.find(_SIGN, at + 1)


def _pages(content: bytes, ends: Iterable[int]) -> Iterator[bytes]:
    begin = 0
    for end in (*ends, len(content)):
        while end - begin > LONGEST_PAGE:
            yield content[begin : begin + LONGEST_PAGE]
            begin += LONGEST_PAGE
        if end - begin >= SHORTEST_PAGE or (end == len(content) and end > begin):
            yield content[begin:end]
            begin = end


def digest_of(page: bytes) -> bytes:
    """Return the name of a page: 96 bits of its BLAKE2b."""
    return hashlib.blake2b(page, digest_size=_DIGEST_BYTES).digest()


def digests_in(joined: bytes) -> list[bytes]:
    """Return the digests of a list that was joined."""
    return [joined[at : at + _DIGEST_BYTES] for at in range(0, len(joined), _DIGEST_BYTES)]
