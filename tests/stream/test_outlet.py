"""From one rule set to the next: no row that either needs is missing, whenever a process hears of it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.events import AXIS, SUBJECT, RulesRecord
from monitor.core.rules import AllOf, Match, Rule, RuleSet, rule_set_document
from monitor.errors import ConfigurationError
from monitor.intake.event import Event
from monitor.intake.keys import Epoch, Keys
from monitor.intake.rows import EventRouter
from monitor.observe.metrics import Metrics, samples
from monitor.rulebook import compile_pattern
from monitor.stream import outlet as module
from monitor.stream.chunks import Partition
from monitor.stream.intake import StatusPartition
from monitor.stream.outlet import RoutedOutlet, RulesAnnouncer
from monitor.stream.sender import Delivery
from monitor.wire import routed
from monitor.wire.credentials import CredentialStatusEntry, RulesInForce, encode
from tests.response.stage import until
from tests.rig.configuration import settings_for
from tests.stream.test_intake_partition import SOURCE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from monitor.settings import Settings

KEYS = Keys(bytes(range(32)), (Epoch("k1", b"p" * 32),))
PARTITIONS = 4
SETTLE = 5


def rule(identity: str, axis: str, condition: Any) -> Rule:
    return Rule(identity, identity, "event_count", condition, (axis,), 60_000, 3)


#: The first counts refusals by address, the second patients and refusals by route: neither is in the other.
BEFORE = RuleSet((rule("a", "principal", AllOf(())), rule("b", "client_ip", Match("status", "gte", 400))))
AFTER = RuleSet((rule("c", "patient", AllOf(())), rule("d", "client_ip", Match("status", "lt", 400))))
SETS = {1: BEFORE, 2: AFTER}


def record(version: int, rule_set: RuleSet) -> RulesRecord:
    return RulesRecord(version, rule_set.revision, rule_set_document(rule_set))


class Log:
    """The routed topic, which several processes write to: per partition, what was put, in order."""

    def __init__(self) -> None:
        self.partitions: list[list[Any]] = [[] for _ in range(PARTITIONS)]

    def put(self, partition: int, value: bytes, delivery: Delivery) -> None:
        del delivery
        self.partitions[partition].append(routed.decode(value, "routed"))

    @property
    def versions(self) -> list[list[int]]:
        return [[entry.version for entry in log if isinstance(entry, RulesRecord)] for log in self.partitions]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path, broker="cluster", bootstrap="127.0.0.1:1", prefix="x.")


def outlet(settings: Settings, log: Log) -> RoutedOutlet:
    """Return the outlet of one process; all write to one log."""
    producer: Any = None
    fatal: Any = None
    made = RoutedOutlet(settings, producer, KEYS, Metrics(), fatal)
    made.routed = log  # type: ignore[assignment]
    return made


def needed(event: Event, offset: int, version: int) -> set[tuple[int, str, str]]:
    """Return (partition, axis, subject) of the rows that a rule set needs of an event."""
    router = EventRouter(SETS[version], KEYS, PARTITIONS, compile_pattern)
    return {(partition, row[AXIS], row[SUBJECT]) for partition, row in router.route((event,), offset)}


def event(number: int) -> Event:
    return Event(
        time_ms=number,
        realm="r",
        status=200 if number % 3 else 403,
        principal=f"p-{number % 5}",
        patients=((f"patient-{number}", None),),
        client_ip=f"192.0.2.{number % 7}",
    )


def missing(settings: Settings, seen: Sequence[int], reads: Sequence[int]) -> int:
    """Count rows that are missing where processes see the second set at different times.

    In each step every process first hears of what there is to hear, then those that read route one
    event. An event's time is the step it was read in. In a partition the set in force is that of the
    last announcement with a higher version; a window is complete from that announcement's time on.
    """
    log = Log()
    outlets = [outlet(settings, log) for _ in seen]
    for process in outlets:
        process.announce(record(1, BEFORE), Delivery())
    switched: list[int | None] = [None] * PARTITIONS
    lacking = 0
    for step, reader in enumerate(reads):
        for process, at in zip(outlets, seen, strict=True):
            if step == at:
                process.widen(record(2, AFTER))
            if step == at + SETTLE:
                process.announce(record(2, AFTER), Delivery())
        for partition, versions in enumerate(log.versions):
            if switched[partition] is None and 2 in versions:
                switched[partition] = step
        packer = outlets[reader % len(seen)].packer
        assert packer is not None
        sent = {(p, row[AXIS], row[SUBJECT]) for p, row in packer.router.route((event(step),), step)}
        for version in (1, 2):
            for row in needed(event(step), step, version) - sent:
                at_switch = switched[row[0]]
                in_force = 1 if at_switch is None else 2
                lacking += version == in_force
    return lacking


@given(
    first=st.integers(0, 20),
    lags=st.lists(st.integers(0, SETTLE), min_size=1, max_size=3),
    reads=st.lists(st.integers(0, 3), min_size=40, max_size=40),
)
def test_no_row_is_missing_while_processes_see_it_within_the_settling_time(
    settings_once: Settings, first: int, lags: list[int], reads: list[int]
):
    assert missing(settings_once, [first, *(first + lag for lag in lags)], reads) == 0


def test_control_a_process_that_sees_it_later_than_that_leaves_rows_out(settings_once: Settings):
    assert missing(settings_once, [5, 5 + SETTLE + 4], [1] * 40) > 0


@pytest.fixture(scope="module")
def settings_once(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("settings")
    return settings_for(folder, broker="cluster", bootstrap="127.0.0.1:1", prefix="x.")


def test_each_partition_hears_of_a_set_before_its_first_row_and_once(settings: Settings):
    log = Log()
    process = outlet(settings, log)
    assert process.packer is None
    process.widen(record(1, BEFORE))
    assert process.packer is None, "nothing is routed before the first announcement"
    for version in (1, 1, 2, 1):
        process.announce(record(version, SETS[version]), Delivery())
    assert log.versions == [[1, 2]] * PARTITIONS
    assert next(v for n, _, v in samples(process.metrics) if n == "access_monitor_rules_version") == 2


def test_a_set_that_comes_while_another_settles_is_routed_for_too(settings: Settings):
    process = outlet(settings, Log())
    third = RuleSet((rule("e", "tenant", AllOf(())),))
    process.announce(record(1, BEFORE), Delivery())
    process.widen(record(2, AFTER))
    process.widen(record(3, third))
    assert axes(process) == {"principal", "patient", "client_ip", "tenant"}
    process.announce(record(2, AFTER), Delivery())
    assert axes(process) == {"principal", "patient", "client_ip", "tenant"}
    process.announce(record(3, third), Delivery())
    assert axes(process) == {"principal", "tenant"}


def axes(process: RoutedOutlet) -> set[str]:
    assert process.packer is not None
    one = Event(1, "r", 200, principal="p", patients=(("a", "t"),), tenant="t", client_ip="192.0.2.1")
    return {row[AXIS] for _, row in process.packer.router.route((one,), 1)}


async def test_the_announcer_widens_at_once_and_announces_later(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.05)
    log = Log()
    process = outlet(settings, log)
    fatal: list[BaseException] = []
    announcer = RulesAnnouncer(process, fatal.append)
    await announcer.begin(in_force(1, BEFORE))
    assert log.versions == [[1]] * PARTITIONS
    announcer.follow(in_force(1, BEFORE))
    announcer.follow(in_force(2, AFTER))
    assert "patient" in axes(process)
    assert log.versions == [[1]] * PARTITIONS
    await until(lambda: log.versions == [[1, 2]] * PARTITIONS)
    announcer.follow(in_force(3, BEFORE))
    await announcer.stop()
    assert log.versions == [[1, 2]] * PARTITIONS, "a process that ends announces no more"
    assert fatal == []


async def test_a_process_that_starts_as_a_set_is_published_waits_like_the_others(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "SETTLE_SECONDS", 3600)
    log = Log()
    announcer = RulesAnnouncer(outlet(settings, log), lambda _: None)
    begun = asyncio.create_task(announcer.begin(in_force(2, AFTER)))
    await asyncio.sleep(0)
    assert not begun.done()
    assert log.versions == [[]] * PARTITIONS
    begun.cancel()
    await announcer.begin(in_force(1, BEFORE))
    assert log.versions == [[1]] * PARTITIONS, "before the first nobody routes by anything"
    await announcer.begin(in_force(2, AFTER, age_seconds=120))
    assert log.versions == [[1, 2]] * PARTITIONS


async def test_a_set_that_cannot_be_read_ends_the_process(settings: Settings):
    announcer = RulesAnnouncer(outlet(settings, Log()), lambda _: None)
    newer = RulesInForce(version=2, revision="x", document={"version": 9}, text={}, published_ms=1, by="x")
    with pytest.raises(ConfigurationError, match=r"version 2.+upgrade"):
        announcer.follow(newer)


def in_force(version: int, rule_set: RuleSet, *, age_seconds: float = 0) -> RulesInForce:
    return RulesInForce(
        version=version,
        revision=rule_set.revision,
        document=rule_set_document(rule_set),
        text={},
        published_ms=int((time.time() - age_seconds) * 1000),
        by="x",
    )


def test_rule_sets_that_an_earlier_monitor_said_in_status_are_passed_over(settings: Settings):
    process = outlet(settings, Log())
    reader = StatusPartition(Partition("status", 0), 0, SOURCE, process)
    told = CredentialStatusEntry(realm="r", id="p", status="suspended", version=1, at_ms=5, finding=None)  # type: ignore[arg-type]
    former = b'{"kind":"rules","v":1,"version":7,"revision":"x","document":{"version":1,"rules":[]}}'
    targets: dict[int, list[Any]] = {}

    class Entry:
        topic, partition = "status", 0

        def __init__(self, offset: int, value: bytes) -> None:
            self.offset, self.value = offset, value

    records: Any = [Entry(0, former), Entry(1, encode(told))]
    reader.rows(records, targets, Delivery())
    assert [(piece.last, piece.rows) for pieces in targets.values() for piece in pieces] == [(1, 1)]
    assert process.rules_version == -1
