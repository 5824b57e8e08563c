from collections.abc import Callable
from typing import TypeVar

_Record = TypeVar("_Record")

# Whether the batch that begins at this place bears its checksum; None where it is not of version 2, or the processor
# has no instruction for it.
def intact(content: bytes, at: int, /) -> bool | None: ...

# The records of that batch from offset `least` on: `make` is called with topic, partition, offset, time in epoch ms,
# key, value and headers. None where the batch is compressed, has more than `most` records, is of another version or
# a marker, or does not keep to the format.
def unpack(
    content: bytes,
    at: int,
    least: int,
    most: int,
    topic: str,
    partition: int,
    make: Callable[..., _Record],
    /,
) -> list[_Record] | None: ...
