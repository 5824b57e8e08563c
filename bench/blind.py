"""For how long nothing is found or refused while workers end, start, move partitions, or have one hot credential.

Real Kafka and real workers. Beside a steady load fresh credentials exceed a small limit at times fixed before
(bench/probing.py), while one act after the other is done. Told of each: the longest time from due to finding and
to the first refusal over the credentials that were due meanwhile, how many of them took more than a second, and
the longest time in which no finding was made at all (without any act that is 1 / --probes). The last part sends
half of all events by one credential and tells what others wait that share its partitions, and others that do not.

``python bench/blind.py [--only one-kill,hot] [--rate 500] [--probes 10] [--session 10] [--json FILE] [--kafka H:P]``
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import count, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.ours import metrics
from bench.probing import HOT, HOT_PARTITION, PARTITIONS, Load, Probes, install, percentiles
from monitor.core.events import AXIS_PRINCIPAL, credential_subject
from monitor.intake.keys import load_keys
from tests.integration.stack import DEADLINE_SECONDS, Process, Stack
from tests.rig import broker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SEEN: Final = ("finding", "refused")
TERM, KILL = signal.SIGTERM, signal.SIGKILL
#: All is well for so long before an act, and the credentials count that are due so long before and after it.
STEADY_SECONDS: Final = 2.0
BEFORE_SECONDS: Final = 0.5
AFTER_SECONDS: Final = 2.0
#: What took longer was late.
LATE_SECONDS: Final = 1.0
HOT_PROBES: Final = 20.0
#: Left to the load before the credentials of the hot part are due, or as long as these are.
HOT_WARM_SECONDS: Final = 3.0


class Crew:
    """The workers of one installation: whole ones, or one without and two with nothing but the enforcer."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.workers: list[Process] = []
        self.enforcers: list[Process] = []

    def be(self, workers: int, *, apart: bool) -> None:
        """Become so many workers before an act; `apart` is with the enforcer in two processes of its own."""
        if apart != bool(self.enforcers):
            end(self.workers + self.enforcers, TERM)
            self.workers, self.enforcers = [], []
        end(self.workers[workers:], TERM)
        self.workers = self.workers[:workers]
        while len(self.workers) < workers:
            roles = ("--roles", "intake,detect") if apart else ()
            self.workers.append(self._stack.spawn("worker", *roles))
        while apart and len(self.enforcers) < 2:
            self.enforcers.append(self._stack.spawn("worker", "--roles", "enforce"))
        self.wait_ready()

    def restart(self, workers: int, how: signal.Signals) -> None:
        """End some workers and start as many at once."""
        end(self.workers[:workers], how)
        self.workers = self.workers[workers:] + [self._stack.spawn("worker") for _ in range(workers)]
        self.wait_ready()

    def add(self) -> None:
        """Start one more."""
        self.workers.append(self._stack.spawn("worker"))
        self.wait_ready()

    def remove(self) -> None:
        """End one."""
        end([self.workers.pop(0)], TERM)

    def end_enforcer(self, how: signal.Signals) -> None:
        """End the enforcer that is active; the other one stands by."""
        (active,) = (one for one in self.enforcers if metrics([one])["access_monitor_enforcer_active"])
        self.enforcers.remove(active)
        end([active], how)

    def wait_ready(self) -> None:
        """Return once all have their partitions."""
        for one in (*self.workers, *self.enforcers):
            one.wait_ready()


def end(processes: list[Process], how: signal.Signals) -> None:
    """End processes together."""
    for one in processes:
        one.process.send_signal(how)
    for one in processes:
        one.process.wait(DEADLINE_SECONDS)


@dataclass(frozen=True)
class Act:
    """What is done, and to how many workers."""

    name: str
    says: str
    workers: int
    do: Callable[[Crew], None]
    apart: bool = False


