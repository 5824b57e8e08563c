"""What a flush of detect commits: nothing that is admitted and not applied yet."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import AsyncMock, MagicMock

from monitor.observe.metrics import Metrics
from monitor.stream.chunks import Chunk, Partition
from monitor.stream.detect import DetectPartition
from monitor.wire.routed import encode_rows, encode_rules
from tests.core.samples import EVENTS, event, rule, rules_record
from tests.rig.configuration import settings_for

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

NOW = 1_772_359_200_000


def record(offset: int, value: bytes) -> Any:
    return SimpleNamespace(
        topic="c.routed", partition=0, offset=offset, timestamp=NOW, value=value, headers=()
    )


async def test_a_flush_that_comes_between_two_chunks_commits_the_first_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = settings_for(tmp_path, broker="embedded", bootstrap="127.0.0.1:1", prefix="c.")
    sender = MagicMock(room=AsyncMock())
    senders = cast("Any", SimpleNamespace(findings=sender, evidence=sender, rejected=sender))
    part = DetectPartition(Partition("c.routed", 0), 0, settings, Metrics(), senders)
    written: list[Any] = []
    monkeypatch.setattr(part, "_write", AsyncMock(side_effect=written.append))
    rules = record(0, encode_rules(rules_record([rule("many", threshold=2)])))
    rows = record(1, encode_rows(EVENTS, 0, 0, [event(0, NOW)], resume=True))

    await part.take(part.continuity.admit(Chunk(0, 1, [rules])))
    async with part._lock:
        flush = asyncio.create_task(part.flush(final=True))
        await asyncio.sleep(0)  # it waits for the lock
        taking = asyncio.create_task(part.take(part.continuity.admit(Chunk(1, 2, [rows]))))
        await asyncio.sleep(0)  # it waits behind the flush
        assert part.continuity.next == 2
    assert await flush == 1
    await taking
    assert await part.flush(final=True) == 2
    # Markers of transactions are no records: nothing is to be applied, and the position moves on.
    part.continuity.admit(Chunk(2, 5, []))
    assert await part.flush(final=True) == 5
    assert len(written) == 3
