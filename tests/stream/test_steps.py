"""Steps cost nothing unless the fault suite asks for one, and then end the process there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.stream import steps

MONITOR = Path(steps.__file__).parents[1]
ROLES = ("intake", "detect", "enforce")


def reach(fault: str | None, *names: str) -> int:
    """Reach steps in a process of its own; return its exit code."""
    code = f"from monitor.stream.steps import reached\nfor name in {names!r}: reached(name)"
    environment = {name: value for name, value in os.environ.items() if name != steps.VARIABLE}
    if fault is not None:
        environment[steps.VARIABLE] = fault
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    return done.returncode


def test_nothing_happens_where_no_fault_is_asked_for():
    assert reach(None, *steps.STEPS) == 0


@pytest.mark.parametrize(("times", "code"), [(1, 0), (2, -signal.SIGKILL), (3, -signal.SIGKILL)])
def test_the_process_dies_when_the_step_is_reached_so_many_times(times: int, code: int):
    assert reach("detect.state-sent:2:KILL", "detect.applied", *["detect.state-sent"] * times) == code


def test_a_step_that_does_not_exist_is_an_error():
    assert reach("detect.state-snet:1:KILL") == 1


def test_every_step_stands_in_the_code_and_no_other():
    named: set[str] = set()
    for path in MONITOR.rglob("*.py"):
        for name in re.findall(r'reached\(f?"([^"]+)"\)', path.read_text(encoding="utf-8")):
            role = "{self.app.role}"
            named |= {name.replace(role, one) for one in ROLES} if role in name else {name}
    assert named == set(steps.STEPS)
