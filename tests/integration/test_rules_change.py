"""Rules change while everything runs: by command and by SIGHUP, forth and back, on every worker."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

from monitor.core.events import AXIS, KIND, OFFSET, RowKind, RowsRecord
from monitor.errors import ExitCode
from monitor.wire import routed
from tests.integration.stack import Stack, wait_for
from tests.integration.test_crash import assert_routed_once
from tests.integration.test_loop import event
from tests.rig.broker import create_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.stack import Process

BASE = """\
title: A read
id: 11111111-1111-4111-8111-111111111111
name: a_read
logsource: {product: access-monitor, category: api_access}
detection: {any: {status|gte: 200}, condition: any}
"""
PER_CREDENTIAL = """\
---
title: One credential reads many patients
id: 22222222-2222-4222-8222-222222222222
correlation:
  type: value_count
  rules: [a_read]
  group-by: [principal]
  timespan: 10m
  condition: {field: patient, gte: 50}
level: high
response: {action: suspend, mode: enforce, ttl: 1h}
"""
PER_TENANT = """\
---
title: Many credentials read in one practice
id: 33333333-3333-4333-8333-333333333333
correlation:
  type: value_count
  rules: [a_read]
  group-by: [tenant]
  timespan: 10m
  condition: {field: principal, gte: 8}
level: medium
response: {action: alert}
"""
CREDENTIALS = [f"partner-{number}" for number in range(8)]


class Rules:
    """The rule files of an installation."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "rules" / "own.yml"
        self._path.parent.mkdir()
        self.write(BASE + PER_CREDENTIAL)

    def write(self, text: str) -> None:
        self._path.write_text(text, encoding="utf-8")


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    return Rules(tmp_path)


@pytest.fixture
def own_stack(new_stack: Callable[..., Stack], rules: Rules) -> Stack:
    """Return an installation with rules of its own, after `monitor init`, on both brokers."""
    stack = new_stack(rules={"paths": ["rules"]})
    done = stack.run("init", "--from", "earliest")
    assert done.returncode == 0, done.stderr
    return stack


@pytest.fixture
def cluster_stack(tmp_path: Path, kafka: str, prefix: str, rules: Rules) -> Iterator[Stack]:
    """Return the same on a real Kafka."""
    create_topic(kafka, f"{prefix}gate", 3)
    stack = Stack(tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix, rules={"paths": ["rules"]})
    done = stack.run("init", "--from", "earliest")
    assert done.returncode == 0, done.stderr
    yield stack
    stack.close()


def in_force(stack: Stack) -> tuple[int, str]:
    """Return version and revision, as `monitor status` shows them."""
    plain = json.loads(stack.run("status", "--json").stdout)
    return plain["rules_version"], plain["rules_revision"]


def gauge(worker: Process, name: str) -> float:
    """Return a metric of a worker."""
    for line in worker.metrics().splitlines():
        if line.startswith(f"access_monitor_{name} "):
            return float(line.rsplit(" ", 1)[1])
    return -1


def listed(stack: Stack) -> dict[str, dict[str, Any]]:
    """Return what `monitor rules list` says, by title."""
    done = stack.run("rules", "list", "--json")
    assert done.returncode == 0, done.stderr
    return {plain["title"]: plain for plain in map(json.loads, done.stdout.splitlines())}


def ship(stack: Stack, first: int, patients: int) -> None:
    """Let every credential read some patients of all practices."""
    stack.ship(event(who, patient) for patient in range(first, first + patients) for who in CREDENTIALS)


