"""Our topics: what each must be, making them, checking them, and which topic a name stands for."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import ConfigResource, NewTopic, ResourceType  # type: ignore[attr-defined]

from monitor.errors import BrokerUnavailableError, ConfigurationError, Fault
from monitor.stream.reach import admin_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from confluent_kafka.admin import (  # type: ignore[attr-defined]
        AdminClient,
        TopicDescription,
    )

    from monitor.settings import KafkaSettings, Settings
    from monitor.stream.embedded import EmbeddedBroker

_DAY_MS: Final = 24 * 3600 * 1000
#: Room for a rule set's document, and for the rows of a search that returned very many patients.
MESSAGE_BYTES: Final = 2 << 20
#: How long a topic that was just created may take to be known everywhere, in seconds.
_APPEAR_SECONDS: Final = 20.0

_UNREACHED: Final = frozenset(
    {KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN}  # noqa: SLF001 - so named
)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What one of our topics must be; `config` holds the topic settings that are not defaults."""

    role: str
    name: str
    partitions: int
    replication_factor: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a topic is for, whatever the settings: `retention_ms` -1 keeps for ever."""

    retention_ms: int | None = None  # None: compacted instead
    per_subject: bool = False  # one partition otherwise
    more: tuple[tuple[str, str], ...] = ()


_KINDS: Final[dict[str, _Kind]] = {
    # Window time is bounded by when the broker appended the record: no client may choose that.
    "routed": _Kind(3 * _DAY_MS, per_subject=True, more=(("message.timestamp.type", "LogAppendTime"),)),
    # An old owner's late write must not outlive the newer record: recovery takes the highest stamp
    # of both, so keep both for as long as a process may hang (docs/adr/0003-own-recovery.md).
    "state": _Kind(per_subject=True, more=(("min.compaction.lag.ms", str(_DAY_MS)),)),
    "findings": _Kind(30 * _DAY_MS),
    "decisions": _Kind(-1),
    "credentials": _Kind(),
    "status": _Kind(3 * _DAY_MS),
    # Health data, pseudonymised: kept for as long as cases are worked on, by a setting of its own.
    "evidence": _Kind(365 * _DAY_MS),
    "control": _Kind(-1),
    "rejected": _Kind(30 * _DAY_MS),
    # Records that were rejected, sent again: at their old place they would pass for known ones.
    "replay": _Kind(30 * _DAY_MS),
}
OWN_TOPICS: Final = tuple(_KINDS)


def topic_specs(settings: Settings) -> list[TopicSpec]:
    """Return what each of our topics must be under these settings."""
    kafka = settings.kafka
    specs = []
    for role, kind in _KINDS.items():
        config = {
            "cleanup.policy": "compact" if kind.retention_ms is None else "delete",
            "max.message.bytes": str(MESSAGE_BYTES),
            "min.insync.replicas": str(kafka.min_insync_replicas),
            **dict(kind.more),
        }
        if role == "evidence":
            config["retention.ms"] = str(int(settings.response.keep_evidence.total_seconds() * 1000))
        elif kind.retention_ms is not None:
            config["retention.ms"] = str(kind.retention_ms)
        partitions = kafka.partitions if kind.per_subject else 1
        specs.append(TopicSpec(role, settings.topic(role), partitions, kafka.replication_factor, config))
    return specs


def create_topics(settings: Settings) -> list[str]:
    """Create those of our topics that are missing; return their names.

    What exists is left as it is: `check_topics` says whether it will do. Does nothing on the
    embedded broker, whose owner makes its topics (`create_embedded`).

    Raises ConfigurationError where the cluster refuses, BrokerUnavailableError where it is away.
    """
    kafka = settings.kafka
    if kafka.broker == "embedded":
        return []
    admin = admin_client(kafka)
    present = partition_counts(kafka)
    missing = [spec for spec in topic_specs(settings) if spec.name not in present]
    if not missing:
        return []
    created, faults = [], []
    futures = admin.create_topics(
        [
            NewTopic(spec.name, spec.partitions, spec.replication_factor, config=dict(spec.config))
            for spec in missing
        ]
    )
    for name, future in futures.items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                faults.append(Fault(f"topic {name}", f"not created: {_reason(kafka, error)}"))
        else:
            created.append(name)
    if faults:
        title = "Kafka refused to create topics; `monitor init --plan` prints them for the cluster's owner"
        raise ConfigurationError(title, faults)
    _await_topics(kafka, created)
    return created


def create_embedded(settings: Settings, broker: EmbeddedBroker, source_partitions: int = 4) -> None:
    """Create our topics and those of the sources on an embedded broker."""
    for spec in topic_specs(settings):
        broker.create_topic(spec.name, spec.partitions)
    for source in settings.sources:
        broker.create_topic(source.topic, source_partitions)


def check_topics(settings: Settings) -> None:
    """Raise one ConfigurationError that names all that is wrong with our topics and the sources'.

    On the embedded broker a topic has nothing but partitions, so only those are checked.
    """
    kafka = settings.kafka
    faults: list[Fault] = []
    specs = topic_specs(settings)
    present = partition_counts(kafka)
    missing = [spec.name for spec in specs if spec.name not in present]
    faults += [Fault(f"topic {name}", "does not exist", "run `monitor init`") for name in missing]
    found = [spec for spec in specs if spec.name in present]
    for spec in found:
        if present[spec.name] != spec.partitions:
            faults.append(
                Fault(
                    f"topic {spec.name}",
                    f"has {present[spec.name]} partitions, must have {spec.partitions}",
                    "set kafka.partitions to what routed and state have, or choose another kafka.topic_prefix",
                )
            )
    if kafka.broker != "embedded" and found:
        admin = admin_client(kafka)
        faults += _replication_faults(kafka, admin, found)
        faults += _config_faults(kafka, admin, found)
    for cluster, topics in source_topics(settings):
        there = present if cluster == kafka else partition_counts(cluster)
        faults += [
            Fault(
                f"topic {topic}",
                f"does not exist on {','.join(cluster.bootstrap_servers)}",
                "the gateway's log shipper or the owner of that Kafka creates it; is sources[].topic right?",
            )
            for topic in topics
            if topic not in there
        ]
    if faults:
        raise ConfigurationError("Kafka's topics are not as they must be", faults)


def topic_ids(kafka: KafkaSettings, topics: Sequence[str]) -> dict[str, str]:
    """Return the id of each topic: one that was deleted and made again has another.

    The embedded broker has none and forgets its topics with itself, so there the name will do.
    """
    if kafka.broker == "embedded":
        return {topic: f"embedded:{topic}" for topic in topics}
    described = _describe(kafka, admin_client(kafka), topics)
    return {topic: str(described[topic].topic_id) for topic in topics}


def cluster_id(kafka: KafkaSettings) -> str:
    """Return the id that the cluster gave itself."""
    return str(_metadata(kafka).cluster_id)


def partition_counts(kafka: KafkaSettings) -> dict[str, int]:
    """Return the number of partitions of every topic that we may see."""
    return {name: len(topic.partitions) for name, topic in _metadata(kafka).topics.items()}


def source_topics(settings: Settings) -> list[tuple[KafkaSettings, list[str]]]:
    """Return the source topics of each cluster; sources without one of their own use `kafka`."""
    clusters: list[tuple[KafkaSettings, list[str]]] = []
    for source in settings.sources:
        kafka = source.kafka or settings.kafka
        known = next((topics for cluster, topics in clusters if cluster == kafka), None)
        if known is None:
            clusters.append((kafka, [source.topic]))
        else:
            known.append(source.topic)
    return clusters


def _metadata(kafka: KafkaSettings) -> Any:
    # Of all topics: asking for one by name would create it where the broker allows that.
    try:
        return admin_client(kafka).list_topics(timeout=kafka.request_timeout_seconds)
    except KafkaException as error:
        raise BrokerUnavailableError(_reason(kafka, error)) from None


def _await_topics(kafka: KafkaSettings, names: Iterable[str]) -> None:
    deadline = time.monotonic() + _APPEAR_SECONDS
    wanted = set(names)
    while not wanted <= partition_counts(kafka).keys():
        if time.monotonic() > deadline:
            msg = (
                f"Kafka created {', '.join(sorted(wanted))} but does not show them; run `monitor init` again"
            )
            raise BrokerUnavailableError(msg)
        time.sleep(0.1)


def _replication_faults(kafka: KafkaSettings, admin: AdminClient, specs: list[TopicSpec]) -> list[Fault]:
    described = _describe(kafka, admin, [spec.name for spec in specs])
    faults = []
    for spec in specs:
        fewest = min(len(partition.replicas) for partition in described[spec.name].partitions)
        if fewest < spec.replication_factor:
            faults.append(
                Fault(
                    f"topic {spec.name}",
                    f"is kept {fewest} times, must be kept at least {spec.replication_factor} times",
                    "reassign its partitions, or lower kafka.replication_factor",
                )
            )
    return faults


# How a topic's setting is compared with what it must be; others are the owner's choice.
_CHECKS: Final[dict[str, tuple[str, Callable[[str, str], bool]]]] = {
    "cleanup.policy": ("must be", lambda is_, must: set(is_.split(",")) == set(must.split(","))),
    "message.timestamp.type": ("must be", lambda is_, must: is_ == must),
    "min.insync.replicas": ("must be at least", lambda is_, must: int(is_) >= int(must)),
    "max.message.bytes": ("must be at least", lambda is_, must: int(is_) >= int(must)),
}


def _config_faults(kafka: KafkaSettings, admin: AdminClient, specs: list[TopicSpec]) -> list[Fault]:
    resources = {ConfigResource(ResourceType.TOPIC, spec.name): spec for spec in specs}
    faults = []
    for resource, future in admin.describe_configs(list(resources)).items():
        spec = resources[resource]
        try:
            config = future.result()
        except KafkaException as error:
            reason = _reason(kafka, error)
            faults.append(Fault(f"topic {spec.name}", f"its settings cannot be read: {reason}"))
            continue
        for name, (words, holds) in _CHECKS.items():
            must = spec.config.get(name)
            if must is not None and not holds(config[name].value, must):
                remedy = f"kafka-configs.sh --alter --topic {spec.name} --add-config {name}={must}"
                faults.append(
                    Fault(f"topic {spec.name}", f"{name} is {config[name].value}, {words} {must}", remedy)
                )
    return faults


def _describe(kafka: KafkaSettings, admin: AdminClient, topics: Sequence[str]) -> dict[str, TopicDescription]:
    described, faults = {}, []
    for topic, future in admin.describe_topics(TopicCollection(list(topics))).items():
        try:
            described[topic] = future.result()
        except KafkaException as error:
            faults.append(Fault(f"topic {topic}", f"cannot be described: {_reason(kafka, error)}"))
    if faults:
        raise ConfigurationError("Kafka does not tell what it must", faults)
    return described


def _reason(kafka: KafkaSettings, error: KafkaException) -> str:
    """Return what Kafka said; raises BrokerUnavailableError where it said nothing."""
    cause = error.args[0]
    if cause.code() in _UNREACHED:
        servers = ",".join(kafka.bootstrap_servers)
        msg = f"kafka.bootstrap_servers: no answer from {servers}: {cause.str()}"
        raise BrokerUnavailableError(msg) from None
    return str(cause.str())
