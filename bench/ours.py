"""The monitor as a contender: real workers over a topic that is full when they start."""

from __future__ import annotations

import os
import resource
import sys
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.integration.stack import Process, Stack

#: Nothing before this share of the events is timed: imports, joining the groups, the first fetch.
WARM: Final = 0.1
#: Each look costs the worker some milliseconds of what is measured.
POLL_SECONDS: Final = 0.5
#: Where nothing moved for so long and no lag is told, all is applied: lag is looked at every two seconds.
SETTLED_SECONDS: Final = 2.5
DEADLINE_SECONDS: Final = 900.0
W1_RULES: Final = """\
title: A request
id: 5b0c7f0e-0000-4000-8000-000000000001
name: request
logsource: {product: access-monitor, category: api_access}
detection:
  any:
    status|gte: 100
  condition: any
---
title: Requests
id: 5b0c7f0e-0000-4000-8000-000000000002
correlation: {type: event_count, rules: [request], group-by: [principal], timespan: 60s, condition: {gte: 600}}
level: high
---
title: Patients
id: 5b0c7f0e-0000-4000-8000-000000000003
correlation:
  type: value_count
  rules: [request]
  group-by: [principal]
  timespan: 10m
  condition: {field: patient, gte: 200}
level: high
"""


@dataclass(frozen=True)
class Measured:
    """What a run took from its warm point to its last event, durable and committed."""

    events: int
    seconds: float
    cpu_seconds: float
    rss_mb: float

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / self.seconds

    @property
    def cpu_per_million(self) -> float:
        """Processor seconds per million events, the broker's apart."""
        return self.cpu_seconds / self.events * 1_000_000

    def __str__(self) -> str:
        return f"{self.rate:>10,.0f} events/s {self.cpu_per_million:>8,.1f} CPU s/M {self.rss_mb:>6,.0f} MB"


def metrics(workers: list[Process]) -> Counter[str]:
    """Return the metrics of all workers, added up by name."""
    found: Counter[str] = Counter()
    for worker in workers:
        with urllib.request.urlopen(f"{worker.address()}/metrics", timeout=30) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith("access_monitor_"):
                    name, value = line.rsplit(" ", 1)
                    found[name.split("{")[0]] += float(value)  # type: ignore[assignment]
    return found


def used(workers: list[Process]) -> tuple[float, float]:
    """Return (processor seconds, peak megabytes) of all workers so far."""
    ticks, kilobytes = 0, 0
    for worker in workers:
        folder = Path("/proc", str(worker.process.pid))
        fields = (folder / "stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
        status = (folder / "status").read_text(encoding="utf-8")
        kilobytes += int(status.split("VmHWM:")[1].split()[0])
    return ticks / os.sysconf("SC_CLK_TCK"), kilobytes / 1024


def ended(workers: list[Process]) -> tuple[float, float]:
    """End workers, which makes durable what is not; return (seconds that it took, all their processor seconds)."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        # Not asked again: a second signal may come when its handler is gone, and then says how it ended.
        if worker.process.wait(timeout=DEADLINE_SECONDS):
            sys.exit(f"a worker did not end in order:\n{worker.said[-2000:]}")
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


class Ours:
    """One installation whose source is a topic that exists."""

    def __init__(
        self,
        folder: Path,
        bootstrap: str,
        topic: str,
        count: int,
        *,
        prefix: str,
        pinned: tuple[str, ...] = (),
    ) -> None:
        self._folder = folder
        self._count = count
        self._pinned = pinned
        self._arguments: dict[str, Any] = {"broker": "cluster", "bootstrap": bootstrap, "prefix": prefix}
        self._topic = topic

    def measure(self, rules: str, workers: int = 1, role: str = "") -> Measured:
        """Read the whole topic by some workers; `rules` is ``pack:default`` or ``w1.yml``.

        With `role` (intake or detect) only that is measured, of one worker that does nothing else.
        """
        path = rules
        if rules == "w1.yml":
            path = str(self._folder / rules)
            Path(path).write_text(W1_RULES, encoding="utf-8")
        source = {"name": "gate", "topic": self._topic, "realm": "gateway-1"}
        stack = Stack(
            self._folder,
            **self._arguments,
            kafka={"partitions": 8},
            sources=[source],
            rules={"paths": [path]},
            response={"mode": "shadow"},
        )
        try:
            done = stack.run("init", "--from", "earliest")
            if done.returncode:
                sys.exit(done.stderr)
            if role:
                return self._apart(stack, role)
            return self._watch([stack.spawn("worker", under=self._pinned) for _ in range(workers)])
        finally:
            stack.close()

    def _apart(self, stack: Stack, role: str) -> Measured:
        # It puts the rules in force, which intake waits for.
        enforcer = stack.worker("--roles", "enforce")
        intake = self._watch([stack.spawn("worker", "--roles", "intake", under=self._pinned)])
        enforcer.terminate()
        if role == "intake":
            return intake
        return self._watch([stack.spawn("worker", "--roles", "detect", under=self._pinned)], "rows_total")

    def _watch(self, started: list[Process], counted: str = "events_total") -> Measured:
        """Return what workers take until all is applied, and then to flush, commit and end."""
        for worker in started:
            worker.wait_ready()
        deadline = time.monotonic() + DEADLINE_SECONDS
        # Where all is read before we look, everything since they were ready is timed.
        began, warm = (0.0, time.perf_counter(), used(started)[0]), False
        moved, done = time.perf_counter(), 0.0
        while True:
            now, at = metrics(started), time.perf_counter()
            seen = now[f"access_monitor_{counted}"]
            applied = now["access_monitor_events_total"] + now["access_monitor_rows_total"]
            if applied > done:
                moved, done = at, applied
            if not warm and self._count * WARM <= seen < self._count:
                began, warm = (seen, at, used(started)[0]), True
            settled = at - moved > SETTLED_SECONDS and not now["access_monitor_lag_records"]
            if seen >= self._count and settled:
                break
            if time.monotonic() > deadline:
                sys.exit(f"{seen:,.0f} of {self._count:,} {counted} in {DEADLINE_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)
        megabytes = used(started)[1]
        seconds, cpu_seconds = ended(started)
        # Of detect rows are counted, several for an event.
        events = round((seen - began[0]) * self._count / seen)
        return Measured(events, moved - began[1] + seconds, cpu_seconds - began[2], megabytes)
