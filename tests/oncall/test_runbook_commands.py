"""What the runbooks say to look at is typed against the demo, after an attack."""

from __future__ import annotations

import asyncio
import re
import shlex
import sys
from typing import TYPE_CHECKING, Final

from tests.observe.test_runbooks import PAGES
from tests.oncall.test_live import attack, demo

if TYPE_CHECKING:
    from pathlib import Path

    from monitor.demo.stack import Stack

#: Prometheus and Alertmanager, which the demo does not run.
ELSEWHERE: Final = ("127.0.0.1:9090", "127.0.0.1:9093")
#: What the demo cannot do, and why.
NOT_HERE: Final = {"monitor drill": "the demo's receiver has no test credential"}


def commands() -> list[str]:
    found = {
        line
        for page in PAGES
        for line in re.findall(r"^\$ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        if not any(address in line for address in ELSEWHERE) and line not in NOT_HERE
    }
    return sorted(found)


def as_typed(stack: Stack, line: str) -> list[str]:
    line = line.replace("127.0.0.1:9190", f"127.0.0.1:{stack.ports.observe}")
    line = line.replace("127.0.0.1:9191", f"127.0.0.1:{stack.ports.authz}")
    words = shlex.split(line)
    if words[0] == "monitor":
        chosen = [] if "--help" in words else ["-c", str(stack.config)]
        return [sys.executable, "-m", *words, *chosen]
    return [*words, "--fail"]


async def test_what_to_look_at_can_be_looked_at(tmp_path: Path):
    folder = tmp_path / "demo"
    folder.mkdir()
    failed = []
    async with demo(folder, 1) as (stack, follower):
        incident, _ = await attack(stack, follower, 0)
        assert incident == "INC-0001"
        lines = commands()
        assert len(lines) > 8
        for line in lines:
            process = await asyncio.create_subprocess_exec(
                *as_typed(stack, line),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                cwd=folder,
            )
            said, _ = await process.communicate()
            if process.returncode or not said.strip():
                failed.append(f"{line}: {process.returncode}: {said.decode()[-300:]}")
    assert not failed, "\n".join(failed)
