"""What `monitor doctor` tries; each check says what it found, and raises nothing."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import aiohttp
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from monitor.errors import ConfigurationError, MonitorError
from monitor.intake.inputs import Input
from monitor.response.adapters import build_endpoints
from monitor.stream.kafka import consumer_options
from monitor.stream.overview import read_overview
from monitor.stream.plan import rights_of
from monitor.stream.reach import wait_for_broker
from monitor.stream.rights import ask, may_do_everything
from monitor.stream.topics import check_topics, partition_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka.structs import ConsumerRecord

    from monitor.settings import KafkaSettings, Settings, SourceSettings
    from monitor.stream.plan import Right

#: Records of each partition that are looked at.
_SAMPLE: Final = 100
_SILENT_SECONDS: Final = 15.0
_DELAY_SECONDS: Final = 5.0
_AHEAD_SECONDS: Final = 1.0
_TIMEOUT: Final = aiohttp.ClientTimeout(total=5)
_POLL_MS: Final = 100
_READ_SECONDS: Final = 5.0


class Result(NamedTuple):
    """One thing that was tried."""

    what: str
    verdict: Literal["ok", "warning", "failed"]
    found: str


async def examine(settings: Settings, roles: Sequence[str]) -> list[Result]:
    """Try everything, in the order in which one thing needs another; `roles` are those whose rights we need."""
    try:
        await wait_for_broker(settings.kafka)
    except MonitorError as error:
        return [Result("Kafka", "failed", str(error)), *await _around(settings)]
    results = [Result("Kafka", "ok", ", ".join(settings.kafka.bootstrap_servers))]
    results += await asyncio.to_thread(_rights, settings, roles)
    results += await _topics(settings)
    results += await _monitor(settings)
    for source in settings.sources:
        results += await _source(settings, source)
    return [*results, *await _around(settings)]


def _rights(settings: Settings, roles: Sequence[str]) -> list[Result]:
    """Tell which rights each role lacks, on each cluster that it uses."""
    needed = {role: rights_of(settings, role) for role in roles}
    clusters: list[KafkaSettings] = []
    for right in (right for rights in needed.values() for right in rights):
        if right.kafka not in clusters:
            clusters.append(right.kafka)
    results = []
    for kafka in clusters:
        servers = ",".join(kafka.bootstrap_servers)
        try:
            if may_do_everything(kafka):
                found = f"we may do everything on {servers}: it has no authorizer, or we are a superuser"
                results.append(Result("rights", "warning", found))
                continue
            for role, rights in needed.items():
                here = [right for right in rights if right.kafka == kafka]
                if here:
                    results += _rights_of_role(kafka, role, here)
        except MonitorError as error:
            results.append(Result("rights", "failed", f"{servers} does not tell: {error}"))
    return results


def _rights_of_role(kafka: KafkaSettings, role: str, rights: list[Right]) -> list[Result]:
    what = f"rights of {role}"
    results = []
    unknown: dict[str, list[str]] = {}
    for right, lacking, why in ask(kafka, rights):
        resource = f"{right.resource} {right.name}"
        if lacking is None:
            unknown.setdefault(why, []).append(resource)
        elif lacking.operations:
            remedy = lacking.grant(kafka.sasl_username or role)
            operations = " and ".join(lacking.operations)
            results.append(Result(what, "failed", f"lacks {operations} on {resource}: {remedy}"))
    for why, resources in unknown.items():
        results.append(Result(what, "warning", f"not known of {', '.join(resources)}: {why}"))
    return results or [Result(what, "ok", f"has all that it needs, on {len(rights)} of Kafka's resources")]


async def _topics(settings: Settings) -> list[Result]:
    try:
        await asyncio.to_thread(check_topics, settings)
    except ConfigurationError as error:
        return [Result("topics", "failed", str(fault)) for fault in error.faults]
    except (MonitorError, KafkaError) as error:
        return [Result("topics", "failed", str(error) or type(error).__name__)]
    return [Result("topics", "ok", "all are there, set as they must be")]


async def _monitor(settings: Settings) -> list[Result]:
    """Tell the enforcer's sign of life (which clocks that differ would falsify) and positions."""
    try:
        overview = await read_overview(settings)
    except MonitorError as error:
        return [Result("monitor", "failed", str(error))]
    results = []
    if overview.heartbeat_ms is None:
        results.append(Result("enforcer", "failed", "never seen: run `monitor worker`"))
    else:
        age = (overview.at_ms - overview.heartbeat_ms) / 1000
        if age < -_AHEAD_SECONDS:
            found = f"its clock is {-age:.1f} s ahead of this machine's: set them right (NTP)"
            results.append(Result("clocks", "failed", found))
        elif age > _SILENT_SECONDS:
            found = f"silent for {age:.0f} s: is a worker running, and are the clocks right?"
            results.append(Result("enforcer", "failed", found))
        else:
            results.append(Result("enforcer", "ok", f"sign of life {max(0.0, age):.1f} s ago"))
    results += [
        Result(f"feed {feed.name}", "failed", "has no position: run `monitor init`")
        for feed in overview.feeds
        if feed.lag is None
    ]
    return results


