"""What systemd hears from us, and when it hears nothing."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

import pytest

from monitor.observe import systemd
from monitor.stream.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Return the socket of a supervisor."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


def test_it_hears_that_we_are_ready(heard: socket.socket):
    systemd.tell("READY=1", "STATUS=up")
    assert heard.recv(100) == b"READY=1\nSTATUS=up"


def test_nobody_to_tell_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.tell("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    systemd.tell("READY=1")


async def test_the_watchdog_is_fed_only_while_all_moves_on(
    heard: socket.socket, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WATCHDOG_USEC", "30000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    holds = True
    feeding = asyncio.create_task(systemd.feed_watchdog(lambda: (holds, "as it is")))
    assert await asyncio.to_thread(heard.recv, 100) == b"WATCHDOG=1\nSTATUS=as it is"
    holds = False
    async with asyncio.timeout(10):
        while await asyncio.to_thread(heard.recv, 100) != b"STATUS=as it is":
            pass
    feeding.cancel()


@pytest.mark.parametrize(
    ("microseconds", "owner", "seconds"),
    [("", "", None), ("30000000", "", 30.0), ("30000000", "1", None), ("0", "", None)],
)
def test_only_a_watchdog_of_this_process_counts(
    monkeypatch: pytest.MonkeyPatch, microseconds: str, owner: str, seconds: float | None
):
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    monkeypatch.setenv("WATCHDOG_PID", owner)
    assert systemd.watchdog_seconds() == seconds


def test_an_idle_partition_is_never_stuck_and_one_that_stands_before_records_is():
    progress = Progress(0)
    for now in range(0, 400, 2):
        progress.look("idle", 7, 7, now)
        progress.look("moving", now, 1000, now)
        progress.look("standing", 5, 9, now)
        progress.looked(["idle", "moving", "standing"], now)
    assert progress.stuck(120, 400) == ["standing stands still"]
    progress.look("standing", 6, 9, 400)
    assert progress.stuck(120, 400) == []


def test_a_partition_that_was_given_up_counts_no_more():
    progress = Progress(0)
    progress.look("given up", 5, 9, 0)
    progress.looked([], 300)
    assert progress.stuck(120, 300) == []


def test_a_watch_that_ended_is_noticed():
    assert Progress(0).stuck(120, 121) == ["nobody looks at the partitions any more"]
