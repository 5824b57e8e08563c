"""Runs a command that the kernel kills when its parent is gone: ``python leash.py PARENT COMMAND…``.

So that nothing of the demo is left running, however the demo itself ends. A script of its own, and
not a function between fork and exec, since the demo has threads (librdkafka's).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Become the command; ends at once where the parent has gone already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - the demo's own command


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
