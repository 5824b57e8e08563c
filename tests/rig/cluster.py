"""A Kafka of some nodes for one test, which may stop, kill and start each of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from monitor.demo.processes import free_ports
from tests.rig import guard
from tests.rig.broker import CLUSTER_ID, JARS, START_SECONDS, run_owner

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_STOP_SECONDS: Final = 30.0

_PROPERTIES: Final = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/log
num.partitions=1
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
log.initial.task.delay.ms=86400000
offsets.topic.num.partitions=4
offsets.topic.replication.factor={copies}
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={enough}
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""


class Cluster:
    """Nodes count from 1; each is broker and controller. `properties` add to or replace ours."""

    def __init__(
        self,
        folder: Path,
        nodes: int = 1,
        *,
        properties: Mapping[str, str] | None = None,
        format_options: tuple[str, ...] = (),
    ) -> None:
        self._folder = folder
        self.ports = free_ports(nodes)
        controllers = free_ports(nodes)
        voters = ",".join(f"{n}@127.0.0.1:{port}" for n, port in enumerate(controllers, 1))
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._java = ["java", "-Xmx300m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{JARS}/*"]
        for node in range(1, nodes + 1):
            self._home(node).mkdir(parents=True)
            text = _PROPERTIES.format(
                node=node,
                voters=voters,
                port=self.ports[node - 1],
                controller=controllers[node - 1],
                folder=self._home(node),
                copies=nodes,
                enough=max(1, nodes - 1),
            )
            lines = dict(line.split("=", 1) for line in text.splitlines())
            lines |= {
                name: value.format(controller=controllers[node - 1])
                for name, value in (properties or {}).items()
            }
            self._properties(node).write_text(
                "".join(f"{n}={v}\n" for n, v in lines.items()), encoding="utf-8"
            )
            subprocess.run(
                [
                    *self._java,
                    "kafka.tools.StorageTool",
                    "format",
                    "-t",
                    CLUSTER_ID,
                    "-c",
                    str(self._properties(node)),
                    *format_options,
                ],
                check=True,
                capture_output=True,
                timeout=START_SECONDS,
            )

    @property
    def bootstrap(self) -> str:
        """Where clients find it."""
        return ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def start(self, *nodes: int) -> None:
        """Start nodes, all if none is named; `wait` says when they answer."""
        for node in nodes or range(1, len(self.ports) + 1):
            out = (self._home(node) / "kafka.out").open("ab")
            scratch = self._home(node) / "scratch"
            scratch.mkdir(exist_ok=True)
            command = [*self._java, "kafka.Kafka", str(self._properties(node))]
            self._running[node] = subprocess.Popen(
                [sys.executable, guard.__file__, str(run_owner()), str(scratch), *command],
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            out.close()

    def stop(self, node: int) -> None:
        """End a node in order; returns when it has ended."""
        process = self._running.pop(node)
        process.terminate()
        process.wait(_STOP_SECONDS)

    def kill(self, node: int) -> None:
        """End a node as a power cut would."""
        process = self._running.pop(node)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def freeze(self, node: int) -> None:
        """Have a node answer nobody."""
        os.killpg(self._running[node].pid, signal.SIGSTOP)

    def thaw(self, node: int) -> None:
        """Have a node go on."""
        os.killpg(self._running[node].pid, signal.SIGCONT)

    def close(self) -> None:
        """End all nodes."""
        for node in list(self._running):
            self.kill(node)

    def wait(self, nodes: int | None = None) -> None:
        """Return once so many nodes (all) answer and no partition lacks a copy."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        wanted = len(self.ports) if nodes is None else nodes
        deadline = time.monotonic() + 2 * START_SECONDS
        while time.monotonic() < deadline:
            try:
                found = admin.list_topics(timeout=2)
            except KafkaException:
                continue
            partitions = [part for topic in found.topics.values() for part in topic.partitions.values()]
            whole = all(len(part.isrs) == len(part.replicas) for part in partitions)
            if len(found.brokers) >= wanted and (whole or nodes is not None):
                return
            time.sleep(0.1)
        said = "".join(self._home(n).joinpath("kafka.out").read_text()[-1500:] for n in self._running)
        raise AssertionError(f"the cluster is not whole:\n{said}")

    def _home(self, node: int) -> Path:
        return self._folder / f"node-{node}"

    def _properties(self, node: int) -> Path:
        return self._home(node) / "server.properties"
