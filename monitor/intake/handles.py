"""Handles of people's credentials, sealed: intake seals them, only the enforcer's key opens them.

A gateway that is to end a session must be told which one, so the id cannot be thrown away as a patient's
is. It travels as an HPKE box (RFC 9180: X25519, HKDF-SHA256, ChaCha20-Poly1305), which whoever holds the
public key alone can make and cannot open. The box is bound to its credential's subject: put into another
record it does not open.
"""

from __future__ import annotations

import base64
import binascii
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from monitor.errors import MonitorError

if TYPE_CHECKING:
    from collections.abc import Mapping

_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_INFO: Final = b"access-monitor handle\0"
#: Ids are filled up to a multiple of this, so that a box says little of the length of what it holds.
_BLOCK_BYTES: Final = 32
_END: Final = b"\x80"
#: Boxes kept at hand: making one costs as much as fifty pseudonyms.
_CACHED: Final = 65_536


class HandleError(MonitorError):
    """A sealed handle cannot be opened; the text says what to do, and nothing of what is in it."""


class Sealer:
    """Seals handles for whoever holds the private key; it cannot open them."""

    def __init__(self, key_id: str, public: bytes) -> None:
        self.key_id = key_id
        self.public = public
        key = X25519PublicKey.from_public_bytes(public)

        @lru_cache(_CACHED)
        def seal(subject: str, raw: str) -> str:
            plain = raw.encode("utf-8", "surrogatepass") + _END
            plain += bytes(-len(plain) % _BLOCK_BYTES)
            box = _SUITE.encrypt(plain, key, _INFO + subject.encode("utf-8", "surrogatepass"))
            return f"{key_id}:{base64.urlsafe_b64encode(box).decode()}"

        #: (subject, raw id) → the sealed handle, as text.
        self.seal = seal

    def __repr__(self) -> str:
        """Return the key's id only."""
        return f"Sealer({self.key_id!r})"


class Opener:
    """Opens the handles that were sealed for its keys, by their ids."""

    def __init__(self, private: Mapping[str, bytes]) -> None:
        self._keys = {name: X25519PrivateKey.from_private_bytes(key) for name, key in private.items()}

    def __repr__(self) -> str:
        """Return the ids of the keys only."""
        return f"Opener({sorted(self._keys)})"

    def open(self, subject: str, handle: str) -> str:
        """Return the raw id of the credential `subject`.

        Raises HandleError where no key of ours opens it, or where it is another credential's.
        """
        name, _, text = handle.partition(":")
        key = self._keys.get(name)
        if key is None:
            msg = (
                f"the handle was sealed for key {name[:16]!r}, which privacy.handle_key_file does not hold;"
                " restore that file from its backup"
            )
            raise HandleError(msg)
        try:
            box = base64.urlsafe_b64decode(text)
            plain = _SUITE.decrypt(box, key, _INFO + subject.encode("utf-8", "surrogatepass"))
        except (InvalidTag, binascii.Error, ValueError):
            msg = "the handle does not open: it is another credential's, or was changed"
            raise HandleError(msg) from None
        return plain.rstrip(b"\0")[: -len(_END)].decode("utf-8", "surrogatepass")


def new_handle_key() -> tuple[bytes, bytes]:
    """Return a fresh (private, public) pair of raw keys."""
    private = X25519PrivateKey.generate()
    return private.private_bytes_raw(), private.public_key().public_bytes_raw()
