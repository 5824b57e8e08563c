"""The generic adapter: a Standard Webhooks 1.0 call (github.com/standard-webhooks/standard-webhooks)."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

import aiohttp
import orjson
from standardwebhooks.webhooks import Webhook

from monitor.core.events import CredentialStatus
from monitor.errors import ConfigurationError, Fault
from monitor.response.delivery import Accepted, Disabled, Outcome, Retry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.settings import WebhookSettings
    from monitor.wire.credentials import CredentialRecord

_TYPE_OF: Final = {
    CredentialStatus.ACTIVE: "credential.reinstated",
    CredentialStatus.SUSPENDED: "credential.suspended",
    CredentialStatus.REVOKED: "credential.revoked",
}
_GONE: Final = 410
_LONGEST_WAIT_SECONDS: Final = 60.0
#: What Standard Webhooks 1.0 allows for a secret, in bytes.
_SECRET_BYTES: Final = range(24, 65)


class WebhookAdapter:
    """Tells one receiver the status that a credential must have.

    The `webhook-id` is the same at each retry and after each restart: it is the receiver's key for
    doing a thing once.
    """

    def __init__(self, index: int, webhook: WebhookSettings, signer: Webhook) -> None:
        self.name = f"webhook-{index}"
        self._url = webhook.url
        self._timeout = aiohttp.ClientTimeout(total=webhook.timeout.total_seconds())
        self._signer = signer
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"WebhookAdapter({self.name})"

    async def tell(self, record: CredentialRecord) -> Outcome:
        """Call once; only a 2xx accepts, redirects are not followed."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        now = datetime.now(UTC)
        body = webhook_body(record)
        headers = {
            "content-type": "application/json",
            "user-agent": "access-monitor",
            "webhook-id": record.webhook_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(record.webhook_id, now, body),
        }
        try:
            async with self._session.post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as response:
                status = response.status
                after = response.headers.get("retry-after")
        # UnicodeError: a host name that IDNA does not allow.
        except (aiohttp.ClientError, TimeoutError, OSError, UnicodeError) as error:
            return Retry(type(error).__name__)
        if 200 <= status < 300:  # noqa: PLR2004 - the range of HTTP's successes
            return Accepted()
        if status == _GONE:
            return Disabled("the receiver answered 410: it wants no more calls")
        return Retry(f"the receiver answered {status}", _seconds(after))

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


def webhook_body(record: CredentialRecord) -> str:
    """Return the body of the call about a record: under 20 kB, equal at each retry."""
    return orjson.dumps(
        {
            "type": _TYPE_OF[record.status],
            "timestamp": _text(record.since_ms),
            "data": {
                "realm": record.realm,
                "id": record.id,
                "kind": record.kind,
                "status": record.status.value,
                "version": record.version,
                "until": None if record.until_ms is None else _text(record.until_ms),
                "incident": record.incident,
                "finding": record.finding,
                "rule": {"id": record.rule.id, "title": record.rule.title},
                "reason": record.summary,
            },
        }
    ).decode()


def webhook_adapters(webhooks: Sequence[WebhookSettings]) -> list[WebhookAdapter]:
    """Return an adapter for each receiver; raises ConfigurationError for all bad secrets at once."""
    adapters: list[WebhookAdapter] = []
    faults: list[Fault] = []
    for index, webhook in enumerate(webhooks):
        where = f"response.webhooks[{index}].secret_file"
        try:
            adapters.append(WebhookAdapter(index, webhook, Webhook(_secret(webhook))))
        except OSError as error:
            faults.append(Fault(where, f"cannot be read ({type(error).__name__})", "check path and rights"))
        except ValueError:
            problem = "is not a secret of Standard Webhooks"
            faults.append(Fault(where, problem, "expected whsec_ and the base64 of 24 to 64 random bytes"))
    if faults:
        raise ConfigurationError("webhooks cannot be signed", faults)
    return adapters


def _secret(webhook: WebhookSettings) -> bytes:
    """Return the key that calls are signed with; the library would take any text for base64."""
    text = webhook.secret_file.read_text(encoding="utf-8").strip().removeprefix("whsec_").rstrip("=")
    secret = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    if len(secret) not in _SECRET_BYTES:
        raise ValueError
    return secret


def _seconds(after: str | None) -> float | None:
    """Return the seconds that Retry-After asks for (RFC 9110: seconds or a date), at most a minute."""
    if after is None:
        return None
    try:
        seconds = float(after) if after.isdigit() else parsedate_to_datetime(after).timestamp() - time.time()
    except (ValueError, TypeError):
        return None
    return min(max(seconds, 0.0), _LONGEST_WAIT_SECONDS)


def _text(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
