"""What a process holds in memory: kept out of files, since intake's has raw ids in it, and given back unused."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import resource
import sys
from typing import Final

import structlog

log = structlog.get_logger(__name__)

_PR_SET_DUMPABLE: Final = 4
#: How often what is free is given back, in seconds.
_GIVE_BACK_SECONDS: Final = 60.0


def forbid_dumps() -> None:
    """Write no core file, and let no other process of this user read our memory (ptrace, /proc/PID/mem).

    Where the kernel does not take it that is said, and the process goes on.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
            log.warning("memory can be read by other processes of this user", errno=ctypes.get_errno())


def set_apart() -> None:
    """Free what is garbage, and have Python look no more at what stays.

    Kept with the rest, garbage would stay for good, and each time would add to it; also what was set apart before
    may be garbage by now. It takes one look at everything: 60 ms in a small worker, about 0.3 s with a million
    subjects at rest.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


async def give_back() -> None:
    """Give free memory back to the system, now and every minute, without end.

    What a take-over reads is freed soon, but glibc keeps its pages for as long as anything behind them lives:
    after ten minutes of take-overs two thirds of its heap were free, 44 MB. Where an allocation meets this it
    waits, 0.2 s at most in a heap of 1.8 GB. Other C libraries have no such call; nothing is done there.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while trim is not None:
        await asyncio.to_thread(trim, 0)
        await asyncio.sleep(_GIVE_BACK_SECONDS)
