"""Keeps what a process holds in memory out of files: intake's memory has raw ids in it."""

from __future__ import annotations

import ctypes
import resource
import sys
from typing import Final

import structlog

log = structlog.get_logger(__name__)

_PR_SET_DUMPABLE: Final = 4


def forbid_dumps() -> None:
    """Write no core file, and let no other process of this user read our memory (ptrace, /proc/PID/mem).

    Where the kernel does not take it that is said, and the process goes on.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
            log.warning("memory can be read by other processes of this user", errno=ctypes.get_errno())
