"""The generic adapter: a Standard Webhooks 1.0 call (github.com/standard-webhooks/standard-webhooks)."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson
from standardwebhooks.webhooks import Webhook

from monitor.core.events import CredentialStatus
from monitor.response.adapters.base import HttpAdapter, expect
from monitor.response.adapters.protocol import Accepted, DesiredState, Disabled, Outcome, Seen, Traits
from monitor.response.outbound import UnexpectedAnswerError
from monitor.response.secret_file import SecretFile

if TYPE_CHECKING:
    from monitor.settings.adapters import WebhookSettings

_TYPE_OF: Final = {
    CredentialStatus.ACTIVE: "credential.reinstated",
    CredentialStatus.SUSPENDED: "credential.suspended",
    CredentialStatus.REVOKED: "credential.revoked",
}
_GONE: Final = 410
#: What Standard Webhooks 1.0 allows for a secret, in bytes.
_SECRET_BYTES: Final = range(24, 65)
_MOST_SECRETS: Final = 8


class WebhookAdapter(HttpAdapter):
    """Tells one receiver the status that a credential must have.

    The `webhook-id` is the same at each retry and after each restart: it is the receiver's key for
    doing a thing once. A call is signed with every secret of the file, so that either side can change
    to a new one first.
    """

    traits = Traits(
        kinds=frozenset({"api_key", "oauth_client", "session", "account"}),
        time_to_effect_seconds=0.0,
        scope="what the receiver makes of it",
    )

    def __init__(self, settings: WebhookSettings) -> None:
        super().__init__(settings)
        self.secret = self._signers = SecretFile(settings.secret_file, _signers)

    async def _tell(self, wanted: DesiredState) -> Outcome:
        now = datetime.now(UTC)
        body = webhook_body(wanted)
        headers = {
            "content-type": "application/json",
            "webhook-id": wanted.message,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(
                signer.sign(wanted.message, now, body) for signer in self._signers.newest()
            ),
        }
        answer = await self._http.call("POST", headers=headers, data=body, read=False)
        if answer.ok:
            return Accepted()
        if answer.status == _GONE:
            return Disabled("the receiver answered 410: it wants no more calls")
        raise UnexpectedAnswerError(answer)

    async def _read(self, wanted: DesiredState) -> Seen | None:  # noqa: ARG002 - it cannot be asked
        return None

    async def _probe(self) -> list[str]:
        """Look at the secret, and whether somebody is there: any answer to a HEAD will do."""
        self._signers.load()
        expect(await self._http.call("HEAD", read=False), *range(400, 600))
        return []


def webhook_body(wanted: DesiredState) -> str:
    """Return the body of the call: under 20 kB, equal at each retry."""
    data: dict[str, Any] = {
        "realm": wanted.realm,
        "id": wanted.id,
        "kind": wanted.kind,
        "status": wanted.status.value,
        "version": wanted.version,
        "until": None if wanted.until_ms is None else _text(wanted.until_ms),
        "incident": wanted.incident,
        "finding": wanted.finding,
        "rule": {"id": wanted.rule_id, "title": wanted.rule_title},
        "reason": wanted.reason,
    }
    if wanted.drill:
        data["drill"] = True
    message = {"type": _TYPE_OF[wanted.status], "timestamp": _text(wanted.since_ms), "data": data}
    return orjson.dumps(message).decode()


def _signers(text: str) -> list[Webhook]:
    """Return what signs with each secret of a file: one to a line, the newest first."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    try:
        secrets = [_secret(line) for line in lines]
    except binascii.Error:
        secrets = []
    if not secrets or len(secrets) > _MOST_SECRETS or any(len(s) not in _SECRET_BYTES for s in secrets):
        raise ValueError(
            f"is not a secret of Standard Webhooks: expected 1 to {_MOST_SECRETS} lines, each whsec_ and the"
            " base64 of 24 to 64 random bytes"
        )
    return [Webhook(secret) for secret in secrets]


def _secret(line: str) -> bytes:
    """Return a secret's bytes; the library would take any text for base64."""
    text = line.removeprefix("whsec_").rstrip("=")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _text(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
