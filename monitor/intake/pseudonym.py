"""Keyed pseudonyms: equal ids give equal pseudonyms, and without the key none can be traced back."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitor.intake.keys import Keys

#: 96 bits: two of a hundred million ids collide with a probability of about 10^-13.
DIGEST_BYTES: Final = 12
#: Ids kept at hand per domain; a text of 30 characters costs about 250 bytes here.
_CACHED: Final = 65_536


class Pseudonyms:
    """The pseudonyms of one key: ``k1:`` and 24 hexadecimal digits.

    Each domain hashes for itself, so that an object and a patient of the same number do not give
    themselves away. Method calls are cached, since each costs about a microsecond.
    """

    __slots__ = ("client_ip", "object", "patient")

    def __init__(self, keys: Keys) -> None:
        self.patient = _pseudonymiser(keys, b"patient")
        self.object = _pseudonymiser(keys, b"object")
        self.client_ip = _pseudonymiser(keys, b"client_ip")


def _pseudonymiser(keys: Keys, domain: bytes) -> Callable[[str], str]:
    prefix = f"{keys.pseudonym_id}:"
    start = hashlib.blake2b(digest_size=DIGEST_BYTES, key=keys.pseudonym_key, person=domain)

    @lru_cache(_CACHED)
    def pseudonym(raw: str) -> str:
        digest = start.copy()
        digest.update(raw.encode("utf-8", "surrogatepass"))
        return prefix + digest.hexdigest()

    return pseudonym
