"""Keyed pseudonyms: equal ids give equal pseudonyms, and without the key none can be traced back.

Around the time at which a new key begins, rows also say what their pseudonyms are called by the other
key, so that detect counts nobody twice (docs/adr/0012-key-epochs.md).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from monitor.core.events import PrincipalKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitor.intake.keys import Epoch, Keys

#: 96 bits: two of a hundred million ids collide with a probability of about 10^-13.
DIGEST_BYTES: Final = 12
#: Ids kept at hand per domain; a text of 30 characters costs about 250 bytes here.
_CACHED: Final = 65_536
#: How long before a key begins rows bear its pseudonyms too: clocks of intake may differ by as much.
AHEAD_MS: Final = 600_000
#: Kinds of credentials that are a person's.
PEOPLE: Final = frozenset({PrincipalKind.SESSION.value, PrincipalKind.ACCOUNT.value})
#: What a person's credential is called: this key's id, a colon, 24 digits.
CREDENTIAL_KEY_ID: Final = "c1"
#: What intake gives a pseudonym to.
DOMAINS: Final = ("patient", "object", "client_ip")


class Phase(NamedTuple):
    """By which key intake counts at a time, and the others that its rows name as well.

    `until_ms` is when the next phase begins; None where this one is the last.
    """

    epoch: Epoch
    others: tuple[Epoch, ...]
    until_ms: int | None


def phase_at(epochs: tuple[Epoch, ...], now_ms: int, overlap_ms: int, *, ahead_ms: int = AHEAD_MS) -> Phase:
    """Return the phase at a time; `overlap_ms` is how long after its end an epoch may still be in a window.

    `epochs` are in the order in which they begin. Before the first begins, it counts all the same.
    """
    begun = [epoch for epoch in epochs if epoch.begins_ms <= now_ms] or [epochs[0]]
    current = begun[-1]
    others = [epoch for epoch, following in pairwise(begun) if now_ms < following.begins_ms + overlap_ms]
    coming = epochs[len(begun) :]
    others += [epoch for epoch in coming if epoch.begins_ms - ahead_ms <= now_ms]
    changes = [
        *(epoch.begins_ms for epoch in coming),
        *(epoch.begins_ms - ahead_ms for epoch in coming),
        *(following.begins_ms + overlap_ms for following in begun[1:]),
    ]
    return Phase(current, tuple(others), min((at for at in changes if at > now_ms), default=None))


class Pseudonyms:
    """The pseudonyms of one key: ``k1:`` and 24 hexadecimal digits.

    Each domain hashes for itself, so that an object and a patient of the same number do not give
    themselves away. Method calls are cached, since each costs about a microsecond.
    """

    __slots__ = ("client_ip", "object", "patient")

    def __init__(self, epoch: Epoch) -> None:
        self.patient = _pseudonymiser(epoch.id, epoch.key, b"patient")
        self.object = _pseudonymiser(epoch.id, epoch.key, b"object")
        self.client_ip = _pseudonymiser(epoch.id, epoch.key, b"client_ip")

    @classmethod
    def newest(cls, keys: Keys) -> Pseudonyms:
        """Return those of the key that begins last."""
        return cls(keys.epochs[-1])


def credential_pseudonyms(key: bytes) -> Callable[[str], str]:
    """Return what gives a person's credential its pseudonym, from its ``realm/id``.

    It has no epochs: statuses, incidents and the ledger name a credential for as long as they are kept.
    """
    return _pseudonymiser(CREDENTIAL_KEY_ID, key, b"principal")


def _pseudonymiser(key_id: str, key: bytes, domain: bytes) -> Callable[[str], str]:
    prefix = f"{key_id}:"
    start = hashlib.blake2b(digest_size=DIGEST_BYTES, key=key, person=domain)

    @lru_cache(_CACHED)
    def pseudonym(raw: str) -> str:
        digest = start.copy()
        digest.update(raw.encode("utf-8", "surrogatepass"))
        return prefix + digest.hexdigest()

    return pseudonym
