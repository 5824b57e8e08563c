"""What the runbooks say to look at and to do is typed against the demo, after an attack."""

from __future__ import annotations

import asyncio
import re
import shlex
import sys
from typing import TYPE_CHECKING, Final

from monitor.demo.gateway import REALM
from monitor.demo.traffic import enumerate_appointments
from tests.observe.test_runbooks import PAGES, commands_of
from tests.oncall.test_live import attack, demo
from tests.rig.watchers import until

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from monitor.demo.follow import Follower
    from monitor.demo.stack import Stack

#: Prometheus and Alertmanager, which the demo does not run.
ELSEWHERE: Final = ("127.0.0.1:9090", "127.0.0.1:9093")
#: What the demo cannot do, and why.
NOT_HERE: Final = {"monitor drill": "the demo's receiver has no test credential"}
#: Commands that change nothing, or that are named without what they are to act on.
LOOKS: Final = re.compile(
    r"monitor \w+$|monitor (incidents|credentials|fuse|automation|rules|config|deliveries) (show|list|status|history|check|diff)\b|.*--help$"
)
#: Acts that are done without a question.
UNASKED: Final = (
    "monitor incidents ack",
    "monitor incidents close",
    "monitor automation resume",
    "monitor authz end-allow-all",
    "monitor deliveries enable",
)
READS: Final = 250


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


async def typed(stack: Stack, line: str) -> tuple[int, str]:
    """Return the exit code and what was said."""
    process = await asyncio.create_subprocess_exec(
        *as_typed(stack, line),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=stack.folder,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


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
            code, said = await typed(stack, line)
            if code or not said.strip():
                failed.append(f"{line}: {code}: {said[-300:]}")
    assert not failed, "\n".join(failed)


def acts() -> set[str]:
    """Return every command of the pages that changes something."""
    lines = {line for page in PAGES for line in commands_of(page)}
    return {line for line in lines if not LOOKS.match(line)} - {"monitor drill"}


class OnCall:
    """Types what the pages say, about one credential after the other, and notes what was typed."""

    def __init__(self, stack: Stack, follower: Follower) -> None:
        self._stack = stack
        self._follower = follower
        self._client = "abused-00"
        self._incident = "INC-0001"
        self.typed: set[str] = set()

    async def types(self, line: str, expected: str, code: int = 0) -> None:
        """Type a line of a page, with the demo's names in it; a person at a terminal answers yes."""
        self.typed.add(line)
        about = line.replace("gate/partner-1", f"{REALM}/{self._client}").replace("INC-0001", self._incident)
        about = about.replace("ENDPOINT", "receiver")
        asks = not about.startswith(UNASKED)
        found, said = await typed(self._stack, f"{about} --yes" if asks else about)
        assert found == code, f"{about}: {found}: {said}"
        assert expected in said, f"{about}: {said}"

    async def is_answered(self, status: int) -> None:
        """Wait until the gateway answers the credential so."""
        client = self._stack.clients[self._client]
        record = next(iter(self._stack.register.appointments))

        async def answered() -> bool:
            return (await client.read(record)).status == status

        await until(answered, f"{status} for {self._client}")

    async def is_held(self, number: int) -> None:
        """Turn to the next credential: it reads too much while nothing is automatic."""
        self._client = f"abused-{number:02}"
        every: Iterable[int] = list(self._stack.register.appointments)[number * READS :][:READS]
        await enumerate_appointments(self._stack.clients[self._client], every, 200.0)

        def held() -> str:
            record = self._follower.credentials.get(self._client)
            return record.incident if record is not None and record.state == "held" else ""

        self._incident = await until(held, f"{self._client} is held")


async def test_what_to_do_can_be_done_and_has_the_effect_that_the_page_says(tmp_path: Path):
    folder = tmp_path / "demo"
    folder.mkdir()
    async with demo(folder, 5) as (stack, follower):
        incident, _ = await attack(stack, follower, 0)
        assert incident == "INC-0001"
        on_call = OnCall(stack, follower)
        types = on_call.types
        reinstate = "monitor credentials reinstate gate/partner-1 --reason"
        await types('monitor incidents ack INC-0001 --reason "calling the owner"', "done:")
        await types(f'{reinstate} "bulk job, announced" --grace 1h', "done:")
        await on_call.is_answered(200)
        await types(
            'monitor credentials suspend gate/partner-1 --for 1h --reason "reads of many practices"',
            "done:",
        )
        await on_call.is_answered(403)
        await types("monitor authz allow-all --for 10m --reason TEXT", "done:")
        await on_call.is_answered(200)
        await types("monitor authz end-allow-all --reason TEXT", "done:")
        await on_call.is_answered(403)
        await types(f'{reinstate} "explained"', "done:")
        await on_call.is_answered(200)
        await types(
            'monitor incidents close INC-0001 --verdict benign --reason "explained by its owner"', "done:"
        )
        for then, why in (("dismiss", "rule was wrong"), ("resume", "attack with many keys")):
            await types(f'monitor fuse reset --then {then} --reason "{why}"', "no fuse has blown")
        await types('monitor automation pause --for 30m --reason "rule 12 is wrong"', "done:")
        for number, reason, undo in (
            (1, "owner confirms a leak", "approved by mistake"),
            (2, "reads on", "rule was wrong"),
        ):
            await on_call.is_held(number)
            await on_call.is_answered(200)
            await types(f'monitor credentials approve gate/partner-1 --reason "{reason}"', "done:")
            await on_call.is_answered(403)
            await types(f'{reinstate} "{undo}"', "done:")
            await on_call.is_answered(200)
        for number, reason in ((3, "nightly export"), (4, "explained by its owner")):
            await on_call.is_held(number)
            await types(f'monitor incidents dismiss INC-0001 --reason "{reason}"', "done:")
            await on_call.is_answered(200)
        await types('monitor automation resume --reason "rule 12 was taken back"', "done:")
        await types('monitor automation resume --reason "over"', "not paused")
        await types('monitor deliveries enable ENDPOINT --reason "back, ticket 4714"', "unchanged:")
        await types("monitor rules publish", "Nothing changes")
        await types("monitor rules rollback", "no rule set to go back to", 78)
        assert acts() == on_call.typed