ACTS: Final = (
    Act("alone-term", "the only worker restarts, SIGTERM", 1, lambda crew: crew.restart(1, TERM)),
    Act("alone-kill", "the only worker restarts, kill -9", 1, lambda crew: crew.restart(1, KILL)),
    Act("added", "a second worker is added", 1, Crew.add),
    Act("one-term", "one of two workers restarts, SIGTERM", 2, lambda crew: crew.restart(1, TERM)),
    Act("one-kill", "one of two workers restarts, kill -9", 2, lambda crew: crew.restart(1, KILL)),
    Act("all-term", "both workers restart, SIGTERM", 2, lambda crew: crew.restart(2, TERM)),
    Act("all-kill", "both workers restart, kill -9", 2, lambda crew: crew.restart(2, KILL)),
    Act("removed", "one of two workers is removed, SIGTERM", 2, Crew.remove),
    Act("enforcer-term", "the active enforcer ends, SIGTERM", 1, lambda crew: crew.end_enforcer(TERM), True),
    Act("enforcer-kill", "the active enforcer ends, kill -9", 1, lambda crew: crew.end_enforcer(KILL), True),
)
HOT_PART: Final = "hot"


@dataclass(frozen=True)
class Told:
    """What was seen of the credentials that were due around an act."""

    act: str
    seconds: float
    probes: int
    late: int
    never: int
    finding: float
    refused: float
    silent: float


class Bench:
    """One installation, the credentials that exceed a limit, and who does what to its workers."""

    def __init__(self, stack: Stack, many: Probes, bootstrap: str, session: aiohttp.ClientSession) -> None:
        self._stack = stack
        self._many = many
        self._bootstrap = bootstrap
        self._session = session
        self.crew = Crew(stack)

    async def steadily(self, rate: float, probe: Iterable[tuple[str, int | None]]) -> None:
        """Let credentials exceed the limit, so many a second, without end."""
        begin = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number, (name, partition) in enumerate(probe):
                at = begin + number / rate
                await asyncio.sleep(max(0.0, at - time.monotonic()))
                group.create_task(self._many.run(name, at, number, self._session, partition))

    async def seen(self, since: float, until: float) -> list[str]:
        """Return who was due in a time, once all of them are found and refused (or a minute later)."""
        await asyncio.sleep(max(0.0, until - time.monotonic()))
        names = [name for name, at in self._many.due.items() if since <= at < until]
        if not names:
            sys.exit("nobody was due: what makes them has ended")
        await self._many.wait(names, SEEN, DEADLINE_SECONDS)
        return names

    async def act(self, act: Act) -> Told:
        """Do it, and tell what was seen meanwhile."""
        await asyncio.to_thread(self.crew.be, act.workers, apart=act.apart)
        began = time.monotonic()
        await self.seen(began, began + STEADY_SECONDS)
        began = time.monotonic()
        await asyncio.to_thread(act.do, self.crew)
        done = time.monotonic()
        since, until = began - BEFORE_SECONDS, done + AFTER_SECONDS
        await self.seen(since, until)
        # Whoever was due until all of these were seen belongs to it too.
        names = await self.seen(since, time.monotonic())
        longest: dict[str, list[float]] = {}
        now = time.monotonic()
        for step in SEEN:
            seen = self._many.seen[step]
            longest[step] = [seen.get(name, now) - self._many.due[name] for name in names]
        found = self._many.seen["finding"]
        at = sorted({since, *(found[name] for name in names if name in found)})
        return Told(
            act.says,
            seconds=done - began,
            probes=len(names),
            late=sum(seconds > LATE_SECONDS for seconds in longest["refused"]),
            never=sum(name not in self._many.seen["refused"] for name in names),
            finding=max(longest["finding"]),
            refused=max(longest["refused"]),
            silent=max((later - earlier for earlier, later in pairwise(at)), default=now - since),
        )

    def _named(self, kind: str, *, near: bool) -> Iterator[str]:
        """Yield credentials that share the hot one's routed partition, or that do not."""
        settings = self._stack.settings
        of = load_keys(settings.privacy.key_file).partitioner(AXIS_PRINCIPAL, settings.kafka.partitions)
        its = of(credential_subject("gate", HOT))
        for number in count():
            name = f"{kind}-{number}"
            if (of(credential_subject("gate", name)) == its) is near:
                yield name

    def _by_turns(self, hot: bool) -> Iterator[tuple[str, int]]:
        """Yield neighbours of the hot credential and others, with their source partitions."""
        near, far = self._named(f"near-{hot:d}", near=True), self._named(f"far-{hot:d}", near=False)
        for number in count(1):
            yield next(near), HOT_PARTITION
            yield next(far), HOT_PARTITION + 1 + number % (PARTITIONS - 1)

    async def hot(self, rate: float, seconds: float) -> dict[str, dict[str, float | None]]:
        """Return milliseconds to the finding, without and with a hot credential, for its neighbours and others."""
        await asyncio.to_thread(self.crew.be, 1, apart=False)
        told = {}
        for hot in (False, True):
            load = Load(self._bootstrap, self._stack.settings.sources[0].topic, rate, hot=hot)
            try:
                await asyncio.sleep(min(HOT_WARM_SECONDS, seconds))
                running = asyncio.create_task(self.steadily(HOT_PROBES, self._by_turns(hot)))
                began = time.monotonic()
                names = await self.seen(began, began + seconds)
                await ended(running)
            finally:
                load.close()
            found, now = self._many.seen["finding"], time.monotonic()
            for kind, says in (("near", "on its partitions"), ("far", "elsewhere")):
                times = [
                    (found.get(name, now) - self._many.due[name]) * 1000
                    for name in names
                    if name.startswith(kind)
                ]
                told[f"{'half by one' if hot else 'all alike'}, {says}"] = percentiles(times)
        return told


