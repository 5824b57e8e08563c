"""Children of the demo: waited for with a clear word, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from monitor.demo.processes import DemoError, Processes, free_ports, until

FOREVER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_leaving_ends_every_child(tmp_path: Path):
    async with Processes(tmp_path) as processes:
        child = processes.start("sleeper", FOREVER)
        assert await until(lambda: child.tail() == "up", within_seconds=20)
        assert runs(child.pid)
    assert not runs(child.pid)


async def test_who_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("monitor.demo.processes._END_SECONDS", 0.2)
    async with Processes(tmp_path) as processes:
        child = processes.start("stubborn", STUBBORN)
        assert await until(lambda: child.tail() == "up", within_seconds=20)
    assert child.code == -signal.SIGKILL


async def test_who_is_supervised_and_killed_is_started_again(tmp_path: Path):
    said: list[str] = []
    async with Processes(tmp_path, said.append) as processes:
        child = processes.start("worker", FOREVER, supervised=True)
        first = child.pid
        assert await until(lambda: child.tail() == "up", within_seconds=20)
        os.kill(first, signal.SIGKILL)
        assert await until(lambda: child.code is not None, within_seconds=20)
        processes.check()
        assert child.pid != first
        assert await until(lambda: child.tail() == "up\nup", within_seconds=20)
    assert said == ["worker was killed; it is started again, as a supervisor would"]
    assert not runs(child.pid)


async def test_who_is_supervised_and_ends_by_itself_is_told(tmp_path: Path):
    async with Processes(tmp_path) as processes:
        child = processes.start("worker", [sys.executable, "-c", "raise SystemExit(78)"], supervised=True)
        assert await until(lambda: child.code is not None, within_seconds=20)
        with pytest.raises(DemoError, match="worker: ended unexpectedly, with exit code 78"):
            processes.check()


async def test_a_child_that_fails_is_told_with_the_end_of_its_log(tmp_path: Path):
    script = "print('one'); print('the broker is away'); raise SystemExit(69)"
    async with Processes(tmp_path) as processes:
        with pytest.raises(DemoError, match=r"init: ended with exit code 69.*\n.*one\n.*the broker is away"):
            await processes.run("init", [sys.executable, "-c", script], within_seconds=20)


async def test_a_child_that_ends_while_another_is_waited_for_is_told(tmp_path: Path):
    async def never() -> bool:
        return False

    async with Processes(tmp_path) as processes:
        waiting = processes.start("waiting", FOREVER)
        processes.start("worker", [sys.executable, "-c", "raise SystemExit(70)"])
        with pytest.raises(DemoError, match="worker: ended unexpectedly, with exit code 70"):
            await processes.wait_until(never, waiting, "/readyz", within_seconds=20)


async def test_a_child_that_is_never_ready_is_told(tmp_path: Path):
    async def never() -> bool:
        return False

    async with Processes(tmp_path) as processes:
        child = processes.start("worker", FOREVER)
        with pytest.raises(DemoError, match="worker: /readyz: not within 0 s"):
            await processes.wait_until(never, child, "/readyz", within_seconds=0.1)


async def test_settings_of_the_shell_do_not_reach_a_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MONITOR_RESPONSE__MODE", "shadow")
    script = "import os; print([name for name in os.environ if name.startswith('MONITOR_')])"
    async with Processes(tmp_path) as processes:
        await processes.run("env", [sys.executable, "-c", script], within_seconds=20)
    assert (tmp_path / "env.log").read_text(encoding="utf-8") == "[]\n"


def test_a_child_does_not_outlive_a_demo_that_is_killed(tmp_path: Path):
    script = f"""
import asyncio, sys, time
from pathlib import Path
from monitor.demo.processes import Processes
async def main():
    async with Processes(Path({str(tmp_path)!r})) as processes:
        print(processes.start("orphan", {FOREVER!r}).pid, flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        child = int(demo.stdout.readline())
        assert runs(child)
        os.kill(demo.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while runs(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_free_ports_are_different_and_not_of_those_that_connections_take():
    ports = free_ports(5)
    assert len(set(ports)) == 5
    assert all(20_000 <= port < 32_000 for port in ports)


def test_a_port_that_was_given_away_is_given_to_no_other_process():
    """Who asked may listen on it only seconds later."""
    ask = "import sys; from monitor.demo import processes as p; p._PORTS = range(*map(int, sys.argv[1:])); p.free_ports(1)"
    [port] = free_ports(1)
    other = [sys.executable, "-c", ask, str(port), str(port + 1)]
    refused = subprocess.run(other, check=False, capture_output=True, text=True)
    assert f"fewer than 1 free ports between {port} and {port + 1}" in refused.stderr
