"""Memory that is free goes back to the system, also where something lives behind it."""

from __future__ import annotations

import asyncio
import platform
import resource
from contextlib import suppress
from pathlib import Path

import pytest

from monitor.observe.memory import give_back

PIECES = 40_000
PIECE_BYTES = 2_000


def resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries give back by themselves")
async def test_memory_in_front_of_what_lives_is_given_back() -> None:
    pieces = [bytes([1]) * PIECE_BYTES for _ in range(PIECES)]
    living = pieces[-1]
    full = resident_bytes()
    del pieces
    assert resident_bytes() > full - PIECES * PIECE_BYTES / 4  # glibc keeps it
    giving = asyncio.create_task(give_back())
    async with asyncio.timeout(20):
        while resident_bytes() > full - PIECES * PIECE_BYTES / 2:  # noqa: ASYNC110 - the system says nothing of it
            await asyncio.sleep(0)
    giving.cancel()
    with suppress(asyncio.CancelledError):
        await giving
    assert len(living) == PIECE_BYTES
