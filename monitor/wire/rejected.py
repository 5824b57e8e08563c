"""The bytes of the `rejected` topic: dead letters."""

from __future__ import annotations

import base64
from typing import Any

import orjson

FORMAT_VERSION = 1
#: As base64 it stays below the largest record of the topic.
MAX_PAYLOAD_BYTES = 512 * 1024


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
    event: int | None = None,
    withheld: int = 0,
) -> bytes:
    """Return the dead letter for the record at a source position.

    `payload` is given only where the configuration says that it is kept: it may hold health data. One
    that is too large for the topic is withheld all the same. `event` is the number, from 1, of an event in
    a batch whose others were read. `withheld` is how many like it got no letter since the one before.
    """
    letter: dict[str, Any] = {
        "v": FORMAT_VERSION,
        "source": {"topic": topic, "partition": partition, "offset": offset},
        "format": format_name,
        "reason": reason,
        "detail": detail,
        "at_ms": at_ms,
    }
    if event is not None:
        letter["event"] = event
    if withheld:
        letter["withheld"] = withheld
    if payload is not None and len(payload) <= MAX_PAYLOAD_BYTES:
        letter["payload"] = base64.b64encode(payload).decode()
    return orjson.dumps(letter)


def rejected_key(topic: str, partition: int, offset: int, event: int | None = None) -> bytes:
    """Return the key of a dead letter: where its record stands in the source, and its event in a batch."""
    place = f"{topic}/{partition}/{offset}"
    return (place if event is None else f"{place}/{event}").encode()
