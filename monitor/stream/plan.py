"""Topics and rights per role: `monitor init --plan` prints them, `monitor doctor` asks the broker for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from monitor.stream.topics import OWN_TOPICS, source_topics, topic_specs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monitor.settings import KafkaSettings, Settings


@dataclass(frozen=True, slots=True)
class _Rights:
    """What one role may do on our own topics, groups and transactional ids."""

    why: str
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    create: bool = False
    checks: bool = False  # a worker's start reads the settings of all topics
    groups: tuple[str, ...] = ()
    transactions: bool = False


_RIGHTS: Final[dict[str, _Rights]] = {
    "intake": _Rights(
        "reads the gateways' logs, writes pseudonymised events",
        read=("status", "credentials", "replay"),
        write=("routed", "rejected"),
        checks=True,
        groups=("intake",),
    ),
    "detect": _Rights(
        "counts events and finds what exceeds a limit",
        read=("routed", "state", "credentials"),
        write=("state", "findings", "evidence", "rejected"),
        checks=True,
        groups=("detect",),
        transactions=True,
    ),
    "enforce": _Rights(
        "decides, keeps the ledger, calls the gateway",
        # It gathers the evidence of a finding from `routed`.
        read=("routed", "findings", "control", "decisions", "credentials", "status"),
        # To `control` it writes where SIGHUP publishes the rule files.
        write=("decisions", "credentials", "status", "evidence", "control"),
        checks=True,
        groups=("enforce",),
        transactions=True,
    ),
    "authz": _Rights("answers the gateway's question whether a credential is refused", read=("credentials",)),
    "ship": _Rights("ships lines of a gateway's log to a source topic"),
    "operator": _Rights(
        "runs `monitor init`, `monitor status` and the commands that act",
        read=OWN_TOPICS,
        # Who writes to `replay` writes events: let that be few.
        write=("control", "replay"),
        create=True,
        checks=True,
        groups=("intake", "detect", "enforce"),
    ),
}


#: In the order in which the plan tells them.
ROLES: Final = tuple(_RIGHTS)


@dataclass(frozen=True, slots=True)
class Right:
    """What one role must be allowed to do with one resource; operations are called as Kafka's commands do."""

    kafka: KafkaSettings
    resource: Literal["topic", "group", "transactional-id"]
    name: str
    operations: tuple[str, ...]
    prefixed: bool = False  # every resource whose name begins so

    def grant(self, principal: str) -> str:
        """Return the command by which the owner of the cluster gives it."""
        servers = ",".join(self.kafka.bootstrap_servers)
        allowed = "".join(f" --operation {operation}" for operation in self.operations)
        pattern = " --resource-pattern-type prefixed" if self.prefixed else ""
        return (
            f"kafka-acls.sh --bootstrap-server {servers} --add --allow-principal User:{principal}{allowed}"
            f" --{self.resource} {self.name}{pattern}"
        )


def rights_of(settings: Settings, role: str) -> list[Right]:
    """Return all that a role of `ROLES` must be allowed to do."""
    kafka, rights = settings.kafka, _RIGHTS[role]
    needed = list(_source_rights(settings, role))
    for topic in OWN_TOPICS:
        operations = (
            *(["Read"] if topic in rights.read else []),
            *(["Write"] if topic in rights.write else []),
            *(["Create"] if rights.create else []),
            *(["Describe", "DescribeConfigs"] if rights.checks else []),
        )
        if operations:
            needed.append(Right(kafka, "topic", settings.topic(topic), operations))
    needed += [Right(kafka, "group", settings.group(group), ("Read",)) for group in rights.groups]
    if rights.transactions:
        ids = f"{kafka.topic_prefix}{role}"
        needed.append(Right(kafka, "transactional-id", ids, ("Write", "Describe"), prefixed=True))
    return needed


def plan(settings: Settings) -> str:
    """Return the topics with their settings, and the rights of each role, as Kafka's own commands.

    Nothing is contacted. ``User:intake`` and the like stand for the principals of the roles; one
    process with several roles needs the rights of each.
    """
    lines = [*_topics(settings), ""]
    for role, rights in _RIGHTS.items():
        lines.append(f"# {role}: {rights.why}")
        lines += [right.grant(role) for right in rights_of(settings, role)]
    return "\n".join(lines) + "\n"


def _topics(settings: Settings) -> Iterator[str]:
    servers = ",".join(settings.kafka.bootstrap_servers)
    yield f"# Topics on {servers}"
    for spec in topic_specs(settings):
        config = "".join(f" --config {name}={value}" for name, value in spec.config.items())
        yield (
            f"kafka-topics.sh --bootstrap-server {servers} --create --if-not-exists --topic {spec.name}"
            f" --partitions {spec.partitions} --replication-factor {spec.replication_factor}{config}"
        )
    for cluster, topics in source_topics(settings):
        names = ", ".join(topics)
        yield f"# Sources, which must exist already on {','.join(cluster.bootstrap_servers)}: {names}"


def _source_rights(settings: Settings, role: str) -> Iterator[Right]:
    """Yield what a role may do on the sources, which may be on a cluster of their own."""
    operation = {"intake": "Read", "operator": "Read", "ship": "Write"}.get(role)
    if operation is None:
        return
    for cluster, topics in source_topics(settings):
        for topic in topics:
            yield Right(cluster, "topic", topic, (operation, "Describe"))
        if cluster != settings.kafka and operation == "Read":
            yield Right(cluster, "group", settings.group("intake"), ("Read",))
