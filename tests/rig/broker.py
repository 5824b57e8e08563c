"""A real Kafka for tests: one KRaft node on loopback, from the jars that `make kafka` fetches."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from monitor.demo.processes import free_ports
from tests.rig import guard

ROOT: Final = Path(__file__).parents[2]
JARS: Final = ROOT / ".cache" / "kafka" / "libs"
JAVA_VERSION: Final = 17
CLUSTER_ID: Final = "MkU3OEVBNTcwNTJENDM2Qk"
START_SECONDS: Final = 60.0
JAVA: Final = ("java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{JARS}/*")

# Nobody waits for a node: its guard ends it. Held here so that Python does not take it for forgotten.
_started: Final[list[subprocess.Popen[bytes]]] = []

# Retention would first look 30 s after the start, and every 5 min: events of tests have times of long ago,
# and would go while they are read. So it looks a day later.
PROPERTIES: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/log
num.partitions=1
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.backoff.ms=200
log.initial.task.delay.ms=86400000
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""


@cache
def why_not() -> str:
    """Return why a real Kafka cannot be started here, or nothing where it can."""
    java = shutil.which("java")
    if java is None:
        return "no Java: install a JDK of version 17 or later and Maven, then `make kafka`"
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = said.split('"')[1].split(".")[0] if '"' in said else "0"
    if not version.isdecimal() or int(version) < JAVA_VERSION:
        return f"Java {version} is too old for Kafka 4.1: it needs {JAVA_VERSION}"
    if not any(JARS.glob("kafka_2.13-*.jar")):
        return "Kafka's jars are not here: run `make kafka`"
    return ""


def start(owner: int) -> str:
    """Start a node that lives as long as the process `owner`; return its bootstrap server."""
    folder = Path(tempfile.mkdtemp(prefix="access-monitor-kafka-"))
    port, controller = free_ports(2)
    properties = folder / "server.properties"
    properties.write_text(
        PROPERTIES.format(port=port, controller=controller, folder=folder), encoding="utf-8"
    )
    subprocess.run(
        [*JAVA, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(properties)],
        check=True,
        capture_output=True,
        timeout=START_SECONDS,
    )
    with (folder / "kafka.out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, guard.__file__, str(owner), str(folder), *JAVA, "kafka.Kafka", str(properties)],
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = f"127.0.0.1:{port}"
    _wait(server, process, folder / "kafka.out")
    _started.append(process)
    return server


def shared(folder: Path, owner: int) -> str:
    """Return the one node that all processes of a test run share; the first to ask starts it.

    `folder` is the run's own; `owner` the process that outlives the others.
    """
    note = folder / "kafka.bootstrap"
    with (folder / "kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not note.exists():
            note.write_text(start(owner), encoding="utf-8")
    return note.read_text(encoding="utf-8")


def create_topic(server: str, name: str, partitions: int = 1, copies: int = 1) -> None:
    """Create a topic that is not one of the product's own, such as a source."""
    admin = AdminClient({"bootstrap.servers": server})  # must live until the answer is there
    admin.create_topics([NewTopic(name, partitions, copies)])[name].result()
    # Created is not yet known to whoever answers the next question.
    deadline = time.monotonic() + START_SECONDS
    while name not in admin.list_topics(timeout=5).topics and time.monotonic() < deadline:
        time.sleep(0.02)


def delete_topic(server: str, name: str) -> None:
    """Delete a topic."""
    admin = AdminClient({"bootstrap.servers": server})
    admin.delete_topics([name])[name].result()


def _wait(server: str, process: subprocess.Popen[bytes], out: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    admin = AdminClient({"bootstrap.servers": server, "log_level": 0})
    while True:
        try:
            admin.list_topics(timeout=1)
        except KafkaException:
            if process.poll() is not None or time.monotonic() > deadline:
                process.terminate()
                said = out.read_text(errors="replace")[-2000:] if out.exists() else ""
                msg = f"Kafka did not start within {START_SECONDS:.0f} s; it said:\n{said}"
                raise RuntimeError(msg) from None
        else:
            return


def run_owner() -> int:
    """Return the process that outlives this test run's workers: xdist's controller, or ourselves."""
    return os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
