"""Who is let in: challenges and tokens for reading, signed statements for acts.

Nothing here is durable, and nothing needs to be: a token ends with its process, and an act that comes
again after that is known to the ledger by its id.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from monitor.errors import InvariantError, MonitorError
from monitor.response.operators.signatures import SignatureCheck
from monitor.wire.acts import REASON_CHARACTERS, RIGHT_FOR
from monitor.wire.statements import (
    VALID_MS,
    Challenge,
    Order,
    SignIn,
    Token,
    decode_statement,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitor.response.operators.people import People, PeopleFiles
    from monitor.wire.acts import Act, Right
    from monitor.wire.statements import Signed, Statement

CHALLENGE_MS: Final = 60_000
TOKEN_MS: Final = 900_000
#: Answered challenges, tokens and acts remembered; the oldest go first.
_REMEMBERED: Final = 10_000
#: Longest duration that an act may name.
_LONGEST_MS: Final = 366 * 86_400_000
_TOKEN_BYTES: Final = 32


class NotAdmittedError(MonitorError):
    """A request that is not answered: `status` is HTTP's, `error` a bounded code."""

    def __init__(self, status: int, error: str, detail: str) -> None:
        self.status = status
        self.error = error
        super().__init__(detail)


@dataclass(frozen=True, slots=True)
class Admitted:
    """An act that may be done; `repeated` where this process admitted the same statement before."""

    act: Act
    repeated: bool


class Admission:
    """Checks who asks, whether they may, and that nothing is used twice."""

    def __init__(self, audience: str, files: PeopleFiles, now_ms: Callable[[], int]) -> None:
        self._audience = audience
        self._files = files
        self._now_ms = now_ms
        self._check = SignatureCheck()
        self._secret = secrets.token_bytes(_TOKEN_BYTES)
        self._answered: OrderedDict[str, None] = OrderedDict()
        self._tokens: OrderedDict[str, tuple[str, int]] = OrderedDict()
        self._acts: OrderedDict[str, bytes] = OrderedDict()

    def challenge(self) -> Challenge:
        """Return a new challenge; none is remembered before it was answered, so asking costs nothing."""
        now_ms = self._now_ms()
        stem = f"{now_ms + CHALLENGE_MS}.{secrets.token_urlsafe(_TOKEN_BYTES)}"
        challenge = f"{stem}.{self._seal(stem)}"
        return Challenge(challenge=challenge, audience=self._audience, now_ms=now_ms)

    async def sign_in(self, signed: Signed) -> Token:
        """Return a token to read with; raises NotAdmittedError."""
        people = self._people()
        statement = self._statement(signed)
        if not isinstance(statement, SignIn):
            raise NotAdmittedError(422, "not_a_sign_in", "this statement is not a sign-in")
        self._fits(statement.audience, statement.at_ms)
        if not self._is_open(statement.challenge):
            raise NotAdmittedError(401, "challenge", "the challenge is not good here any more: sign in again")
        person = await self._check.signer(signed.statement.encode(), signed.signature, people.allowed_signers)
        if person is None or not people.may(person, "read"):
            raise _nobody()
        if not self._is_open(statement.challenge):
            raise NotAdmittedError(401, "challenge", "the challenge was answered already: sign in again")
        _remember(self._answered, statement.challenge, None)
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        expires_ms = self._now_ms() + TOKEN_MS
        _remember(self._tokens, _digest(token), (person, expires_ms))
        return Token(
            token=token, expires_ms=expires_ms, by=person, rights=tuple(sorted(people.rights[person]))
        )

    def reader(self, header: str | None) -> str:
        """Return who sends a token; raises NotAdmittedError."""
        kind, _, token = (header or "").partition(" ")
        person, expires_ms = self._tokens.get(_digest(token), ("", 0))
        if kind.lower() != "bearer" or expires_ms < self._now_ms():
            raise NotAdmittedError(401, "sign_in", "sign in first: the token is missing, unknown or too old")
        if not self._people().may(person, "read"):
            raise _nobody()
        return person

    async def order(self, signed: Signed) -> Admitted:
        """Return the act that somebody asks for and may ask for; raises NotAdmittedError."""
        people = self._people()
        statement = self._statement(signed)
        if not isinstance(statement, Order):
            raise NotAdmittedError(422, "not_an_act", "this statement is not an act")
        act = statement.act
        self._fits(statement.audience, act.at_ms)
        # Before a process is started for it.
        if act.by not in people.rights:
            raise _nobody()
        if not await self._check.signed_by(
            act.by, signed.statement.encode(), signed.signature, people.allowed_signers
        ):
            raise _nobody()
        right: Right = RIGHT_FOR[type(act)]
        if not people.may(act.by, right):
            raise NotAdmittedError(403, "no_right", f"{act.by} has not the right {right!r}, which this needs")
        _sound(act)
        digest = hashlib.sha256(signed.statement.encode()).digest()
        known = self._acts.get(act.act)
        if known is not None and known != digest:
            raise NotAdmittedError(409, "act_id", "another act has this id already: ask again")
        _remember(self._acts, act.act, digest)
        return Admitted(act, repeated=known is not None)

    def _seal(self, stem: str) -> str:
        return hmac.new(self._secret, stem.encode(), hashlib.sha256).hexdigest()

    def _is_open(self, challenge: str) -> bool:
        stem, _, seal = challenge.rpartition(".")
        if not hmac.compare_digest(seal.encode(), self._seal(stem).encode()):
            return False
        return challenge not in self._answered and int(stem.partition(".")[0]) >= self._now_ms()

    def _people(self) -> People:
        try:
            return self._files.read()
        except MonitorError as error:
            raise NotAdmittedError(503, "operators_file", str(error)) from None

    def _statement(self, signed: Signed) -> Statement:
        try:
            return decode_statement(signed.statement.encode(), "statement")
        except InvariantError as error:
            raise NotAdmittedError(422, "statement", str(error)) from None

    def _fits(self, audience: str, at_ms: int) -> None:
        if audience != self._audience:
            detail = f"it was signed for another installation; this is {self._audience!r} (operator.audience)"
            raise NotAdmittedError(401, "audience", detail)
        apart_ms = self._now_ms() - at_ms
        if abs(apart_ms) > VALID_MS:
            way = "behind" if apart_ms > 0 else "ahead of"
            detail = (
                f"it was signed {abs(apart_ms) // 1000:,} s {way} this server's clock, and {VALID_MS // 1000} s"
                " are allowed: set the clock, and ask again"
            )
            raise NotAdmittedError(401, "time", detail)


def _sound(act: Act) -> None:
    if not act.reason.strip() or len(act.reason) > REASON_CHARACTERS:
        detail = f"an act needs a reason, of {REASON_CHARACTERS:,} characters at most"
        raise NotAdmittedError(422, "reason", detail)
    for name in ("ttl_ms", "for_ms", "grace_ms"):
        value = getattr(act, name, None)
        least = 0 if name == "grace_ms" else 1000
        if value is not None and not least <= value <= _LONGEST_MS:
            raise NotAdmittedError(422, "duration", f"{name}: expected {least} to {_LONGEST_MS:,}")


def _nobody() -> NotAdmittedError:
    # One answer for all, so that nobody learns who is listed.
    detail = (
        "no signature of somebody listed here: is your key in allowed_signers, and are rights given to you?"
    )
    return NotAdmittedError(401, "signature", detail)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _remember(known: OrderedDict[str, Any], key: str, value: Any) -> None:
    known[key] = value
    if len(known) > _REMEMBERED:
        known.popitem(last=False)
