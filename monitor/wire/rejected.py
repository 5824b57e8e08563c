"""The bytes of the `rejected` topic: dead letters."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import orjson

from monitor.errors import InvariantError

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


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter. `number` is its own offset: what people call it by."""

    number: int
    topic: str
    partition: int
    offset: int
    format: str
    reason: str
    detail: str
    at_ms: int
    event: int | None = None
    withheld: int = 0
    payload: bytes | None = None

    def __repr__(self) -> str:
        """Return the place alone."""
        return f"Letter({self.place})"

    @property
    def place(self) -> str:
        """Where its record stands in the source, and its event in a batch."""
        return rejected_key(self.topic, self.partition, self.offset, self.event).decode()


def decode_rejected(value: bytes, number: int) -> Letter:
    """Return the dead letter of a record of `rejected`; raises InvariantError where it is none of ours."""
    try:
        plain = orjson.loads(value)
        if plain["v"] == FORMAT_VERSION:
            source = plain["source"]
            payload = plain.get("payload")
            return Letter(
                number,
                source["topic"],
                source["partition"],
                source["offset"],
                plain["format"],
                plain["reason"],
                plain["detail"],
                plain["at_ms"],
                plain.get("event"),
                plain.get("withheld", 0),
                None if payload is None else base64.b64decode(payload),
            )
    except (orjson.JSONDecodeError, KeyError, TypeError, binascii.Error):
        pass
    msg = f"rejected offset {number}: not a dead letter of this version, or the one before"
    raise InvariantError(msg)
