"""Brokers that go and come back: the worker stays, joins its groups again, and nothing is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.load import RESPONSE, Load, assert_nothing_wrong, slowest_finding
from tests.integration.stack import Stack, wait_for
from tests.rig.broker import create_topic
from tests.rig.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.stack import Process

pytestmark = pytest.mark.kafka


@pytest.fixture
def cluster(tmp_path: Path, kafka: str) -> Iterator[Callable[[int], Cluster]]:
    """Return a function that starts a Kafka of the test's own (and only where one can be had)."""
    made: list[Cluster] = []

    def make(nodes: int) -> Cluster:
        cluster = Cluster(tmp_path / "cluster", nodes)
        made.append(cluster)
        cluster.start()
        cluster.wait()
        return cluster

    yield make
    for cluster in made:
        cluster.close()


@pytest.fixture
def installed(tmp_path: Path, prefix: str) -> Iterator[Callable[..., Stack]]:
    """Return a function that installs the product on a cluster."""
    made: list[Stack] = []

    def make(cluster: Cluster, **kafka: float) -> Stack:
        nodes = len(cluster.ports)
        create_topic(cluster.bootstrap, f"{prefix}gate", 3, nodes)
        settings = {"replication_factor": nodes, "min_insync_replicas": max(1, nodes - 1), **kafka}
        stack = Stack(
            tmp_path,
            broker="cluster",
            bootstrap=cluster.bootstrap,
            prefix=prefix,
            kafka=settings,
            response=dict(RESPONSE),
        )
        made.append(stack)
        done = stack.run("init", "--from", "earliest")
        assert done.returncode == 0, done.stderr
        return stack

    yield make
    for stack in made:
        stack.close()


def metric(process: Process, name: str, *labels: str) -> float:
    """Return the sum of a metric's samples that have all these labels."""
    lines = [line for line in process.metrics().splitlines() if line.startswith(f"access_monitor_{name}")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(label in line for label in labels))


@pytest.mark.timeout(300)
def test_an_outage_longer_than_every_timeout_ends_no_worker_and_costs_no_count(
    cluster: Callable[[int], Cluster], installed: Callable[..., Stack]
):
    kafka = cluster(1)
    stack = installed(kafka, request_timeout_seconds=6)
    worker = stack.worker()
    load = Load(stack)
    wait_for(lambda: len(stack.decisions("requested")) >= 2, worker)
    kafka.kill(1)
    # Until each role has given up on what was under way.
    wait_for(
        lambda: all(metric(worker, "rejoins_total", f'role="{r}"') for r in ("intake", "enforce")), worker
    )
    wait_for(lambda: metric(worker, "rejoins_total", 'role="detect"'), worker)
    kafka.start(1)
    kafka.wait()
    wait_for(lambda: "the role is back" in worker.said, worker)
    attackers = load.finish()
    wait_for(lambda: len(stack.decisions("requested")) >= len(attackers), worker)
    assert metric(worker, "blind_seconds_total", 'role="detect"') > 0
    assert worker.terminate() == 0
    assert_nothing_wrong(stack, attackers)


@pytest.mark.timeout(400)
def test_a_rolling_restart_of_three_brokers_under_load(
    cluster: Callable[[int], Cluster],
    installed: Callable[..., Stack],
):
    kafka = cluster(3)
    stack = installed(kafka)
    worker = stack.worker()
    load = Load(stack)
    for node in (1, 2, 3):
        wanted = len(stack.decisions("requested")) + 2
        kafka.stop(node)
        while len(stack.decisions("requested")) < wanted:
            wait_for(lambda: worker.process.poll() is None)
        kafka.start(node)
        kafka.wait()
    attackers = load.finish()
    wait_for(lambda: len(stack.decisions("requested")) >= len(attackers), worker)
    rejoins, blind = metric(worker, "rejoins_total"), metric(worker, "blind_seconds_total")
    print(f"slowest finding {slowest_finding(stack):.1f} s, rejoins {rejoins:.0f}, blind {blind:.1f} s")
    assert worker.terminate() == 0
    assert_nothing_wrong(stack, attackers)


@pytest.mark.timeout(300)
def test_a_broker_that_is_gone_for_good_ends_the_worker(
    cluster: Callable[[int], Cluster], installed: Callable[..., Stack]
):
    kafka = cluster(1)
    stack = installed(kafka, request_timeout_seconds=6, rejoin_timeout_seconds=5, connect_timeout_seconds=2)
    worker = stack.worker()
    kafka.stop(1)
    assert worker.process.wait(60) == 69, worker.said[-2000:]
    assert "kafka.rejoin_timeout_seconds" in worker.said
