"""The gateway's side of the webhook."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest
from aiohttp import ClientSession
from standardwebhooks.webhooks import Webhook

from monitor.demo.receiver import WebhookReceiver, new_secret

BODY = orjson.dumps(
    {"type": "credential.suspended", "data": {"id": "booking-widget", "incident": "INC-0001"}}
).decode()


def signed(secret: str, body: str) -> dict[str, str]:
    now = datetime.now(UTC)
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", now, body),
    }


async def post(receiver: WebhookReceiver, body: str, headers: dict[str, str]) -> int:
    async with ClientSession() as http, http.post(receiver.url, data=body, headers=headers) as answer:
        return answer.status


async def test_a_call_with_the_right_signature_is_accepted():
    secret = new_secret()
    async with WebhookReceiver(secret) as receiver:
        assert await post(receiver, BODY, signed(secret, BODY)) == 204
    (call,) = receiver.calls
    assert (call.type, call.credential, call.incident) == (
        "credential.suspended",
        "booking-widget",
        "INC-0001",
    )


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed(new_secret(), BODY),
        {**signed(new_secret(), BODY), "webhook-signature": "nonsense"},
        {**signed(new_secret(), BODY), "webhook-signature": "v1,!"},
    ],
    ids=["unsigned", "other secret", "no signature", "no base64"],
)
async def test_any_other_call_is_not(headers: dict[str, str]):
    async with WebhookReceiver(new_secret()) as receiver:
        assert await post(receiver, BODY, headers) == 401
    assert receiver.calls == []
    assert receiver.forged == 1
