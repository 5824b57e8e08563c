"""A limit on what a compressed batch may inflate to: a gigabyte of zeros travels as a megabyte.

aiokafka inflates a batch whole, whatever it becomes. Here its decoders are replaced by ones that stop at a
limit, before the memory is taken; the process then ends with what a person must do, since going on by
itself would skip records (docs/formats/rejected.md, *Batches that inflate*).
"""

from __future__ import annotations

import struct
import sys
import zlib
from typing import TYPE_CHECKING, Any, Final

import cramjam
from aiokafka.record import default_records, legacy_records

from monitor.errors import ConfigurationError, Fault

if TYPE_CHECKING:
    from collections.abc import Callable

#: What cramjam says where there was no more room.
_FULL: Final = "failed to write whole buffer"
_XERIAL: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES: Final = 16
_limit_bytes = 64 << 20


def limit_inflation(limit_bytes: int) -> None:
    """Inflate no batch of this process to more than `limit_bytes`."""
    global _limit_bytes  # noqa: PLW0603 - aiokafka's decoders are functions of a module
    _limit_bytes = limit_bytes
    # Where batches are read, compiled or not, the decoders are names of the module.
    for batch in (default_records.DefaultRecordBatch, legacy_records.LegacyRecordBatch):
        module = sys.modules[batch.__module__]
        for name, decode in _DECODERS.items():
            if hasattr(module, name):
                setattr(module, name, decode)


def _gzip(payload: Any) -> bytes:
    decompressor = zlib.decompressobj(wbits=31)
    data = decompressor.decompress(bytes(payload), _limit_bytes + 1)
    if len(data) > _limit_bytes:
        raise _too_large()
    return data


def _zstd(payload: Any) -> bytes:
    return _into_room(cramjam.zstd.decompress_into, payload)


def _lz4(payload: Any) -> bytes:
    return _into_room(cramjam.lz4.decompress_into, payload)


def _snappy(payload: Any) -> bytes:
    data = bytes(payload)
    if not data.startswith(_XERIAL):
        return _snappy_block(data, _limit_bytes)
    parts: list[bytes] = []
    room = _limit_bytes
    at = _XERIAL_HEADER_BYTES
    while at < len(data):
        (size,) = struct.unpack_from("!i", data, at)
        at += 4
        parts.append(_snappy_block(data[at : at + size], room))
        room -= len(parts[-1])
        at += max(size, 0)
    return b"".join(parts)


def _snappy_block(data: bytes, room: int) -> bytes:
    if cramjam.snappy.decompress_raw_len(data) > room:
        raise _too_large()
    return bytes(cramjam.snappy.decompress_raw(data))


def _into_room(decompress_into: Callable[[bytes, bytearray], int], payload: Any) -> bytes:
    room = bytearray(_limit_bytes)  # of pages that are not there until they are written
    try:
        length = decompress_into(bytes(payload), room)
    except cramjam.DecompressionError as error:
        if _FULL in str(error):
            raise _too_large() from None
        raise
    return bytes(memoryview(room)[:length])


def _too_large() -> ConfigurationError:
    fault = Fault(
        "a compressed batch",
        f"inflates to more than {_limit_bytes:,} bytes (kafka.max_inflated_batch_bytes)",
        "raise it where your gateways write such batches; else see docs/formats/rejected.md for the way past it",
    )
    return ConfigurationError("a batch of a source cannot be read", [fault])


_DECODERS: Final[dict[str, Callable[[Any], bytes]]] = {
    "gzip_decode": _gzip,
    "lz4_decode": _lz4,
    "snappy_decode": _snappy,
    "zstd_decode": _zstd,
}