async def _source(settings: Settings, source: SourceSettings) -> list[Result]:
    """Read the newest records of a source: may we, can they be read, and how late do they come."""
    what = f"source {source.name}"
    kafka = source.kafka or settings.kafka
    try:
        decode = Input.of(source, settings.formats).decoder()
        count = (await asyncio.to_thread(partition_counts, kafka)).get(source.topic)
        if count is None:
            return [Result(what, "failed", f"the topic {source.topic} does not exist, or we may not see it")]
        consumer = AIOKafkaConsumer(**consumer_options(kafka))
        await consumer.start()
        try:
            records = await _newest(consumer, source.topic, count)
        finally:
            await consumer.stop()
    except (MonitorError, KafkaError) as error:
        return [Result(what, "failed", str(error) or type(error).__name__)]
    if not records:
        return [Result(what, "warning", "no records yet: does the gateway's log arrive?")]
    unreadable = named = events = 0
    delays = []
    for record in records:
        try:
            decoded = decode(record.value or b"", record.headers)
        except Exception:  # noqa: BLE001 - whatever it is: it cannot be read
            unreadable += 1
            continue
        for event in decoded if isinstance(decoded, tuple) else (decoded,):
            events += 1
            named += event.principal is not None
            delays.append((record.timestamp - event.time_ms) / 1000)
    found = f"{len(records)} newest records: {unreadable} unreadable, {named} of {events} events name a credential"
    good = not unreadable and named
    return [Result(what, "ok" if good else "warning", found), *_delay(what, delays)]


async def _newest(consumer: AIOKafkaConsumer, topic: str, count: int) -> list[ConsumerRecord]:
    partitions = [TopicPartition(topic, number) for number in range(count)]
    consumer.assign(partitions)
    first = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    records: list[ConsumerRecord] = []
    for tp in partitions:
        begin = max(first[tp], ends[tp] - _SAMPLE)
        if begin >= ends[tp]:
            continue
        consumer.seek(tp, begin)
        deadline = time.monotonic() + _READ_SECONDS
        while await consumer.position(tp) < ends[tp] and time.monotonic() < deadline:
            fetched = await consumer.getmany(tp, timeout_ms=_POLL_MS, max_records=_SAMPLE)
            records += fetched.get(tp, [])
    return records


def _delay(what: str, delays: list[float]) -> list[Result]:
    """Judge by the least delay: that of a record which nothing held back."""
    if not delays:
        return []
    least, most = min(delays), max(delays)
    if least < -_AHEAD_SECONDS:
        found = f"events are up to {-least:.1f} s ahead of Kafka's clock: set the gateway's right (NTP)"
        return [Result(f"{what}: clock", "warning", found)]
    if most > _DELAY_SECONDS:
        found = (
            f"events arrive {least:.1f} to {most:.1f} s after they happened: let the gateway flush its log"
            " more often (Envoy: --file-flush-interval-msec)"
        )
        return [Result(f"{what}: delay", "warning", found)]
    return [
        Result(
            f"{what}: delay", "ok", f"events arrive {max(0.0, least):.1f} to {most:.1f} s after they happened"
        )
    ]


async def _around(settings: Settings) -> list[Result]:
    """Try what is not Kafka: gateways, the decision service, Alertmanagers."""
    results = []
    for endpoint in build_endpoints(settings.response.adapters):
        try:
            problems = await endpoint.adapter.probe()
        except MonitorError as error:
            problems = [str(error)]
        finally:
            await endpoint.adapter.close()
        what = f"gateway {endpoint.name}"
        results += [Result(what, "failed", problem) for problem in problems] or [
            Result(what, "ok", "is reached, and lets us do what is needed")
        ]
    if not settings.response.adapters:
        found = "none is told: only gateways that ask `monitor authz` refuse anybody"
        results.append(Result("gateways", "warning", found))
    listen = settings.authz.listen
    results.append(await _get("decision service", f"http://{listen}/-/readyz"))
    for place, url in enumerate(settings.observe.alertmanagers):
        results.append(await _get(f"Alertmanager {place}", f"{url.rstrip('/')}/-/ready"))
    if not settings.observe.alertmanagers:
        found = "none in observe.alertmanagers: pages wait for a scrape"
        results.append(Result("Alertmanager", "warning", found))
    return results


async def _get(what: str, url: str) -> Result:
    began = time.perf_counter()
    try:
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session, session.get(url) as answer:
            milliseconds = round((time.perf_counter() - began) * 1000)
            if answer.ok:
                return Result(what, "ok", f"answers in {milliseconds} ms")
            return Result(what, "failed", f"{url} answered {answer.status}")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return Result(what, "failed", f"{url}: {type(error).__name__}")
