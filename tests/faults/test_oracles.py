"""The oracles see each thing that can go wrong: a run that is right is tampered with, one thing at a time."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from monitor.core.events import RowsRecord
from monitor.wire import routed
from tests.faults.conftest import RUN_SECONDS
from tests.faults.logs import Sample
from tests.faults.oracles import Verdict
from tests.faults.plan import Plan
from tests.faults.world import Result, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.faults.logs import Logs

pytestmark = pytest.mark.timeout(RUN_SECONDS)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return a run without faults, before its broker is gone."""
    plan = Plan(row=2, seed=0, broker="embedded", seconds=5.0, flush_seconds=0.5, poison=0.05)
    world = World(plan, tmp_path_factory.mktemp("world"), None)
    with world.stack:
        world.install()
        result = Result(plan.plain())
        world.play(result)
        assert not result.violations
        assert result.seen["findings"]
        assert result.seen["revocations"]
        assert result.seen["poison"]
        yield world


def wrong(world: World, tamper: Callable[[Logs], None]) -> str:
    """Return the letters of the invariants that do not hold in tampered logs."""
    logs = copy.deepcopy(world.logs)
    tamper(logs)
    return letters(world, logs, world.samples)


def letters(world: World, logs: Logs, samples: list[Sample]) -> str:
    verdict = Verdict()
    world.judge(logs, samples, verdict)
    return "".join(sorted({violation[0] for violation in verdict.violations}))


def rows_at(logs: Logs, partition: int) -> list[int]:
    """Return the places of the records of one routed partition that hold rows of a source."""
    return [
        at
        for at, record in enumerate(logs.of("routed", partition))
        if isinstance(entry := routed.decode(record.value, ""), RowsRecord)
        and entry.source.topic.endswith("gate")
    ]


def test_left_as_it_is_nothing_is_wrong(world: World):
    assert not letters(world, world.logs, world.samples)


def test_a_routed_record_that_is_lost(world: World):
    def lose(logs: Logs) -> None:
        del logs.of("routed", 0)[rows_at(logs, 0)[-1]]

    assert "G" in wrong(world, lose)


def test_rows_that_count_twice(world: World):
    def repeat(logs: Logs) -> None:
        at = rows_at(logs, 0)[-1]
        record = logs.of("routed", 0)[at]
        entry = routed.decode(record.value, "")
        assert isinstance(entry, RowsRecord)
        value = routed.encode_rows(
            entry.source, entry.first, entry.last, [*entry.rows, entry.rows[-1]], resume=True
        )
        logs.of("routed", 0)[at] = replace(record, value=value)

    assert "G" in wrong(world, repeat)


def test_a_finding_that_is_lost_or_made_up(world: World):
    assert "A" in wrong(world, lambda logs: logs.of("findings").pop())

    def change(logs: Logs) -> None:
        record = logs.of("findings")[0]
        logs.of("findings").append(replace(record, value=record.value.replace(b'"value":', b'"value":1')))

    assert "A" in wrong(world, change)


def test_a_state_that_lacks_a_record(world: World):
    """The state is read from the broker, so it is the log that it is compared with that changes."""

    def lengthen(logs: Logs) -> None:
        at = rows_at(logs, 1)[-1]
        del logs.of("routed", 1)[at]

    assert "A" in wrong(world, lengthen)


def test_a_decision_that_is_lost_or_changed(world: World):
    assert "B" in wrong(world, lambda logs: logs.of("decisions").pop(2))

    def change(logs: Logs) -> None:
        record = logs.of("decisions")[1]
        logs.of("decisions")[1] = replace(record, value=record.value.replace(b'"at_ms":1', b'"at_ms":2'))

    assert "B" in wrong(world, change)


def test_poison_that_is_lost(world: World):
    assert wrong(world, lambda logs: logs.of("rejected").pop()) == "C"


@pytest.mark.parametrize("topic", ["gate", "routed", "findings"])
def test_a_position_that_was_committed_too_early(world: World, topic: str):
    """As if all of it had been committed when the first sample was taken."""
    last, first = world.samples[-1], world.samples[0]
    early = {place: at for place, at in last.committed.items() if place.topic.endswith(f".{topic}")}
    assert early
    sample = Sample({**first.committed, **early}, dict.fromkeys(first.ends, 0))
    assert letters(world, world.logs, [sample]) == "D"


def test_a_call_that_never_came_or_that_nobody_decided(world: World):
    calls = world.receiver.calls
    before = list(calls)
    told = calls.pop()
    try:
        while calls and calls[-1].data["id"] == told.data["id"]:
            calls.pop()
        assert letters(world, world.logs, world.samples) == "B"
        calls.append(replace(told, webhook_id="msg_made_up"))
        assert letters(world, world.logs, world.samples) == "B"
    finally:
        calls[:] = before
