"""The bytes of the `rejected` topic: dead letters."""

from __future__ import annotations

import base64
from typing import Any

import orjson

FORMAT_VERSION = 1


def encode_rejected(
    topic: str,
    partition: int,
    offset: int,
    *,
    format_name: str,
    reason: str,
    detail: str,
    at_ms: int,
    payload: bytes | None = None,
) -> bytes:
    """Return the dead letter for the record at a source position.

    `payload` is given only where the configuration says that it is kept: it may hold health data.
    """
    letter: dict[str, Any] = {
        "v": FORMAT_VERSION,
        "source": {"topic": topic, "partition": partition, "offset": offset},
        "format": format_name,
        "reason": reason,
        "detail": detail,
        "at_ms": at_ms,
    }
    if payload is not None:
        letter["payload"] = base64.b64encode(payload).decode()
    return orjson.dumps(letter)


def rejected_key(topic: str, partition: int, offset: int) -> bytes:
    """Return the key of a dead letter: where its record stands in the source."""
    return f"{topic}/{partition}/{offset}".encode()
