"""The commands that wait for a broker end when they are told to, not when they give up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from monitor.errors import ExitCode
from tests.integration.stack import Stack, wait_for

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE_SECONDS = 50


@pytest.mark.parametrize("command", ["authz", "worker"])
def test_sigterm_while_waiting_for_a_broker_ends_it(tmp_path: Path, command: str):
    kafka = {"connect_timeout_seconds": PATIENCE_SECONDS}
    stack = Stack(tmp_path, broker="cluster", bootstrap="127.0.0.1:1", prefix="absent.", kafka=kafka)
    try:
        process = stack.spawn(command)
        wait_for(lambda: "waiting for Kafka" in process.said, process)
        began = time.monotonic()
        assert process.terminate() == ExitCode.OK
        assert time.monotonic() - began < PATIENCE_SECONDS / 2
    finally:
        stack.close()
