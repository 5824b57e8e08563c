"""What operators sign with their SSH keys, and how it travels.

The bytes that are signed are sent as they are, beside the signature: nobody has to agree on how to
write JSON. A statement says for which installation it is (`audience`) and when it was made, and is good
once: a sign-in answers a challenge, an act has an id of its own.
"""

from __future__ import annotations

from typing import Final

import msgspec

from monitor.errors import InvariantError
from monitor.wire.acts import Act, Receipt, Right

FORMAT_VERSION: Final = 1
#: The namespace of signatures: one that was made for anything else is not good here.
NAMESPACE: Final = "access-monitor-operator"
#: Furthest that the clocks of signer and server may differ, the way between them included.
VALID_MS: Final = 300_000
#: Largest statement or signature, in bytes.
LARGEST_BYTES: Final = 65_536


class SignIn(msgspec.Struct, frozen=True, kw_only=True, tag_field="purpose", tag="sign_in"):
    """Asks for a token to read with, in answer to a challenge; who it is follows from the key."""

    v: int = FORMAT_VERSION
    audience: str
    challenge: str
    at_ms: int


class Order(msgspec.Struct, frozen=True, kw_only=True, tag_field="purpose", tag="act"):
    """Asks for an act, whose `by` is the signer and whose `at_ms` is now."""

    v: int = FORMAT_VERSION
    audience: str
    act: Act


Statement = SignIn | Order


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a request: a statement as text, and its armoured signature."""

    statement: str
    signature: str


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """What a sign-in has to name; good once, and for a minute."""

    v: int = FORMAT_VERSION
    challenge: str
    audience: str
    now_ms: int


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """What reads are sent with until it expires."""

    v: int = FORMAT_VERSION
    token: str
    expires_ms: int
    by: str
    rights: tuple[Right, ...]


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to an act; `repeated` where its id was admitted before and nothing was done again."""

    v: int = FORMAT_VERSION
    receipt: Receipt
    repeated: bool = False


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request was not answered: a bounded code, a text that says what to do, where to go."""

    v: int = FORMAT_VERSION
    error: str
    detail: str
    active: str | None = None


def encode_statement(statement: Statement) -> bytes:
    """Return what is signed and sent."""
    return msgspec.json.encode(statement)


def decode_statement(value: bytes, place: str) -> Statement:
    """Return a statement; raises InvariantError, with `place`, where this monitor does not read it."""
    try:
        statement: Statement = msgspec.json.decode(value, type=Statement)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        why = str(error) if isinstance(error, msgspec.ValidationError) else type(error).__name__
        msg = f"{place}: not a statement that this monitor reads ({why})"
        raise InvariantError(msg) from None
    versions = {statement.v, statement.act.v} if isinstance(statement, Order) else {statement.v}
    if versions != {FORMAT_VERSION}:
        msg = f"{place}: format {max(versions)}: this monitor reads {FORMAT_VERSION}; is one of both older?"
        raise InvariantError(msg)
    return statement
