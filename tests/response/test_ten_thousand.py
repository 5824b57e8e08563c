"""Ten thousand decisions at once, through all that is real: ledger, enforcer, line, and a receiver over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

import orjson
import pytest

from monitor.response.enforcer import Enforcer
from monitor.stream.producers import plain_producer
from monitor.stream.topics import create_topics
from monitor.wire.acts import Reinstate
from tests.response.stage import Cast, Receiver, decisions, finding, now_ms, records, webhook
from tests.rig.configuration import settings_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from monitor.settings import Settings

COUNT: Final = 10_000
#: Credentials that a person lets in again while the receiver is down: their first version is never due.
REINSTATED: Final = 500
WITHIN_SECONDS: Final = 120.0
NO_CEILING: Final = {"ceiling": 2 * COUNT, "rule_ceiling": 2 * COUNT, "many": 2 * COUNT}


@pytest.mark.kafka
async def test_ten_thousand_pending_outlive_a_dead_receiver_and_a_dead_enforcer(
    kafka: str, prefix: str, tmp_path: Path, receiver: Receiver
):
    """The receiver is down at first, and the enforcer is dropped in the middle, as a crash would.

    Every credential's last word is its newest version, no older one comes after it, and a decision has
    one id however often it was told. On a real Kafka: the embedded broker keeps 5 MB of a partition.
    """
    adapter = {**webhook(tmp_path, receiver.url, concurrency=64), "name": "webhook-0"}
    response = {"mode": "enforce", "retry_ceiling": "500ms", "adapters": [adapter], "fuse": NO_CEILING}
    cast = Cast(settings_for(tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix, response=response))
    create_topics(cast.settings)
    await receiver.down()
    await _write_findings(cast.settings)
    newly = await records(cast.settings, "findings")
    assert len(newly) == COUNT
    producer = plain_producer(cast.settings.kafka)
    await producer.start()
    first = Enforcer(cast.settings, cast.metrics, producer, cast.fatal.append)
    await first.start()
    await first.apply_findings(newly)
    assert cast.metric("decisions_total", kind="requested") == COUNT
    assert receiver.calls == []
    await asyncio.gather(
        *(first.people.act(_reinstate(number)) for number in range(0, COUNT, COUNT // REINSTATED))
    )
    await receiver.up()
    await _until(lambda: cast.metric("deliveries_total", adapter="webhook-0", result="accepted") >= COUNT / 3)
    await first.drop()
    await producer.stop()
    told_by_first = len(receiver.calls)
    assert COUNT / 3 <= told_by_first < COUNT, "it died in the middle"

    async with cast.enforcer() as second:
        await second.apply_findings(newly)  # and decides none of them again
        await _until(lambda: cast.metric("oldest_undelivered_seconds") == 0)
    assert cast.fatal == []
    ledger = await decisions(cast.settings)
    kinds = Counter(entry["kind"] for entry in ledger)
    assert (kinds["requested"], kinds["reinstated"], kinds["failed"]) == (COUNT, REINSTATED, 0)
    accepted = Counter(entry["id"] for entry in ledger if entry["kind"] == "accepted")
    assert len(accepted) == COUNT
    assert set(accepted.values()) == {1}

    versions: dict[str, list[int]] = defaultdict(list)
    ids: dict[tuple[str, int], set[str]] = defaultdict(set)
    for headers, raw in receiver.calls:
        told = orjson.loads(raw)["data"]
        versions[told["id"]].append(told["version"])
        ids[told["id"], told["version"]].add(headers["webhook-id"])
    newest = {f"partner-{number}": 2 if _is_reinstated(number) else 1 for number in range(COUNT)}
    assert {who: told[-1] for who, told in versions.items()} == newest, "nothing is lost"
    assert all(told == sorted(told) for told in versions.values()), "no older word comes after a newer one"
    assert {len(of_one) for of_one in ids.values()} == {1}, "one decision, one id"
    assert len({one for of_one in ids.values() for one in of_one}) == len(ids), "and it is no other's"


async def _write_findings(settings: Settings) -> None:
    at_ms = now_ms()
    one = finding(1, "partner-0", at_ms=at_ms)
    values = [
        orjson.dumps(
            {
                **one,
                "id": hashlib.sha256(str(number).encode()).hexdigest()[:32],
                "subject": f"gate/partner-{number}",
                "principal": f"partner-{number}",
            }
        )
        for number in range(COUNT)
    ]
    producer = plain_producer(settings.kafka)
    await producer.start()
    try:
        sends = [await producer.send(settings.topic("findings"), value, partition=0) for value in values]
        await asyncio.gather(*sends)
    finally:
        await producer.stop()


def _is_reinstated(number: int) -> bool:
    return number % (COUNT // REINSTATED) == 0


def _reinstate(number: int) -> Reinstate:
    return Reinstate(
        act=f"act-{number}", by="anna", reason="known", at_ms=now_ms(), realm="gate", id=f"partner-{number}"
    )


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_SECONDS):
        while not condition():  # noqa: ASYNC110 - it is a metric that tells
            await asyncio.sleep(0.05)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Ten thousand warnings are not what a test is about."""
    caplog.set_level("CRITICAL")