@pytest.mark.kafka
def test_every_worker_routes_by_a_set_that_is_published_in_mid_stream(cluster_stack: Stack, rules: Rules):
    stack = cluster_stack
    workers = [stack.worker(), stack.worker()]
    for worker in workers:
        wait_for(lambda worker=worker: reads_sources(worker), worker)  # type: ignore[misc]
    ship(stack, 0, 14)
    rules.write(BASE + PER_CREDENTIAL + PER_TENANT)
    done = stack.run("rules", "publish", "--yes", "--reason", "whole practices")
    assert done.returncode == 0, done.stderr
    assert "+ rule 33333333 'Many credentials read in one practice'" in done.stdout
    assert "In force: version 2" in done.stdout
    ship(stack, 14, 14)
    for worker in workers:
        wait_for(lambda worker=worker: gauge(worker, "rules_version") == 2, worker)  # type: ignore[misc]
    ends = source_ends(stack)
    ship(stack, 28, 14)
    wait_for(lambda: len([f for f in stack.findings() if f["axis"] == "tenant"]) >= 7, workers[0])
    assert in_force(stack)[0] == 2
    for worker in workers:
        assert worker.terminate() == 0
    assert_each_has_a_tenant_row(stack, ends)
    assert_routed_once(stack)
    expected = {finding["id"]: finding for finding in stack.fold()}
    assert {finding["id"]: finding for finding in stack.findings()} == expected


def reads_sources(worker: Process) -> bool:
    """Return whether a worker has a share of the source."""
    return any(
        line.startswith("access_monitor_partitions{") and 'gate"' in line and not line.endswith(" 0.0")
        for line in worker.metrics().splitlines()
    )


def source_ends(stack: Stack) -> list[int]:
    return [len(source(stack, partition)) for partition in range(3)]


def source(stack: Stack, partition: int) -> list[Any]:
    return stack.records(
        stack.settings.sources[0].topic.removeprefix(stack.settings.kafka.topic_prefix), partition
    )


def assert_each_has_a_tenant_row(stack: Stack, since: list[int]) -> None:
    """Every event of after both workers' announcements has a row on the new axis."""
    found = set()
    for partition in range(stack.settings.kafka.partitions):
        for record in stack.records("routed", partition):
            entry = routed.decode(record.value, "routed")
            if isinstance(entry, RowsRecord):
                found |= {
                    (entry.source.partition, row[OFFSET])
                    for row in entry.rows
                    if row[KIND] == RowKind.EVENT and row[AXIS] == "tenant"
                }
    expected = {
        (partition, offset)
        for partition, first in enumerate(since)
        for offset in range(first, len(source(stack, partition)))
    }
    assert len(expected) == 14 * len(CREDENTIALS)
    assert expected <= found


def test_forth_and_back_by_command(own_stack: Stack, rules: Rules):
    stack = own_stack
    worker = stack.worker()
    first = in_force(stack)
    assert first[0] == 1
    done = stack.run("rules", "diff")
    assert (done.returncode, done.stdout) == (0, f"No difference: revision {first[1]} is in force.\n")
    done = stack.run("rules", "publish", "--yes")
    assert (done.returncode, done.stdout.split(":")[0]) == (0, "Nothing changes")

    rules.write(BASE + PER_CREDENTIAL.replace("gte: 50", "gte: 40") + PER_TENANT)
    done = stack.run("rules", "diff")
    assert done.returncode == ExitCode.FAILED
    assert "threshold: 50 → 40\n    its window stays" in done.stdout
    assert "its window starts anew: warming for 10m" in done.stdout
    plain = json.loads(stack.run("rules", "diff", "--json").stdout)
    assert plain["rules"]["changed"][0]["changes"] == {"threshold": [50, 40]}
    done = stack.run("rules", "publish", "--reason", "stricter")
    assert (done.returncode, "say --yes" in done.stderr) == (ExitCode.USAGE, True)
    done = stack.run("rules", "publish", "--yes", "--reason", "stricter")
    assert done.returncode == 0, done.stderr
    assert in_force(stack)[0] == 2
    wait_for(lambda: gauge(worker, "rules_version") == 2, worker)

    # The stricter rule takes what was counted before.
    stack.ship(event("partner-1", patient) for patient in range(40))
    wait_for(lambda: stack.credential("gate/partner-1"), worker)
    show = stack.run("rules", "show", "one credential")
    assert "finds            40 different patients per principal in 10m" in show.stdout
    assert "condition: {field: patient, gte: 40}" in show.stdout
    mine = listed(stack)["One credential reads many patients"]
    assert (mine["findings"], mine["subjects"], mine["refused"], mine["would_refuse"]) == (1, 1, 1, 0)
    assert (mine["warming"], mine["version"]) == (True, 2), "the installation is younger than ten minutes"

    done = stack.run("rules", "rollback", "--yes")
    assert done.returncode == 0, done.stderr
    assert in_force(stack) == (3, first[1])
    assert "threshold: 40 → 50" in done.stdout
    history = [json.loads(line) for line in stack.run("rules", "history", "--json").stdout.splitlines()]
    assert [entry["version"] for entry in history] == [3, 2, 1]
    assert [entry["back_to"] for entry in history] == [1, None, None]
    assert [entry["reason"] for entry in history] == ["back to version 1", "stricter", "first rule set"]
    assert "gte: 40" in next(iter(history[1]["text"].values()))
    assert history[0]["text"] == history[2]["text"]
    wait_for(lambda: gauge(worker, "rules_differ_from_files") == 1, worker)
    earlier = listed(stack)["One credential reads many patients"]
    assert (earlier["findings"], earlier["earlier_findings"]) == (0, 1)
    done = stack.run("rules", "rollback", "--yes", "--to", history[1]["revision"][:8])
    assert done.returncode == 0, done.stderr
    assert in_force(stack) == (4, history[1]["revision"])
    assert worker.terminate() == 0


