"""A role that falls out of its group comes back, or ends the process; what an earlier stay says is void."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import errors

from monitor.errors import BrokerUnavailableError, ConfigurationError, InvariantError, MonitorError, SendError
from monitor.observe.metrics import Metrics, samples
from monitor.stream import keeper as module
from monitor.stream.faults import explained, passing_reason
from monitor.stream.keeper import RoleKeeper
from tests.rig.configuration import settings_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def send_error(cause: BaseException | None) -> SendError:
    failure = SendError("routed-0: not acknowledged")
    failure.__cause__ = cause
    return failure


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (send_error(errors.KafkaTimeoutError()), "timeout"),
        (send_error(TimeoutError()), "timeout"),
        (send_error(errors.ProducerFenced()), "fenced"),
        (send_error(errors.OutOfOrderSequenceNumber()), "producer"),
        (send_error(errors.NotEnoughReplicasError()), "broker"),
        (send_error(errors.KafkaError("Unexpected error during batch delivery")), "broker"),
        (send_error(None), "unknown"),
        (errors.KafkaConnectionError(), "unreachable"),
        (ConnectionResetError(), "unreachable"),
        (errors.NotCoordinatorForGroupError(), "broker"),
        (errors.UnknownMemberIdError(), "group"),
        (BrokerUnavailableError("no answer"), "unreachable"),
        (send_error(errors.MessageSizeTooLargeError()), None),
        (errors.TopicAuthorizationFailedError(), None),
        (errors.CorruptRecordException(), None),
        (InvariantError("records were not delivered"), None),
        (ConfigurationError("x", []), None),
        (KeyError("x"), None),
    ],
    ids=lambda value: repr((value, value.__cause__)) if isinstance(value, BaseException) else str(value),
)
def test_one_place_says_which_faults_pass(error: BaseException, reason: str | None):
    assert passing_reason(error) == reason


def test_a_refusal_of_kafka_is_explained():
    assert "monitor init --plan" in str(explained(send_error(errors.TopicAuthorizationFailedError())))
    other = KeyError("x")
    assert explained(other) is other


class FakeRole:
    ready = True


class FakeStay:
    """Starts as the test says; keeps in which order it was ended."""

    def __init__(self, on_fatal: Callable[[BaseException], None], start: BaseException | None) -> None:
        self.on_fatal = on_fatal
        self.roles: Any = (FakeRole(),)
        self.ended: list[str] = []
        self._start = start

    async def start(self) -> None:
        if self._start is not None:
            raise self._start

    async def stop(self) -> None:
        self.ended.append("stop")

    def fence(self) -> None:
        self.ended.append("fence")

    async def drop(self) -> None:
        self.ended.append("drop")

    async def leave(self) -> None:
        self.ended.append("leave")


class Stage:
    """A keeper of fake stays; `starts` says how each of them starts."""

    def __init__(self, folder: Path, *starts: BaseException | None, seconds: float = 60) -> None:
        kafka = {"rejoin_timeout_seconds": seconds}
        settings = settings_for(folder, broker="cluster", bootstrap="127.0.0.1:1", prefix="x.", kafka=kafka)
        self.stays: list[FakeStay] = []
        self.fatal: list[BaseException] = []
        self.metrics = Metrics()
        self._starts = list(starts)
        self.keeper = RoleKeeper("detect", self._make, [settings.kafka], self.metrics, self.fatal.append)

    def _make(self, on_fatal: Callable[[BaseException], None]) -> FakeStay:
        stay = FakeStay(on_fatal, self._starts.pop(0) if self._starts else None)
        self.stays.append(stay)
        return stay

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 - the keeper has no event for it
                await asyncio.sleep(0.01)

    def rejoins(self) -> dict[str, float]:
        return {
            labels["reason"]: value
            for name, labels, value in samples(self.metrics)
            if name == "access_monitor_rejoins_total"
        }


@pytest.fixture(autouse=True)
def brokers(monkeypatch: pytest.MonkeyPatch) -> list[MonitorError]:
    """Return what reaching the brokers raises, one each; then they answer."""
    away: list[MonitorError] = []

    async def wait_for_broker(kafka: object) -> None:
        if away:
            raise away.pop(0)

    monkeypatch.setattr(module, "wait_for_broker", wait_for_broker)
    monkeypatch.setattr(module, "_PAUSES", (0.0, 0.01))
    return away


async def test_a_passing_fault_ends_the_stay_and_the_next_one_begins(
    tmp_path: Path, brokers: list[MonitorError]
):
    stage = Stage(tmp_path)
    await stage.keeper.start()
    (first,) = stage.stays
    brokers.append(BrokerUnavailableError("away"))
    first.on_fatal(send_error(errors.KafkaTimeoutError()))
    assert first.ended == ["fence"], "at once: nothing may be sent any more"
    assert not stage.keeper.ready
    await stage.until(lambda: stage.keeper.ready)
    assert first.ended == ["fence", "drop", "leave"]
    assert len(stage.stays) == 2
    assert stage.rejoins() == {"timeout": 1}
    assert not stage.fatal


@pytest.mark.parametrize("part", ["drop", "leave"])
async def test_a_stay_that_does_not_end_ends_the_process(
    tmp_path: Path, part: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "_LEAVE_SECONDS", 0.05)
    stage = Stage(tmp_path)
    await stage.keeper.start()
    monkeypatch.setattr(stage.stays[0], part, asyncio.Event().wait)
    stage.stays[0].on_fatal(send_error(errors.KafkaTimeoutError()))
    await stage.until(lambda: stage.fatal)
    assert isinstance(stage.fatal[0], BrokerUnavailableError)
    assert len(stage.stays) == 1


async def test_a_broken_invariant_ends_the_process(tmp_path: Path):
    stage = Stage(tmp_path)
    await stage.keeper.start()
    broken = InvariantError("a hole")
    stage.stays[0].on_fatal(broken)
    assert stage.fatal == [broken]
    assert stage.stays[0].ended == []


async def test_what_an_earlier_stay_reports_counts_no_more(tmp_path: Path):
    stage = Stage(tmp_path)
    await stage.keeper.start()
    stage.stays[0].on_fatal(errors.KafkaConnectionError())
    stage.stays[0].on_fatal(InvariantError("its producer is closed"))
    await stage.until(lambda: stage.keeper.ready)
    stage.stays[0].on_fatal(errors.KafkaConnectionError())
    assert stage.rejoins() == {"unreachable": 1}
    assert not stage.fatal


async def test_faults_in_the_consumers_thread_are_handled_in_the_loop(tmp_path: Path):
    stage = Stage(tmp_path)
    await stage.keeper.start()
    thread = threading.Thread(target=stage.stays[0].on_fatal, args=[errors.KafkaConnectionError()])
    thread.start()
    thread.join()
    assert stage.stays[0].ended == []
    await stage.until(lambda: len(stage.stays) == 2 and stage.keeper.ready)


async def test_a_stay_that_does_not_start_is_tried_again(tmp_path: Path):
    stage = Stage(tmp_path, errors.KafkaTimeoutError(), errors.NotCoordinatorForGroupError(), None)
    await stage.keeper.start()
    await stage.until(lambda: stage.keeper.ready)
    assert [stay.ended for stay in stage.stays] == [["fence", "drop", "leave"]] * 2 + [[]]
    assert stage.rejoins() == {"timeout": 1, "broker": 1}


async def test_a_role_that_falls_out_again_and_again_ends_the_process(tmp_path: Path):
    stage = Stage(tmp_path, *[errors.KafkaTimeoutError()] * 10_000, seconds=0.3)
    await stage.keeper.start()
    await stage.until(lambda: stage.fatal)
    assert isinstance(stage.fatal[0], BrokerUnavailableError)
    assert "kafka.rejoin_timeout_seconds" in str(stage.fatal[0])


async def test_brokers_that_stay_away_end_the_process(tmp_path: Path, brokers: list[MonitorError]):
    brokers += [BrokerUnavailableError("away")] * 10_000
    stage = Stage(tmp_path, seconds=0.3)
    await stage.keeper.start()
    stage.stays[0].on_fatal(errors.KafkaConnectionError())
    await stage.until(lambda: stage.fatal)
    assert stage.fatal[0].exit_code == 69  # type: ignore[attr-defined]


async def test_the_time_without_the_role_is_counted(tmp_path: Path, brokers: list[MonitorError]):
    brokers += [BrokerUnavailableError("away")] * 5
    stage = Stage(tmp_path)
    await stage.keeper.start()
    stage.stays[0].on_fatal(errors.KafkaConnectionError())
    await stage.until(lambda: stage.keeper.ready)
    await stage.until(lambda: stage.keeper._back_at is not None)
    blind = [value for name, _, value in samples(stage.metrics) if name.endswith("blind_seconds_total")]
    assert blind[0] >= 0.05
