"""One run: a broker, an installation, its workers, traffic, a receiver, and the faults of a plan."""

from __future__ import annotations

import json
import os
import pickle
import secrets
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from monitor.errors import ExitCode
from monitor.settings import load_settings
from monitor.stream.topics import OWN_TOPICS, create_embedded
from tests.faults import oracles, responses, states
from tests.faults.crew import ROOT, Crew, metric
from tests.faults.load import Load
from tests.faults.logs import Positioner, Sampler, read_all
from tests.faults.receiver import SECRET, Receiver
from tests.rig.broker import create_topic
from tests.rig.cluster import Cluster
from tests.rig.configuration import write_settings
from tests.rig.faults import FaultyBroker

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.logs import Logs, Sample
    from tests.faults.plan import Act, Plan

SOURCE_PARTITIONS: Final = 3
_INITS: Final = 3
_NODES: Final = 3
#: Of a cluster of a run's own.
_PROPERTIES: Final = {"group.min.session.timeout.ms": "1000", "log.cleaner.backoff.ms": "200"}
#: Invariant F: everything is caught up so long after the last fault.
CATCH_UP_SECONDS: Final = 60.0
#: So many times as long, at most, where more processes want to run than there are cores.
LONGEST_CATCH_UP: Final = 4.0
_READY_SECONDS: Final = 90.0
#: What workers say where they mend something by themselves.
_SAID: Final = {"fetched_again": "fetching again what was dropped", "rejoins": "the role is back"}
#: More memory than a worker takes for so few subjects: something grows without bound.
MOST_BYTES: Final = 400 << 20
_TICK_SECONDS: Final = 0.05


@dataclass(slots=True)
class Result:
    """What a run did and what it left behind."""

    plan: dict[str, Any]
    faults: int = 0
    violations: list[str] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    catch_up_seconds: float = -1.0
    resident_bytes: int = 0
    stable_seconds: list[float] = field(default_factory=list)
    weights: list[tuple[float, list[int]]] = field(default_factory=list)
    seconds: float = 0.0