def test_sighup_publishes_sound_files_and_refuses_broken_ones(own_stack: Stack, rules: Rules):
    stack = own_stack
    worker = stack.worker()
    wait_for(lambda: gauge(worker, "rules_differ_from_files") == 0, worker)
    rules.write(BASE + PER_CREDENTIAL.replace("gte: 50", "gte: 0").replace("10m", "10 bananas"))
    worker.process.send_signal(signal.SIGHUP)
    wait_for(lambda: gauge(worker, "rules_reload_failures_total") == 1, worker)
    assert gauge(worker, "rules_last_reload_successful") == 0
    wait_for(lambda: gauge(worker, "rules_differ_from_files") == 1, worker)
    assert "correlation.timespan" in worker.said
    assert "correlation.condition" in worker.said
    assert in_force(stack)[0] == 1

    rules.write(BASE + PER_CREDENTIAL + PER_TENANT)
    worker.process.send_signal(signal.SIGHUP)
    wait_for(lambda: gauge(worker, "rules_last_reload_successful") == 1, worker)
    assert in_force(stack)[0] == 2
    wait_for(lambda: gauge(worker, "rules_differ_from_files") == 0, worker)
    wait_for(lambda: gauge(worker, "rules_version") == 2, worker)
    (second,) = [entry for entry in stack.decisions("rules_activated") if entry["version"] == 2]
    assert second["by"].startswith("SIGHUP on ")
    ship(stack, 0, 7)
    wait_for(lambda: len(stack.findings()) >= 7, worker)
    assert worker.terminate() == 0


def test_a_rule_in_shadow_says_what_it_would_have_done(own_stack: Stack, rules: Rules):
    stack = own_stack
    rules.write(BASE + PER_CREDENTIAL.replace("mode: enforce", "mode: shadow"))
    worker = stack.worker()
    assert stack.run("rules", "publish", "--yes").returncode == 0
    wait_for(lambda: gauge(worker, "rules_version") == 2, worker)
    stack.ship(event(who, patient) for patient in range(50) for who in CREDENTIALS[:3])
    wait_for(lambda: len(stack.decisions("suppressed")) == 3, worker)
    mine = listed(stack)["One credential reads many patients"]
    assert (mine["findings"], mine["subjects"], mine["would_refuse"], mine["refused"]) == (3, 3, 3, 0)
    table = stack.run("rules", "list").stdout
    assert "would have suspended 3" in table
    assert "version 2" in table.lower()
    assert worker.terminate() == 0


def test_without_an_enforcer_a_publish_says_so(own_stack: Stack, rules: Rules):
    rules.write(BASE + PER_CREDENTIAL + PER_TENANT)
    done = own_stack.run("rules", "publish", "--yes", "--timeout", "1")
    assert done.returncode == ExitCode.UNAVAILABLE
    assert "no enforcer answered within 1 s" in done.stderr
    done = own_stack.run("rules", "list")
    assert done.returncode == ExitCode.CONFIG
    assert "none is in force" in done.stderr
    worker = own_stack.worker()
    # What init published and what was published after it: both are in force in turn.
    assert in_force(own_stack)[0] == 2
    assert worker.terminate() == 0