async def ended(task: asyncio.Task[None]) -> None:
    """End a task; raises what it failed with."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def show(told: Told) -> None:
    """Print a line."""
    never = f", {told.never} never" if told.never else ""
    print(
        f"{told.act:<40}{told.seconds:>7.1f}{told.finding:>9.2f}{told.refused:>9.2f}{told.silent:>9.2f}"
        f"  {told.late} of {told.probes} late{never}",
        flush=True,
    )


async def measure(options: argparse.Namespace, folder: Path, bootstrap: str) -> dict[str, Any]:
    """Do what is wanted, one after the other."""
    prefix = f"bench-{os.getpid()}-blind."
    kafka = {"session_timeout_seconds": options.session}
    stack = await asyncio.to_thread(install, folder, bootstrap, prefix, kafka=kafka)
    acts, told = [], {}
    try:
        many = Probes(stack, bootstrap, await asyncio.to_thread(stack.spawn("authz").address))
        following = asyncio.create_task(many.follow())
        async with aiohttp.ClientSession() as session:
            bench = Bench(stack, many, bootstrap, session)
            await asyncio.to_thread(bench.crew.be, 1, apart=False)
            load = Load(bootstrap, stack.settings.sources[0].topic, options.rate)
            endless = ((f"probe-{number}", None) for number in count())
            running = asyncio.create_task(bench.steadily(options.probes, endless))
            print(f"{'':<40}{'act s':>7}{'finding':>9}{'refused':>9}{'silent':>9}  s at most", flush=True)
            for act in ACTS:
                if act.name in options.only:
                    acts.append(await bench.act(act))
                    show(acts[-1])
            await ended(running)
            load.close()
            if HOT_PART in options.only:
                told = await bench.hot(options.hot_rate, options.hot_seconds)
                print(f"\nto the finding, ms, at {options.hot_rate:,.0f} events/s, one worker")
                for says, one in told.items():
                    print(f"{says:<40}" + "".join(f" {name} {one[name]}" for name in ("p50", "p99", "p100")))
        following.cancel()
        many.close()
        return {"acts": [asdict(one) for one in acts], "hot": told}
    finally:
        stack.close()


def main() -> None:
    """Print a line for each act."""
    names = ",".join([*(act.name for act in ACTS), HOT_PART])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=names, help=f"of {names}")
    parser.add_argument("--rate", type=float, default=500.0, help="events a second beside")
    parser.add_argument("--hot-rate", type=float, default=4_000.0, help="events a second of the hot part")
    parser.add_argument("--hot-seconds", type=float, default=12.0, help="without it, and as long with it")
    parser.add_argument("--probes", type=float, default=10.0, help="credentials a second over the limit")
    parser.add_argument("--session", type=float, default=10.0, help="kafka.session_timeout_seconds")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--kafka", help="HOST:PORT of a broker; default: one of its own")
    options = parser.parse_args()
    options.only = options.only.split(",")
    bootstrap = options.kafka or broker.start(os.getpid())
    with tempfile.TemporaryDirectory(prefix="access-monitor-bench-") as folder:
        report = asyncio.run(measure(options, Path(folder), bootstrap))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
