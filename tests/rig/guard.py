"""Runs a command for as long as another process lives: ``python guard.py PID FOLDER COMMAND…``.

So a broker cannot outlive the test run that started it, however that run ends. FOLDER is removed
at the end.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time


def main(owner: int, folder: str, command: list[str]) -> int:
    """Run the command until it ends, `owner` is gone or SIGTERM comes; return its exit code."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    while child.poll() is None and _alive(owner):
        time.sleep(0.2)
    child.terminate()
    try:
        return child.wait(10)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
