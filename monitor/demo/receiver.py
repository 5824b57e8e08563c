"""The gateway's side of the webhook: checks the signature, notes when which credential was named."""

from __future__ import annotations

import base64
import binascii
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson
from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

_SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Call:
    """One call whose signature was right; `at_ms` is when it arrived."""

    at_ms: float
    webhook_id: str
    type: str
    credential: str
    incident: str


def new_secret() -> str:
    """Return a secret as Standard Webhooks writes it."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"


class WebhookReceiver:
    """Listens on a loopback port while its context is entered; `port` is which.

    `calls` are those with a right signature; `forged` counts the others, which get 401.
    """

    def __init__(self, secret: str) -> None:
        self._webhook = Webhook(secret)
        self._runner: web.AppRunner | None = None
        self.port = 0
        self.calls: list[Call] = []
        #: Called with each call whose signature was right.
        self.on_call: Callable[[Call], None] = lambda _: None
        self.forged = 0

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        app = web.Application()
        app.router.add_post("/hooks/access-monitor", self._receive)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def url(self) -> str:
        """Where it wants to be called."""
        return f"http://127.0.0.1:{self.port}/hooks/access-monitor"

    async def _receive(self, request: web.Request) -> web.Response:
        at_ms = time.time() * 1000
        body = await request.read()
        try:
            self._webhook.verify(body, dict(request.headers))
        except (WebhookVerificationError, binascii.Error, ValueError):
            self.forged += 1
            return web.Response(status=401)
        message = orjson.loads(body)
        data = message["data"]
        call = Call(at_ms, request.headers["webhook-id"], message["type"], data["id"], data["incident"])
        self.calls.append(call)
        self.on_call(call)
        return web.Response(status=204)
