"""Workers come, go and are replaced in the midst of attacks; the standby enforcer finishes what was begun."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.receiver import SECRET, Receiver
from tests.integration.load import RESPONSE, Load, assert_nothing_wrong
from tests.integration.stack import Stack, wait_for
from tests.integration.test_loop import LIMIT, event
from tests.rig.broker import create_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.stack import Process

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


@pytest.fixture
def installed(tmp_path: Path, kafka: str, prefix: str) -> Iterator[Callable[..., Stack]]:
    """Return a function that installs the product on the real Kafka, with settings of the test's own."""
    made: list[Stack] = []

    def make(**sections: Any) -> Stack:
        create_topic(kafka, f"{prefix}gate", 3)
        stack = Stack(tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix, **sections)
        made.append(stack)
        done = stack.run("init", "--from", "earliest")
        assert done.returncode == 0, done.stderr
        return stack

    yield make
    for stack in made:
        stack.close()


def found(stack: Stack, more: int) -> None:
    """Wait until some more attackers are refused."""
    wanted = len(stack.decisions("requested")) + more
    wait_for(lambda: len(stack.decisions("requested")) >= wanted)


def test_partitions_move_and_all_workers_are_replaced_while_attacks_are_on(installed: Callable[..., Stack]):
    stack = installed(response=dict(RESPONSE))
    workers = [stack.worker()]
    load = Load(stack)
    found(stack, 1)
    # Partitions move to a second and a third worker.
    workers += [stack.worker(), stack.worker()]
    found(stack, 1)
    # A rolling restart: each is replaced by another, one at a time.
    for _ in range(3):
        assert workers.pop(0).terminate() == 0
        workers.append(stack.worker())
        found(stack, 1)
    attackers = load.finish()
    wait_for(lambda: len(stack.decisions("requested")) >= len(attackers), workers[0])
    for worker in workers:
        assert worker.terminate() == 0
    assert_nothing_wrong(stack, attackers)


def test_the_standby_enforcer_goes_on_with_what_waits_under_the_same_ids(
    tmp_path: Path, installed: Callable[..., Stack]
):
    secret = tmp_path / "webhook.secret"
    secret.write_text(SECRET, encoding="utf-8")
    secret.chmod(0o600)
    with Receiver() as receiver:
        receiver.behave("failing")
        webhook = {
            "type": "webhook",
            "name": "gateway",
            "url": receiver.url,
            "secret_file": str(secret),
            "private_addresses": True,
        }
        stack = installed(response={"mode": "enforce", "adapters": [webhook]})
        workers = [stack.worker(), stack.worker()]
        (active,) = [worker for worker in workers if "enforcer active" in worker.said]
        (standby,) = [worker for worker in workers if worker is not active]
        stack.ship(event("partner-17", patient) for patient in range(LIMIT))
        wait_for(lambda: receiver.calls, active)
        before = {call.webhook_id for call in receiver.calls}
        active.kill()
        killed = time.monotonic()
        wait_for(lambda: "enforcer active" in standby.said, standby)
        took = time.monotonic() - killed
        print(f"the standby took over after {took:.1f} s")
        calls = len(receiver.calls)
        wait_for(lambda: len(receiver.calls) > calls, standby)
        receiver.behave("ok")
        wait_for(lambda: receiver.refuses("partner-17"), standby)
        _wait_accepted(stack, standby)
        assert {call.webhook_id for call in receiver.calls} == before
        assert len(before) == 1
        # One session for Kafka to miss the dead one; the rest is this machine's.
        assert took < 3 * stack.settings.kafka.session_timeout_seconds
        assert standby.terminate() == 0
        assert [entry["id"] for entry in stack.decisions("requested")] == ["partner-17"]
        sequence = [entry["sequence"] for entry in stack.entries("decisions")]
        assert sequence == list(range(len(sequence)))


def _wait_accepted(stack: Stack, worker: Process) -> None:
    wait_for(lambda: stack.decisions("accepted"), worker)
