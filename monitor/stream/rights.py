"""Whether the principal that we are may do what a role must: the broker is asked, not the list of ACLs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer, TopicCollection

from monitor.errors import BrokerUnavailableError
from monitor.stream.kafka import librdkafka_options
from monitor.stream.reach import admin_client

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future

    from confluent_kafka.admin import AdminClient

    from monitor.settings import KafkaSettings
    from monitor.stream.plan import Right

_FORBIDDEN: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
#: Answers that say nothing about rights, and why.
_UNKNOWN: Final = {
    KafkaError.UNKNOWN_TOPIC_OR_PART: "not there yet",
    KafkaError.GROUP_ID_NOT_FOUND: "not there yet",
    **dict.fromkeys(
        (
            KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
            KafkaError.COORDINATOR_NOT_AVAILABLE,
            KafkaError.NOT_COORDINATOR,
        ),
        "its broker is not ready, ask again",
    ),
}


class Asked(NamedTuple):
    """What the broker said about a right: `lacking` is None where it said nothing, and `why` says why."""

    right: Right
    lacking: Right | None
    why: str = ""


def may_do_everything(kafka: KafkaSettings) -> bool:
    """Say whether nothing is refused to us: there is no authorizer, or we are a superuser.

    Clients are told neither, but only then a broker has us do what brokers do. Raises BrokerUnavailableError
    where the cluster says nothing.
    """
    if kafka.broker == "embedded":
        return True
    return "ClusterAction" in _of_cluster(admin_client(kafka), kafka)


def ask(kafka: KafkaSettings, rights: Iterable[Right]) -> list[Asked]:
    """Ask a cluster what of these rights on it is lacking; an empty `lacking` is a right that is there.

    A broker cannot be asked about transactional ids, so one of our own is used, and left idle. `Create` may
    come from the cluster, too. Raises BrokerUnavailableError where the cluster says nothing.
    """
    wanted = list(rights)
    answers = []
    admin = admin_client(kafka)
    options = _options(kafka)
    topics = {right.name for right in wanted if right.resource == "topic"}
    groups = {right.name for right in wanted if right.resource == "group"}
    told: dict[tuple[str, str], Future[Any]] = {}
    if topics:
        described = admin.describe_topics(TopicCollection(sorted(topics)), **options)
        told |= {("topic", name): future for name, future in described.items()}
    if groups:
        described = admin.describe_consumer_groups(sorted(groups), **options)
        told |= {("group", name): future for name, future in described.items()}
    may_create = "Create" in _of_cluster(admin, kafka)
    for right in wanted:
        if right.resource == "transactional-id":
            answers.append(_try_transaction(right))
            continue
        allowed, why = _operations(told[right.resource, right.name])
        if why:
            answers.append(Asked(right, None, why))
            continue
        if may_create:
            allowed.add("Create")
        lacking = tuple(operation for operation in right.operations if operation not in allowed)
        answers.append(Asked(right, replace(right, operations=lacking)))
    return answers


def _options(kafka: KafkaSettings) -> dict[str, Any]:
    return {"include_authorized_operations": True, "request_timeout": kafka.request_timeout_seconds}


def _of_cluster(admin: AdminClient, kafka: KafkaSettings) -> set[str]:
    return _operations(admin.describe_cluster(**_options(kafka)))[0]


def _operations(future: Future[Any]) -> tuple[set[str], str]:
    """Return what is allowed, called as in `Right`; or why the broker does not say."""
    try:
        operations = future.result().authorized_operations
    except KafkaException as error:
        cause = error.args[0]
        if cause.code() in _FORBIDDEN:
            return set(), ""
        if cause.code() in _UNKNOWN:
            return set(), _UNKNOWN[cause.code()]
        raise BrokerUnavailableError(str(cause.str())) from None
    return {operation.name.title().replace("_", "") for operation in operations or ()}, ""


def _try_transaction(right: Right) -> Asked:
    """Take an id that no role uses; a transaction is not begun."""
    options = {**librdkafka_options(right.kafka), "log_level": 0, "error_cb": lambda _: None}
    producer = Producer({**options, "transactional.id": f"{right.name}-doctor"})
    try:
        producer.init_transactions(right.kafka.request_timeout_seconds)
    except KafkaException as error:
        cause = error.args[0]
        if cause.code() in _FORBIDDEN:
            return Asked(right, right)
        return Asked(right, None, f"could not be tried: {cause.str()}")
    return Asked(right, replace(right, operations=()))
