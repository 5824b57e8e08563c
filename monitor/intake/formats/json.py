"""Bytes of a record as JSON, whatever a client had its gateway write."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from monitor.errors import RejectedRecordError

#: Characters that JSON does not allow in a text; outside of one they are white space, or wrong anyway.
_CONTROLS: Final = dict.fromkeys(range(32), " ")
#: An escaped half of a character, without its other half. Python's parser has no text for it.
_lone_half = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_BYTE_ORDER_MARK: Final = "\ufeff"


def parse(value: bytes | None, limit: int) -> Any:
    """Return the JSON value of a record of at most `limit` bytes.

    What a client can put into its request makes no record unreadable: bytes that are not UTF-8, raw
    control characters and halves of characters are replaced. Raises RejectedRecordError else.
    """
    if not value:
        raise RejectedRecordError("empty", "record: expected JSON, got nothing")
    if len(value) > limit:
        raise RejectedRecordError("too_large", f"record: expected at most {limit} bytes")
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        pass
    if value.isspace():
        raise RejectedRecordError("empty", "record: expected JSON, got white space")
    return parse_text(value.decode("utf-8", "replace"))


def parse_text(text: str) -> Any:
    """Return the JSON value of a text, as `parse` does."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    text = text.removeprefix(_BYTE_ORDER_MARK).translate(_CONTROLS)
    try:
        return orjson.loads(_lone_half.sub(r"\\ufffd", text).encode("utf-8", "replace"))
    except orjson.JSONDecodeError:
        pass  # its error holds the record
    raise RejectedRecordError("not_json", "record: expected one well-formed JSON value")
