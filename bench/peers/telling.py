"""What every contender written in Python tells of itself: how long and how much processor for how many."""

from __future__ import annotations

import json
import os
import resource
import sys
import time

BOOTSTRAP = os.environ.get("BENCH_BOOTSTRAP", "")
TOPIC = os.environ.get("BENCH_TOPIC", "")
COUNT = int(os.environ.get("BENCH_COUNT", "0"))
PARTITIONS = int(os.environ.get("BENCH_PARTITIONS", "4"))
#: Nothing before this share of the events is timed: imports, joining the group, the first fetch.
WARM = 0.1


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Progress:
    """Counts events; at the last one it prints one JSON line and, if asked to, ends the process."""

    def __init__(self) -> None:
        self.seen = 0
        self._warm_at = int(COUNT * WARM)
        self._from: tuple[int, float, float] | None = None

    def add(self, number: int = 1) -> bool:
        """Count events; return whether these were the last."""
        self.seen += number
        if self._from is None and self.seen >= self._warm_at:
            self._from = self.seen, time.perf_counter(), _cpu_seconds()
        return self.seen >= COUNT

    def tell(self) -> None:
        """Print what was measured."""
        if self._from is None:
            sys.exit("told too early")
        seen, began, cpu = self._from
        events = self.seen - seen
        told = {
            "events": events,
            "seconds": time.perf_counter() - began,
            "cpu_seconds": _cpu_seconds() - cpu,
            "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        # Frameworks put what is printed into their logs.
        os.write(1, f"{json.dumps(told)}\n".encode())

    def end(self) -> None:
        """Print what was measured and end the process at once: whatever runs it would go on for ever."""
        self.tell()
        os._exit(0)
