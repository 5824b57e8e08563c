"""What a worker says when it cannot start, and with which exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from monitor.errors import ExitCode
from tests.integration.stack import Stack, wait_for

if TYPE_CHECKING:
    from pathlib import Path


def test_an_absent_broker_is_waited_for_and_then_named(tmp_path: Path):
    kafka = {"connect_timeout_seconds": 1}
    stack = Stack(tmp_path, broker="cluster", bootstrap="127.0.0.1:1", prefix="absent.", kafka=kafka)
    for command in ("init", "worker", "authz"):
        done = stack.run(command)
        assert done.returncode == ExitCode.UNAVAILABLE, done.stderr
        assert "no broker answered at 127.0.0.1:1 within 1 s" in done.stderr


@pytest.mark.kafka
def test_an_unknown_source_topic_is_named(tmp_path: Path, kafka: str, prefix: str):
    stack = Stack(tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix)
    done = stack.run("init")
    assert done.returncode == ExitCode.CONFIG
    assert f"topic {prefix}gate: does not exist" in done.stderr


@pytest.mark.kafka
def test_a_worker_without_init_says_what_to_do(tmp_path: Path, kafka: str, prefix: str):
    stack = Stack(tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix)
    done = stack.run("worker")
    assert done.returncode == ExitCode.CONFIG
    assert "run `monitor init`" in done.stderr


def test_a_taken_port_is_named(stack: Stack):
    worker = stack.worker()
    listen = worker.address().removeprefix("http://")
    done = stack.run("worker", MONITOR_OBSERVE__LISTEN=listen)
    assert done.returncode == ExitCode.CONFIG
    assert f"observe.listen: cannot listen on {listen}" in done.stderr
    assert worker.terminate() == ExitCode.OK


def test_sigterm_while_starting_ends_the_worker(stack: Stack):
    worker = stack.spawn("worker", "--roles", "intake")
    # Without an enforcer there is no rule set: intake waits for one.
    wait_for(lambda: "metrics and probes" in worker.said, worker)
    assert worker.terminate() == ExitCode.OK
