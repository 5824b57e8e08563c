"""Making and checking topics, on the embedded broker and on a real Kafka."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from monitor.errors import BrokerUnavailableError, ConfigurationError
from monitor.stream.plan import plan
from monitor.stream.reach import wait_for_broker
from monitor.stream.topics import (
    OWN_TOPICS,
    check_topics,
    cluster_id,
    create_embedded,
    create_topics,
    partition_counts,
    topic_ids,
    topic_specs,
)
from tests.rig.broker import create_topic, delete_topic
from tests.rig.configuration import settings_for

if TYPE_CHECKING:
    from pathlib import Path

    from monitor.settings import Settings
    from monitor.stream.embedded import EmbeddedBroker

REFUSED = "127.0.0.1:1"


@pytest.fixture
def on_kafka(kafka: str, prefix: str, tmp_path: Path) -> Settings:
    settings = settings_for(tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix)
    create_topic(kafka, settings.sources[0].topic, 2)
    return settings


@pytest.fixture
def on_embedded(embedded: EmbeddedBroker, prefix: str, tmp_path: Path) -> Settings:
    return settings_for(tmp_path, broker="embedded", bootstrap=embedded.bootstrap_servers, prefix=prefix)


def problems(settings: Settings) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        check_topics(settings)
    return [
        f"{fault.where.removeprefix(f'topic {settings.kafka.topic_prefix}')}: {fault.problem}"
        for fault in caught.value.faults
    ]


def alter(settings: Settings, role: str, **config: str) -> None:
    admin = AdminClient({"bootstrap.servers": ",".join(settings.kafka.bootstrap_servers)})
    entries = [
        ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for name, value in config.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, settings.topic(role), incremental_configs=entries)
    admin.incremental_alter_configs([resource])[resource].result()


@pytest.mark.kafka
def test_creates_what_is_missing_and_then_nothing(on_kafka: Settings):
    created = create_topics(on_kafka)
    assert sorted(created) == sorted(on_kafka.topic(role) for role in OWN_TOPICS)
    check_topics(on_kafka)
    assert create_topics(on_kafka) == []


@pytest.mark.kafka
def test_partitions_follow_the_settings(on_kafka: Settings):
    create_topics(on_kafka)
    counts = partition_counts(on_kafka.kafka)
    assert {role: counts[on_kafka.topic(role)] for role in OWN_TOPICS} == {
        role: 4 if role in {"routed", "state"} else 1 for role in OWN_TOPICS
    }


@pytest.mark.kafka
def test_all_differences_are_reported_at_once(on_kafka: Settings, kafka: str):
    create_topic(kafka, on_kafka.topic("findings"), 3)
    create_topics(on_kafka)
    alter(on_kafka, "routed", message_timestamp_type="CreateTime", max_message_bytes="1000")
    alter(on_kafka, "state", cleanup_policy="delete")
    expected = [
        "findings: has 3 partitions, must have 1",
        "findings: max.message.bytes is 1048588, must be at least 2097152",
        "routed: max.message.bytes is 1000, must be at least 2097152",
        "routed: message.timestamp.type is CreateTime, must be LogAppendTime",
        "state: cleanup.policy is delete, must be compact",
    ]
    # The broker answers an alteration before it shows it.
    deadline = time.monotonic() + 20
    while (found := sorted(problems(on_kafka))) != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found == expected


@pytest.mark.kafka
def test_too_few_copies_are_a_fault_and_more_are_not(
    on_kafka: Settings, kafka: str, prefix: str, tmp_path: Path
):
    create_topics(on_kafka)
    alter(on_kafka, "decisions", min_insync_replicas="2")
    check_topics(on_kafka)
    strict = settings_for(
        tmp_path,
        broker="cluster",
        bootstrap=kafka,
        prefix=prefix,
        kafka={"replication_factor": 3, "min_insync_replicas": 2},
    )
    found = problems(strict)
    assert "decisions: is kept 1 times, must be kept at least 3 times" in found
    assert "routed: min.insync.replicas is 1, must be at least 2" in found
    assert not any(problem.startswith("decisions: min.insync") for problem in found)


def test_missing_topics_name_the_command_that_makes_them(on_embedded: Settings):
    with pytest.raises(ConfigurationError, match="run `monitor init`") as caught:
        check_topics(on_embedded)
    assert len(caught.value.faults) == len(OWN_TOPICS) + 1


def test_an_unknown_source_topic_is_a_fault_of_its_own(on_embedded: Settings, embedded: EmbeddedBroker):
    for spec in topic_specs(on_embedded):
        embedded.create_topic(spec.name, spec.partitions)
    assert problems(on_embedded) == [f"gate: does not exist on {embedded.bootstrap_servers}"]
    assert on_embedded.sources[0].topic not in partition_counts(on_embedded.kafka), (
        "asking must not create it"
    )


def test_the_embedded_broker_is_checked_for_partitions(on_embedded: Settings, embedded: EmbeddedBroker):
    create_embedded(on_embedded, embedded)
    check_topics(on_embedded)
    assert create_topics(on_embedded) == []


@pytest.mark.kafka
def test_a_topic_made_again_has_another_id(on_kafka: Settings, kafka: str):
    name = on_kafka.sources[0].topic
    before = topic_ids(on_kafka.kafka, [name])[name]
    assert topic_ids(on_kafka.kafka, [name])[name] == before
    delete_topic(kafka, name)
    create_topic(kafka, name, 2)
    assert topic_ids(on_kafka.kafka, [name])[name] != before


@pytest.mark.kafka
def test_the_id_of_an_unknown_topic_is_a_clear_fault(on_kafka: Settings):
    with pytest.raises(ConfigurationError, match="nowhere"):
        topic_ids(on_kafka.kafka, ["nowhere"])


def test_ids_of_the_embedded_broker_are_names(on_embedded: Settings):
    assert topic_ids(on_embedded.kafka, ["a"]) == {"a": "embedded:a"}


def test_a_cluster_keeps_its_id(broker: str, bootstrap: str, prefix: str, tmp_path: Path):
    kafka = settings_for(tmp_path, broker=broker, bootstrap=bootstrap, prefix=prefix).kafka
    assert cluster_id(kafka) == cluster_id(kafka) != ""


async def test_an_absent_broker_is_reported_with_address_cause_and_remedy(prefix: str, tmp_path: Path):
    kafka: dict[str, Any] = {"connect_timeout_seconds": 1}
    settings = settings_for(tmp_path, broker="cluster", bootstrap=REFUSED, prefix=prefix, kafka=kafka)
    with pytest.raises(BrokerUnavailableError) as caught:
        await wait_for_broker(settings.kafka)
    for part in (REFUSED, "refused", "kafka.bootstrap_servers", "within 1 s"):
        assert part in str(caught.value)


async def test_a_broker_that_is_there_is_not_waited_for(
    broker: str, bootstrap: str, prefix: str, tmp_path: Path
):
    await wait_for_broker(settings_for(tmp_path, broker=broker, bootstrap=bootstrap, prefix=prefix).kafka)


def test_the_plan_names_every_topic_and_role_and_contacts_nothing(prefix: str, tmp_path: Path):
    settings = settings_for(tmp_path, broker="cluster", bootstrap=REFUSED, prefix=prefix)
    said = plan(settings)
    for role in OWN_TOPICS:
        assert f"--create --if-not-exists --topic {prefix}{role} " in said
    for role in ("intake", "detect", "enforce", "authz", "ship", "operator"):
        assert f"--allow-principal User:{role} " in said
    assert f"User:ship --operation Write --operation Describe --topic {prefix}gate" in said
    assert f"User:authz --operation Read --topic {prefix}credentials" in said
    assert "User:authz --operation Write" not in said


def test_the_plan_keeps_sources_of_another_cluster_there(prefix: str, tmp_path: Path):
    elsewhere = {"name": "far", "topic": "far", "realm": "far", "kafka": {"bootstrap_servers": "far:9092"}}
    settings = settings_for(tmp_path, broker="cluster", bootstrap=REFUSED, prefix=prefix, sources=[elsewhere])
    far = [
        line for line in plan(settings).splitlines() if "far:9092" in line and line.startswith("kafka-acls")
    ]
    assert {line.split("--add ")[1] for line in far} == {
        "--allow-principal User:intake --operation Read --operation Describe --topic far",
        f"--allow-principal User:intake --operation Read --group {settings.group('intake')}",
        "--allow-principal User:ship --operation Write --operation Describe --topic far",
        "--allow-principal User:operator --operation Read --operation Describe --topic far",
        f"--allow-principal User:operator --operation Read --group {settings.group('intake')}",
    }