class World:
    """Everything that one plan needs, in a folder of its own."""

    def __init__(self, plan: Plan, folder: Path, kafka: str | None) -> None:
        self.plan = plan
        self._folder, self._kafka = folder, kafka
        self.stack = ExitStack()
        self._weights: list[tuple[float, list[int]]] = []
        self._stable_seconds: list[float] = []
        #: Since when not all workers are ready, where that is watched.
        self._unstable: float | None = None
        #: What is not settled yet, at the last look.
        self._missing = ""
        self._embedded: FaultyBroker | None = None
        self._cluster: Cluster | None = None
        self.receiver = self.stack.enter_context(Receiver())
        self._acts: dict[str, Callable[..., bool]] = {
            "kill": lambda seat: self.crew.seats[seat].send(signal.SIGKILL, "kill"),
            "term": lambda seat: self.crew.seats[seat].send(signal.SIGTERM, "term"),
            "stop": lambda seat: self.crew.seats[seat].send(signal.SIGSTOP),
            "continue": self._continue,
            "join": self._join,
            "leave": self._leave,
            "receiver": self._behave,
            "down": self._with_embedded(FaultyBroker.down),
            "up": self._with_embedded(FaultyBroker.up),
            "rtt": self._with_embedded(lambda broker, node, ms: broker.rtt(ms, node)),
            "errors": self._with_embedded(lambda broker, api, codes: broker.fail_requests(api, *codes)),
            "no errors": self._with_embedded(FaultyBroker.clear_failures),
            "lead": self._with_embedded(
                lambda broker, topic, partition, node: broker.lead(self._topic(topic), partition, node)
            ),
            "coordinate": self._with_embedded(
                lambda broker, role, node: broker.coordinate(self.settings.group(role), node)
            ),
            "power cut": self._with_cluster(Cluster.kill),
            "restart": self._with_cluster(Cluster.start),
            "freeze": self._with_cluster(Cluster.freeze),
            "thaw": self._with_cluster(Cluster.thaw),
            "compact": self._compact,
            # The traffic, or the seat, is made so from the start.
            "poison": lambda: True,
            "late": lambda: True,
            "armed": lambda _seat: True,
        }

    def run(self) -> Result:
        """Do what the plan says; return what did not hold."""
        began = time.monotonic()
        result = Result(self.plan.plain())
        with self.stack:
            self.install()
            self.play(result)
        result.seconds = round(time.monotonic() - began, 1)
        return result

    # What stands

    def install(self) -> None:
        """Start what the plan needs."""
        plan, stack = self.plan, self.stack
        prefix = f"row{plan.row}-{plan.seed}-{secrets.token_hex(3)}."
        if plan.broker == "embedded":
            self._embedded = stack.enter_context(FaultyBroker(_NODES))
            bootstrap = self._embedded.bootstrap_servers
        elif plan.nodes:
            self._cluster = Cluster(self._folder / "kafka", plan.nodes, properties=_PROPERTIES)
            stack.callback(self._cluster.close)
            self._cluster.start()
            self._cluster.wait()
            bootstrap = self._cluster.bootstrap
        else:
            assert self._kafka is not None
            bootstrap = self._kafka
        embedded = plan.broker == "embedded"
        secret = self._folder / "webhook.secret"
        secret.write_text(SECRET, encoding="utf-8")
        secret.chmod(0o600)
        config = write_settings(
            self._folder,
            broker="embedded" if embedded else "cluster",
            bootstrap=bootstrap,
            prefix=prefix,
            kafka={
                "session_timeout_seconds": 2 if embedded else 3,
                "request_timeout_seconds": 10,
                "connect_timeout_seconds": 30,
                "replication_factor": max(1, plan.nodes),
                "min_insync_replicas": max(1, plan.nodes - 1),
            },
            rules={"paths": [str(ROOT / "tests" / "faults" / "rules.yml")]},
            detect={"flush_interval": f"{int(plan.flush_seconds * 1000)}ms"},
            response={
                "mode": "enforce",
                "default_ttl": f"{int(plan.ttl_seconds)}s",
                "retry_ceiling": "1s",
                "quiet_after": "3s",
                # So many attackers at once would rightly blow the fuse.
                "fuse": {"ceiling": 10_000, "rule_ceiling": 10_000, "many": 10_000},
                "adapters": [
                    {
                        "type": "webhook",
                        "name": "gateway",
                        "url": self.receiver.url,
                        "secret_file": str(secret),
                        "timeout": "1s",
                        "private_addresses": True,
                    }
                ],
            },
            observe={"listen": "127.0.0.1:0", "log_format": "json"},
        )
        self.settings = load_settings(config)
        if self._embedded is not None:
            create_embedded(self.settings, self._embedded, source_partitions=SOURCE_PARTITIONS)
        else:
            create_topic(bootstrap, self.settings.sources[0].topic, SOURCE_PARTITIONS, max(1, plan.nodes))
            stack.callback(self._delete_topics)
        self._init(config)
        instance = f"{prefix}w" if plan.static else None
        self.crew = Crew(self._folder, config, plan.seats, instance=instance)
        stack.callback(self.crew.close)
        for seat, armed in zip(self.crew.seats, plan.armed, strict=False):
            seat.armed.extend(armed)
        self.load = Load(
            bootstrap,
            self.settings.sources[0].topic,
            partitions=SOURCE_PARTITIONS,
            rate=plan.rate,
            seconds=plan.seconds,
            seed=f"{plan.row}/{plan.seed}",
            refused=self.receiver.refuses,
            poison=plan.poison,
            late=plan.late,
            patients=plan.patients,
        )

    @staticmethod
    def _init(config: Path) -> None:
        """Make the topics; on a busy cluster not every node knows of them at once, so it may take two."""
        said = ""
        for _ in range(_INITS):
            done = subprocess.run(
                [sys.executable, "-m", "monitor", "init", "--from", "earliest", "-c", str(config)],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            if done.returncode == 0:
                return
            said = done.stderr
        raise AssertionError(said)

    def _delete_topics(self) -> None:
        """Leave nothing behind on a broker that other runs share."""
        if self._cluster is None:
            admin = AdminClient({"bootstrap.servers": self._kafka or "", "log_level": 0})
            names = [self.settings.sources[0].topic, *(self.settings.topic(topic) for topic in OWN_TOPICS)]
            for future in admin.delete_topics(names).values():
                future.exception(30)

    def _topic(self, topic: str) -> str:
        return self.settings.sources[0].topic if topic == "gate" else self.settings.topic(topic)

    # What happens

    def play(self, result: Result) -> None:
        """Have it all happen, and judge it."""
        for seat in self.crew.seats[: self.plan.workers]:
            seat.start()
        if not self.plan.armed:
            self._until(lambda: any(seat.ready for seat in self.crew.seats), _READY_SECONDS)
        sampler = Sampler(self.settings, SOURCE_PARTITIONS)
        self.stack.callback(sampler.stop)
        self.load.start()
        self.stack.callback(self.load.stop)
        result.faults += self._acts_in_time()
        healed = time.monotonic()
        caught_up = self._caught_up()
        result.catch_up_seconds = round(time.monotonic() - healed, 1)
        self._weigh()
        codes = self.crew.end()
        sampler.stop()
        result.ends = [f"{end.seat} {end.cause} {end.code} {end.said}".strip() for end in self.crew.ends]
        result.steps = [end.cause for end in self.crew.ends if ":KILL" in end.cause]
        result.faults += len(result.steps)
        verdict = oracles.Verdict()
        verdict.require(
            caught_up,
            f"F not caught up {result.catch_up_seconds:.0f} s after the last fault: {self._missing}",
        )
        result.resident_bytes = max(max(held) for _, held in self._weights)
        result.weights, result.stable_seconds = self._weights, self._stable_seconds
        verdict.require(
            result.resident_bytes < MOST_BYTES, f"a worker took {result.resident_bytes >> 20} MiB"
        )
        verdict.require(not any(codes), f"G workers that were asked to end gave {codes}")
        if caught_up:
            self.logs, self.samples = read_all(self.settings, SOURCE_PARTITIONS), sampler.samples
            self.judge(self.logs, self.samples, verdict)
            if verdict.violations:
                (self._folder / "logs.pickle").write_bytes(pickle.dumps(self.logs))
        said = "".join(log.read_text(errors="replace") for log in self._folder.glob("worker-*.log"))
        verdict.seen |= {name: said.count(text) for name, text in _SAID.items()}
        result.violations, result.seen = verdict.violations, dict(verdict.seen)

    def _acts_in_time(self) -> int:
        began, faults = time.monotonic(), 0
        acts = list(self.plan.acts)
        while acts or not self.load.over:
            self.crew.look()
            refused = [end.said for end in self.crew.ends if end.code == ExitCode.CONFIG]
            assert not refused, refused[0]
            self._weigh()
            faults += self._hurry()
            while acts and time.monotonic() - began >= acts[0].at:
                act = acts.pop(0)
                faults += self._act(act)
            time.sleep(_TICK_SECONDS)
        self._continue()
        self.receiver.behave("ok")
        # What is armed yet must not go off in what follows.
        for seat in self.crew.seats:
            seat.armed.clear()
            if seat.step.endswith(":KILL") and seat.process is not None and not seat.cause:
                seat.send(signal.SIGKILL, "kill")
                faults += 1
        return faults

    def _hurry(self) -> int:
        """Where steps take turns: kill who does not reach its own, and end the traffic after the last."""
        if not self.plan.patience:
            return 0
        if not any(seat.armed or seat.step for seat in self.crew.seats):
            self.load.stop()
        killed = 0
        for seat in self.crew.seats:
            if seat.step and seat.ready_seconds() > self.plan.patience:
                killed += seat.send(signal.SIGKILL, "kill")
        return killed

    def _act(self, act: Act) -> bool:
        done = self._acts[act.what](*act.args)
        if act.what == "kill" and self.plan.watch:
            self._unstable = time.monotonic()
        return done and act.fault

    def _caught_up(self) -> bool:
        positioner = Positioner(self.settings, SOURCE_PARTITIONS)
        calm = 0

        def settled() -> bool:
            nonlocal calm
            try:
                lag = positioner.lag()
            except KafkaException as error:
                self._missing = repr(error)
                return False
            undelivered = sum(
                metric(seat.metrics(), "access_monitor_oldest_undelivered_seconds")
                for seat in self.crew.seats
            )
            # Suspensions end by themselves, which starts something anew.
            # One that has just been started again has no handler for SIGTERM yet. (The embedded broker may
            # leave a member out of a group whose coordinator moved; the others have its share.)
            ready = [seat.ready for seat in self.crew.seats if seat.wanted]
            up = any(ready) if self._embedded is not None else all(ready)
            ending = self._ending()
            behind = {f"{topic}-{number}": count for (topic, number), count in lag.items()}
            self._missing = f"ready {ready}, behind {behind}, undelivered {undelivered:g} s, ending {ending}"
            calm = calm + 1 if up and not lag and not undelivered and not ending else 0
            return calm >= 2

        try:
            # On a machine that does other things beside, it takes its time.
            cores = os.cpu_count() or 1
            busy = max(1.0, min(os.getloadavg()[0] / cores, LONGEST_CATCH_UP))
            return self._until(settled, busy * CATCH_UP_SECONDS, pause=0.3)
        finally:
            positioner.close()

    def _ending(self) -> bool:
        """Return whether a suspension is about to end by itself."""
        soon = datetime.now(UTC) + timedelta(seconds=CATCH_UP_SECONDS)
        return any(until and datetime.fromisoformat(until) < soon for until in self.receiver.until.values())

    def _weigh(self) -> None:
        """Note about every second how much memory each worker holds."""
        now = time.monotonic()
        if not self._weights or now - self._weights[-1][0] > 1:
            self._weights.append((now, [seat.resident_bytes for seat in self.crew.seats]))
            if self._unstable is not None and all(seat.ready for seat in self.crew.seats):
                self._stable_seconds.append(round(time.monotonic() - self._unstable, 1))
                self._unstable = None

    def judge(self, logs: Logs, samples: list[Sample], verdict: oracles.Verdict) -> None:
        """Note what does not hold."""
        settings = self.settings
        fold = oracles.Fold(settings, logs)
        oracles.check_routed(settings, logs, fold, SOURCE_PARTITIONS, verdict)
        oracles.check_findings(logs, fold, verdict)
        states.check_state(settings, logs, fold, verdict, fenced=self._embedded is None)
        compacted = any(act.what == "compact" for act in self.plan.acts)
        oracles.check_commits(settings, logs, fold, samples, verdict, compacted=compacted)
        entries = responses.check_ledger(logs, fold, verdict)
        responses.check_delivered(logs, entries, self.receiver, verdict)

    def _until(self, condition: Callable[[], bool], seconds: float, *, pause: float = 0.1) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            self.crew.look()
            self._continue()  # a step at which a worker stands still may be reached only now
            time.sleep(pause)
        return True

    # The faults

    def _continue(self) -> bool:
        for seat in self.crew.seats:
            seat.send(signal.SIGCONT)
        return True

    def _join(self, index: int) -> bool:
        self.crew.seats[index].wanted = True
        return True

    def _leave(self, index: int) -> bool:
        seat = self.crew.seats[index]
        seat.wanted = False
        return seat.send(signal.SIGTERM, "leave")

    def _behave(self, mode: str) -> bool:
        self.receiver.behave(mode)
        return True

    def _with_embedded(self, fault: Callable[..., None]) -> Callable[..., bool]:
        def act(*args: Any) -> bool:
            assert self._embedded is not None
            fault(self._embedded, *args)
            return True

        return act

    def _with_cluster(self, fault: Callable[..., None]) -> Callable[..., bool]:
        def act(*args: Any) -> bool:
            assert self._cluster is not None
            fault(self._cluster, *args)
            return True

        return act

    def _compact(self) -> bool:
        """Have the broker compact `state` at once, whatever its settings say."""
        admin = AdminClient({"bootstrap.servers": ",".join(self.settings.kafka.bootstrap_servers)})
        at_once = {"min.compaction.lag.ms": "0", "segment.ms": "500", "min.cleanable.dirty.ratio": "0.001"}
        resource = ConfigResource(
            ResourceType.TOPIC,
            self.settings.topic("state"),
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in at_once.items()
            ],
        )
        for future in admin.incremental_alter_configs([resource]).values():
            future.result()
        return True


def main() -> int:
    """Run the plan of ``ROW SEED FOLDER [BOOTSTRAP]`` and print its result as one JSON line."""
    from tests.faults.plan import make
    from tests.faults.rows import ROWS

    # Whoever ends a run ends its workers with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    row, seed, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    kafka = sys.argv[4] if len(sys.argv) > 4 else None
    world = World(make(row, seed, ROWS), folder, kafka)
    result = world.run()
    result.weights = []
    print(json.dumps(asdict(result)))
    sys.stdout.flush()
    os._exit(bool(result.violations))


if __name__ == "__main__":
    main()
