"""Operators and two workers: the active one answers, the other says who that is, and takes over."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from monitor.demo.processes import free_ports
from monitor.errors import ExitCode
from tests.integration.stack import Stack, wait_for
from tests.operator.stage import ANNA, hire
from tests.rig.broker import create_topic

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.stack import Process

WHY = ("--reason", "ticket 4711", "--yes")


@pytest.mark.kafka
def test_acts_go_on_with_the_enforcer_that_takes_over(tmp_path: Path, kafka: str, prefix: str):
    staff = hire(tmp_path)
    ports = free_ports(2)
    servers = [f"http://127.0.0.1:{port}" for port in ports]
    create_topic(kafka, f"{prefix}gate", 3)
    stack = Stack(tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix, operator=staff.settings)
    plain = json.loads(stack.config.read_text())
    workers: list[Process] = []

    def monitor(*arguments: str, code: int = 0, reach: list[str] = servers) -> Any:
        """Run a command of an operator; return its JSON, or what it says of its failure."""
        reached = [option for server in reach for option in ("--server", server)]
        done = stack.run(*arguments, "--json", "--identity", str(staff.keys[ANNA]), *reached)
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout) if done.stdout else done.stderr

    try:
        done = stack.run("init", "--from", "earliest")
        assert done.returncode == 0, done.stderr
        for port in ports:
            stack.config = tmp_path / f"worker-{port}.yaml"
            stack.config.write_text(
                json.dumps({**plain, "operator": {**plain["operator"], "listen": f"127.0.0.1:{port}"}})
            )
            workers.append(stack.worker())
        active = [index for index, worker in enumerate(workers) if "enforcer active" in worker.said]
        assert active == [0], "whoever joined first has the one partition"
        suspended = monitor("credentials", "suspend", "gate/partner-1", "--unseen", "--wait", *WHY)
        assert (suspended["receipt"]["outcome"], suspended["in_effect"]) == ("done", True)
        said = monitor("credentials", "list", code=ExitCode.UNAVAILABLE, reach=servers[1:])
        assert f"it is {servers[0]}: add it to operator.servers" in said

        workers[0].kill()
        wait_for(lambda: "enforcer active" in workers[1].said, workers[1])
        (listed,) = monitor("credentials", "list")
        assert (listed["id"], listed["status"]) == ("partner-1", "suspended")
        reinstated = monitor("credentials", "reinstate", "partner-1", "--wait", *WHY)
        assert reinstated["receipt"]["version"] == suspended["receipt"]["version"] + 1
        page = monitor("incidents", "show", suspended["receipt"]["incident"])
        assert [entry["kind"] for entry in page["timeline"] if entry["kind"] != "accepted"][:2] == [
            "act",
            "requested",
        ]
        assert {entry["by"] for entry in stack.decisions("act")} == {ANNA}
        assert workers[1].terminate() == 0
    finally:
        stack.close()
