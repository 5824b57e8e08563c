"""`monitor doctor` and `monitor canary` on a running installation."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import pytest

from monitor.cli.doctor import command as doctor
from monitor.stream.plan import ROLES
from monitor.stream.topics import create_embedded
from tests.integration.stack import Stack, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

CANARY: Final = Path(__file__).parents[2] / "deploy" / "canary.yml"
CANARY_RULE: Final = "d1f5c0de-0000-4000-8000-00000ca4a121"


@pytest.fixture
def stack(tmp_path: Path, embedded: Any, prefix: str) -> Iterator[Stack]:
    rules = {"paths": [str(CANARY)]}
    installed = Stack(
        tmp_path, broker="embedded", bootstrap=embedded.bootstrap_servers, prefix=prefix, rules=rules
    )
    create_embedded(installed.settings, embedded, source_partitions=2)
    yield installed
    installed.close()


def diagnosis(stack: Stack) -> tuple[int, dict[str, str]]:
    done = stack.run("doctor", "--json")
    checks = json.loads(done.stdout)["checks"]
    return done.returncode, {check["what"]: check["verdict"] for check in checks}


def test_the_doctor_names_what_does_not_work_and_the_canary_is_found(stack: Stack):
    code, found = diagnosis(stack)
    assert code == 1
    assert found["Kafka"] == "ok"
    assert found["enforcer"] == "failed"
    assert stack.run("init").returncode == 0
    worker = stack.worker()
    done = stack.run("canary", "--source", "gate", "--once")
    assert done.returncode == 0, done.stderr
    (canary,) = wait_for(stack.findings, worker)
    assert (canary["rule"]["id"], canary["mode"], canary["patients"]) == (CANARY_RULE, "shadow", 0)
    wait_for(lambda: diagnosis(stack)[1].get("enforcer") == "ok", worker)
    code, found = diagnosis(stack)
    assert found["topics"] == found["source gate"] == "ok"
    assert found["decision service"] == "failed"
    assert found["Alertmanager"] == "warning"
    assert code == 1
    late = {"time": int(time.time() * 1000) - 60_000, "status": 200, "principal": "p", "authenticated": True}
    stack.ship([late, "no event at all"])
    found = diagnosis(stack)[1]
    assert found["source gate"] == "warning"
    assert found["source gate: delay"] == "warning"


def test_the_canary_goes_to_sources_that_it_can_write_for(stack: Stack):
    done = stack.run("canary", "--source", "other", "--once")
    assert done.returncode == 78
    assert "there is: gate" in done.stderr


def test_the_rights_of_every_role_of_the_plan_can_be_asked_for():
    (option,) = [option for option in doctor.params if option.name == "roles"]
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == ROLES
