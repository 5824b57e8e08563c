from collections.abc import Callable, Container, Sequence
from typing import Any

class Repeats:
    def __init__(self, limit: int = ..., /) -> None: ...
    def note(self, value: bytes, /) -> bool: ...

class Router:
    def __init__(self, specification: tuple[Any, ...], /) -> None: ...
    def take(
        self,
        values: list[bytes | None],
        offsets: list[int],
        careful: Container[int] | None,
        read: Callable[[int], Sequence[Any] | None],
        route: Callable[[int, Sequence[Any]], tuple[list[tuple[int, bytes]], int] | None],
        canonical: tuple[str, bool, int] | None,
        repeats: Repeats | None,
        /,
    ) -> tuple[list[tuple[int, int, int, bytes]], int, int, int, int, list[tuple[str | None, int]], int]: ...
    def read_log(
        self,
        values: list[bytes | None],
        offsets: list[int],
        taken: list[int] | None,
        read: Callable[[int], Sequence[Any] | None],
        route: Callable[[int, Sequence[Any]], tuple[list[tuple[int, bytes]], int] | None],
        canonical: tuple[str, bool, int] | None,
        latest_ms: int,
        never: int,
        /,
    ) -> tuple[list[tuple[list[int], list[bytes]]], int, int, int, int, int]: ...

def probe_conditions(spec: tuple[Any, ...], rows: Sequence[bytes], /) -> tuple[list[int], list[int]]: ...
def probe_blake2b(message: bytes, key: bytes, person: bytes, size: int, /) -> bytes: ...
def probe_time(text: str, /) -> int | None: ...
def probe_canonical(record: bytes, realm: str, trust_ids: bool, most_bytes: int, /) -> list[Any] | None: ...
