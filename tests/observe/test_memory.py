"""Memory that is free goes back to the system, also where something lives behind it."""

from __future__ import annotations

import asyncio
import platform
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from monitor.observe.memory import give_back

ROOT = Path(__file__).parents[2]
#: Prints how many buffers of 8 MB still take memory once freed, with something that lives behind each, without
#: and with what the worker sets.
LARGE = """
import resource
from monitor.observe.memory import keep_large_apart

def resident_bytes():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

living = []
def left():
    b"x" * (8 << 20)  # from now on glibc takes this size from its heap
    before = resident_bytes()
    large = b"x" * (8 << 20)
    living.append(b"y" * 2_000)
    del large
    return round((resident_bytes() - before) / (8 << 20))

without = left()
keep_large_apart()
print(without, left())
"""
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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries decide that themselves")
def test_a_large_buffer_leaves_at_once_however_often_there_was_one() -> None:
    """In a process of its own: what is set stays set."""
    done = subprocess.run(
        [sys.executable, "-c", LARGE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    without, with_it = (int(one) for one in done.stdout.split())
    assert with_it == 0 < without
