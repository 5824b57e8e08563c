"""However many credentials there are, Prometheus gets no more series for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import AsyncMock, MagicMock

from monitor.observe.catalogue import samples
from monitor.observe.metrics import Metrics
from monitor.stream.chunks import Partition
from monitor.stream.detect import DetectPartition
from monitor.wire.routed import arrival_header, encode_rows, encode_rules
from tests.core.samples import EVENTS, event, rule, rules_record
from tests.rig.configuration import settings_for

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_772_359_200_000
SUBJECTS = 100_000
#: Of them so many exceed the limit.
OVER = 200


def series(metrics: Metrics) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    return {(name, tuple(sorted(labels.items()))) for name, labels, _ in samples(metrics)}


async def test_a_hundred_thousand_subjects_add_no_series(tmp_path: Path):
    settings = settings_for(tmp_path, broker="embedded", bootstrap="127.0.0.1:1", prefix="c.")
    metrics = Metrics(roles=["worker", "detect"])
    sender = MagicMock(room=AsyncMock())
    senders = cast("Any", SimpleNamespace(findings=sender, evidence=sender, rejected=sender))
    part = DetectPartition(Partition("c.routed", 0), 0, settings, metrics, senders)

    def record(offset: int, value: bytes) -> Any:
        return SimpleNamespace(
            topic="c.routed",
            partition=0,
            offset=offset,
            timestamp=NOW,
            value=value,
            headers=(arrival_header(NOW),),
        )

    def rows(first: int, names: list[str]) -> bytes:
        made = [event(first + at, NOW, principal=name) for at, name in enumerate(names)]
        return encode_rows(EVENTS, first, first + len(made) - 1, made, resume=not first)

    await part.take([record(0, encode_rules(rules_record([rule("many", threshold=2)])))])
    await part.take([record(1, rows(0, ["one", "one"]))])
    before = series(metrics)
    names = [f"credential-{number}" for number in range(SUBJECTS - 1)]
    await part.take([record(2, rows(2, names))])
    await part.take([record(3, rows(2 + len(names), names[:OVER]))])
    assert len(part.subjects) == SUBJECTS
    found = sum(value for name, _, value in samples(metrics) if name == "access_monitor_findings_total")
    assert found == OVER + 1
    assert series(metrics) == before
    assert not [labels for _, labels in before if "credential-" in str(labels)]
