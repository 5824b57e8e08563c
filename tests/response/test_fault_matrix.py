"""Every fault of a receiver, and the enforcer dies in the middle of it: nothing is lost, nothing is told twice
under another id, and no credential's versions change their order."""

from __future__ import annotations

import ssl
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from monitor.response.enforcer import Enforcer
from monitor.stream.producers import plain_producer
from tests.response.stage import Receiver, decisions, finding, found, records, until, webhook
from tests.response.test_outbound import certificate
from tests.response.test_webhook import busy, drop, hang, moved, slow_body

if TYPE_CHECKING:
    from pathlib import Path

    from tests.response.conftest import Install
    from tests.response.stage import Cast

CREDENTIALS = 4


async def down(receiver: Receiver) -> None:
    """Refuse connections."""
    await receiver.down()


FAULTS: dict[str, Any] = {
    "500": 500,
    "timeout": hang,
    "connection refused": down,
    "drop after accept": drop,
    "429 with Retry-After": busy,
    "redirect": moved,
    "slow body": slow_body,
}


class Dying:
    """An enforcer that ends as a crash would: nothing is waited for, nothing more is written."""

    def __init__(self, cast: Cast) -> None:
        self._cast = cast

    async def __aenter__(self) -> Enforcer:
        self._producer = plain_producer(self._cast.settings.kafka)
        await self._producer.start()
        self._enforcer = Enforcer(
            self._cast.settings, self._cast.metrics, self._producer, self._cast.fatal.append
        )
        await self._enforcer.start()
        return self._enforcer

    async def __aexit__(self, *_: object) -> None:
        await self._enforcer.drop()
        await self._producer.stop()


@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_is_lost_where_the_enforcer_dies_in_the_middle(
    install: Install, tmp_path: Path, receiver: Receiver, fault: str
):
    cast = install(webhooks=[webhook(tmp_path, receiver.url, timeout="300ms")])
    await _run(cast, receiver, FAULTS[fault])


async def test_nothing_is_lost_behind_a_certificate_that_is_not_believed(
    install: Install, tmp_path: Path, receiver: Receiver
):
    """Nobody is told through it; with the right one everybody is, by the enforcer that comes after."""
    wrong, right = certificate(tmp_path, "other.example"), certificate(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(wrong[1], wrong[0])
    await receiver.down()
    receiver.tls = context
    await receiver.up()
    both = tmp_path / "authorities.pem"
    both.write_text(wrong[1].read_text() + right[1].read_text())
    plain = webhook(tmp_path, f"https://127.0.0.1:{receiver.port}/hook", ca_file=str(both))
    cast = install(webhooks=[plain])

    async def mend() -> None:
        assert receiver.calls == []
        mended = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        mended.load_cert_chain(right[1], right[0])
        await receiver.down()
        receiver.tls = mended
        await receiver.up()

    await _run(cast, receiver, None, mend)


async def _run(cast: Cast, receiver: Receiver, fault: Any, mend: Any = None) -> None:
    if fault is down:
        await receiver.down()
    elif fault is not None:
        receiver.answers = [fault]
    async with Dying(cast) as enforcer:
        told = [finding(number, f"partner-{number}") for number in range(CREDENTIALS)]
        await enforcer.apply_findings(await found(cast.settings, *told))
        await until(lambda: _attempted(cast, 2))
        # A suspension becomes a revocation while the first call is still not taken, or just was.
        harder = [finding(10 + number, f"partner-{number}", action="revoke") for number in range(2)]
        await enforcer.apply_findings(await found(cast.settings, *harder))
    async with Dying(cast):
        await until(lambda: _attempted(cast, 4))
    if mend is not None:
        await mend()
    if fault is down:
        await receiver.up()
    receiver.answers = [204]
    async with cast.enforcer() as enforcer:
        await until(lambda: _all_taken(cast))
        assert enforcer.findings_offset == CREDENTIALS + 2
    assert cast.fatal == []

    ids: dict[tuple[str, int], set[str]] = defaultdict(set)
    versions: dict[str, list[int]] = defaultdict(list)
    for call, body in zip(receiver.calls, receiver.bodies, strict=True):
        data = body["data"]
        ids[data["id"], data["version"]].add(call[0]["webhook-id"])
        versions[data["id"]].append(data["version"])
    assert set(versions) == {f"partner-{number}" for number in range(CREDENTIALS)}
    assert all(len(one) == 1 for one in ids.values()), "one id per decision"
    assert len({next(iter(one)) for one in ids.values()}) == len(ids), "and another for another decision"
    for of_one in versions.values():
        assert of_one == sorted(of_one), "the newest word is the last"
    assert versions["partner-0"][-1] == versions["partner-1"][-1] == 2
    ledger = await decisions(cast.settings)
    assert sum(entry["kind"] == "requested" for entry in ledger) == CREDENTIALS + 2
    newest = {record.key: record.value for record in await records(cast.settings, "credentials")}
    assert len([key for key in newest if not key.startswith(b"@")]) == CREDENTIALS


async def _attempted(cast: Cast, times: int) -> bool:
    return len(await decisions(cast.settings, "attempted")) >= times


async def _all_taken(cast: Cast) -> bool:
    newest = {}
    for entry in await decisions(cast.settings, "requested", "accepted"):
        newest[entry["id"]] = entry["kind"], entry["version"]
    wanted = {f"partner-{number}": 2 if number < 2 else 1 for number in range(CREDENTIALS)}
    return newest == {who: ("accepted", version) for who, version in wanted.items()}
