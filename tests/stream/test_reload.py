"""SIGHUP and the rule files: what is published, what is not, and what the metrics say of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from monitor.core.rules import AllowList, RuleSet, rule_set_document
from monitor.errors import BrokerUnavailableError
from monitor.observe.metrics import Metrics
from monitor.rulebook import load_rules
from monitor.stream import reload as module
from monitor.stream.control import Answer
from monitor.stream.reload import RuleFiles
from monitor.wire.credentials import PublishRules, RulesInForce
from tests.response.stage import metric, until
from tests.rig.configuration import settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from monitor.settings import Settings

RULE = """\
title: A read
id: 11111111-1111-4111-8111-111111111111
name: a_read
logsource: {product: access-monitor, category: api_access}
detection: {any: {status|gte: 200}, condition: any}
---
title: Many reads
id: 22222222-2222-4222-8222-222222222222
correlation: {type: event_count, rules: [a_read], group-by: [principal], timespan: 1m, condition: {gte: 50}}
level: high
"""


class Follower:
    """What a process knows of the rule set in force."""

    def __init__(self) -> None:
        self.newest: RulesInForce | None = None
        self._hearers: list[Callable[[RulesInForce], None]] = []

    def tell(self, hear: Callable[[RulesInForce], None]) -> None:
        self._hearers.append(hear)

    def activate(self, rule_set: RuleSet) -> None:
        version = 1 if self.newest is None else self.newest.version + 1
        self.newest = RulesInForce(
            version=version,
            revision=rule_set.revision,
            document=rule_set_document(rule_set),
            text={},
            published_ms=1,
            by="x",
        )
        for hear in self._hearers:
            hear(self.newest)


class Machine:
    """A worker's machine with a folder of rules, and the enforcer somewhere else."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.path = folder / "rules" / "own.yml"
        self.metrics = Metrics()
        self.follower = Follower()
        self.fatal: list[BaseException] = []
        follower: Any = self.follower
        self.files = RuleFiles(settings, self.metrics, follower, self.fatal.append)
        self.acts: list[PublishRules] = []
        self.error: Exception | None = None

    async def publish(self, _settings: Settings, act: PublishRules) -> Answer:
        self.acts.append(act)
        if self.error is not None:
            raise self.error
        self.follower.activate(load_rules([self.path]).rule_set)
        return Answer(True, 2, act.revision)

    def metric(self, name: str, **labels: str) -> float:
        return metric(self.metrics, name, **labels)


@pytest.fixture
async def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Machine]:
    """Return a machine whose files say what is in force."""
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "own.yml").write_text(RULE)
    settings = settings_for(
        tmp_path,
        broker="cluster",
        bootstrap="127.0.0.1:1",
        prefix="x.",
        rules={"paths": ["rules"]},
        worker={"instance": "worker-7"},
    )
    made = Machine(tmp_path, settings)
    monkeypatch.setattr(module, "publish", made.publish)
    monkeypatch.setattr(module, "COMPARE_SECONDS", 0.02)
    made.files.start()
    made.follower.activate(load_rules([made.path]).rule_set)
    yield made
    await made.files.stop()
    assert made.fatal == []


async def differs(machine: Machine, value: int) -> None:
    await until(lambda: machine.metric("rules_differ_from_files") == value)


async def test_a_start_publishes_nothing_and_a_difference_is_a_metric(machine: Machine):
    assert machine.metric("rules_last_reload_successful") == 1
    machine.path.write_text(RULE.replace("gte: 50", "gte: 40"))
    await differs(machine, 1)
    machine.path.write_text(RULE)
    await differs(machine, 0)
    machine.path.write_text("title: broken\n")
    await differs(machine, 1)
    machine.path.write_text(RULE.replace("gte: 50", "gte: 40"))
    machine.follower.activate(load_rules([machine.path]).rule_set)
    await differs(machine, 0)
    assert machine.acts == []


async def test_sighup_publishes_what_the_files_say(machine: Machine):
    machine.path.write_text(RULE.replace("gte: 50", "gte: 40"))
    machine.files.reload()
    await until(lambda: machine.metric("rules_last_reload_success_timestamp_seconds") > 0)
    (act,) = machine.acts
    assert act.by == "SIGHUP on worker-7"
    assert act.document["rules"][0]["threshold"] == 40
    assert list(act.text.values()) == [machine.path.read_text()]
    await differs(machine, 0)
    assert machine.metric("rules_reload_failures_total") == 0


async def test_sighup_with_what_is_in_force_publishes_nothing(machine: Machine):
    machine.files.reload()
    await until(lambda: machine.metric("rules_last_reload_success_timestamp_seconds") > 0)
    assert machine.acts == []


async def test_a_broken_set_is_said_with_all_its_faults_and_shows_in_metrics(
    machine: Machine, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    machine.path.write_text(RULE.replace("status|gte", "bogus").replace("gte: 50", "gte: 0"))
    machine.files.reload()
    await until(lambda: machine.metric("rules_reload_failures_total") == 1)
    assert machine.metric("rules_last_reload_successful") == 0
    assert machine.acts == []
    # On stdout, or through logging where a test before this one has set that up.
    said = capsys.readouterr().out + caplog.text
    assert "bogus" in said
    assert "correlation.condition" in said
    machine.path.write_text(RULE)
    machine.files.reload()
    await until(lambda: machine.metric("rules_last_reload_successful") == 1)


@pytest.mark.parametrize(
    "error", [BrokerUnavailableError("no enforcer answered"), OSError("no room")], ids=["silence", "crash"]
)
async def test_what_cannot_be_published_ends_no_worker(machine: Machine, error: Exception):
    machine.error = error
    machine.path.write_text(RULE.replace("gte: 50", "gte: 40"))
    machine.files.reload()
    await until(lambda: machine.metric("rules_reload_failures_total") == 1)
    assert machine.metric("rules_last_reload_successful") == 0


async def test_the_end_of_each_allow_list_is_a_metric_while_it_is_in_force(machine: Machine):
    rule_set = load_rules([machine.path]).rule_set
    lists = (AllowList("a-1", "Nightly copy", "ops", 5_000), AllowList("a-2", "", "ops", 9_000))
    machine.follower.activate(RuleSet(rule_set.rules, lists))
    name = "allow_list_expiry_timestamp_seconds"
    assert machine.metric(name, allow_list="Nightly copy") == 5
    assert machine.metric(name, allow_list="a-2") == 9
    machine.follower.activate(RuleSet(rule_set.rules, lists[:1]))
    assert machine.metric(name, allow_list="a-2") == 0
