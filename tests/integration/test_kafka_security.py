"""A Kafka that lets nobody in without a password or a certificate (SASL_SSL with SCRAM, mutual TLS), with ACLs."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from monitor.demo.processes import free_ports
from monitor.stream.plan import Right, rights_of
from tests.integration.stack import Stack, wait_for
from tests.integration.test_loop import LIMIT, event
from tests.rig.broker import create_topic
from tests.rig.certificates import make_certificates
from tests.rig.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.kafka

PASSWORD: Final = "only-for-this-test"
#: May do everything; the others may do what they are granted.
MASTERS: Final = ("User:ANONYMOUS", "User:monitor", "User:CN=client")
USERS: Final = ("monitor", "whole", "part", "nobody")
WORKER: Final = ("intake", "detect", "enforce")


class Guarded:
    """One node with a listener for each way in."""

    def __init__(self, folder: Path) -> None:
        self.certificates = folder / "certificates"
        make_certificates(self.certificates)
        self.plain, self.scram, self.mutual = free_ports(3)
        ways = f"PLAINTEXT://127.0.0.1:{self.plain},SCRAM://127.0.0.1:{self.scram},MUTUAL://127.0.0.1:{self.mutual}"
        module = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        self.cluster = Cluster(
            folder / "cluster",
            properties={
                "listeners": ways + ",CONTROLLER://127.0.0.1:{controller}",
                "advertised.listeners": ways,
                "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SCRAM:SASL_SSL,MUTUAL:SSL",
                "inter.broker.listener.name": "PLAINTEXT",
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": str(self.certificates / "server.pem"),
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": str(self.certificates / "ca.pem"),
                "sasl.enabled.mechanisms": "SCRAM-SHA-512",
                "listener.name.scram.scram-sha-512.sasl.jaas.config": module,
                "listener.name.mutual.ssl.client.auth": "required",
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": ";".join(MASTERS),
            },
            format_options=tuple(
                word
                for user in USERS
                for word in ("--add-scram", f"SCRAM-SHA-512=[name={user},password={PASSWORD}]")
            ),
        )
        self.cluster.ports = [self.plain]
        self.cluster.start()
        self.cluster.wait()

    def grant(self, user: str, rights: Iterable[Right]) -> None:
        """Allow a user so much, as the owner of the cluster would."""
        admin = AdminClient({"bootstrap.servers": self.cluster.bootstrap})
        bindings = [
            AclBinding(
                ResourceType[right.resource.upper().replace("-", "_")],
                right.name,
                ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL,
                f"User:{user}",
                "*",
                AclOperation[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper()],
                AclPermissionType.ALLOW,
            )
            for right in rights
            for operation in right.operations
        ]
        for future in admin.create_acls(list(dict.fromkeys(bindings))).values():
            future.result(30)

    def settings(self, way: str, user: str = "monitor") -> dict[str, Any]:
        """Return how a client comes in, as `kafka` in monitor.yaml says it."""
        if way == "scram":
            return {
                "bootstrap_servers": [f"127.0.0.1:{self.scram}"],
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": "SCRAM-SHA-512",
                "sasl_username": user,
                "sasl_password": PASSWORD,
                "ssl_ca_file": str(self.certificates / "ca.pem"),
            }
        return {
            "bootstrap_servers": [f"127.0.0.1:{self.mutual}"],
            "security_protocol": "SSL",
            "ssl_ca_file": str(self.certificates / "ca.pem"),
            "ssl_certificate_file": str(self.certificates / "client.crt"),
            "ssl_key_file": str(self.certificates / "client.key"),
        }


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, kafka: str) -> Iterator[Guarded]:
    """Return a guarded Kafka (where one can be had at all)."""
    made = Guarded(tmp_path_factory.mktemp("guarded"))
    yield made
    made.cluster.close()


@pytest.mark.parametrize("way", ["scram", "mutual"])
def test_the_whole_loop_with_what_each_way_asks_for(tmp_path: Path, prefix: str, guarded: Guarded, way: str):
    create_topic(guarded.cluster.bootstrap, f"{prefix}gate", 3)
    kafka = guarded.settings(way)
    stack = Stack(
        tmp_path, broker="cluster", bootstrap=kafka["bootstrap_servers"][0], prefix=prefix, kafka=kafka
    )
    try:
        done = stack.run("init", "--from", "earliest")
        assert done.returncode == 0, done.stderr
        worker = stack.worker()
        stack.ship(event("partner-17", patient) for patient in range(LIMIT))
        record = wait_for(lambda: stack.credential("gate/partner-17"), worker)
        assert record["status"] == "suspended"
        assert stack.run("status").returncode == 0
        assert worker.terminate() == 0
        assert PASSWORD not in worker.said
    finally:
        stack.close()


@pytest.mark.parametrize(
    ("way", "wrong"),
    [
        ("scram", {"sasl_password": "another"}),
        ("scram", {"ssl_ca_file": None}),
        ("mutual", {"ssl_certificate_file": None, "ssl_key_file": None}),
    ],
    ids=["wrong password", "unknown authority", "no certificate"],
)
def test_who_is_not_let_in_is_told_why(
    tmp_path: Path, prefix: str, guarded: Guarded, way: str, wrong: dict[str, Any]
):
    kafka = {**guarded.settings(way), **wrong, "connect_timeout_seconds": 3}
    stack = Stack(
        tmp_path, broker="cluster", bootstrap=kafka["bootstrap_servers"][0], prefix=prefix, kafka=kafka
    )
    done = stack.run("worker")
    assert done.returncode == 69
    assert "kafka.bootstrap_servers: no broker answered" in done.stderr
    assert any(word in done.stderr.lower() for word in ("authentication", "certificate", "ssl"))
    assert PASSWORD not in done.stderr


def installed(folder: Path, prefix: str, guarded: Guarded, user: str) -> Stack:
    kafka = guarded.settings("scram", user)
    folder.mkdir()
    return Stack(
        folder, broker="cluster", bootstrap=kafka["bootstrap_servers"][0], prefix=prefix, kafka=kafka
    )


def told_of_rights(stack: Stack, *options: str) -> dict[str, list[tuple[str, str]]]:
    """Return role → verdicts and what was found."""
    done = stack.run("doctor", "--json", *options)
    told: dict[str, list[tuple[str, str]]] = {}
    for check in json.loads(done.stdout)["checks"]:
        if check["what"].startswith("rights"):
            told.setdefault(check["what"].removeprefix("rights of "), []).append(
                (check["verdict"], check["found"])
            )
    return told


def test_the_rights_of_the_plan_are_enough_and_the_doctor_names_the_one_that_lacks(
    tmp_path: Path, prefix: str, guarded: Guarded
):
    create_topic(guarded.cluster.bootstrap, f"{prefix}gate", 3)
    owner = installed(tmp_path / "owner", prefix, guarded, "monitor")
    stack = installed(tmp_path / "whole", prefix, guarded, "whole")
    part = installed(tmp_path / "part", prefix, guarded, "part")
    nobody = installed(tmp_path / "nobody", prefix, guarded, "nobody")
    needed = [right for role in WORKER for right in rights_of(stack.settings, role)]
    routed = stack.settings.topic("routed")
    guarded.grant("whole", needed)
    guarded.grant(
        "part",
        [
            replace(right, operations=tuple(one for one in right.operations if one != "Write"))
            if right.name == routed
            else right
            for right in needed
        ],
    )
    try:
        done = owner.run("init", "--from", "earliest")
        assert done.returncode == 0, done.stderr
        worker = stack.worker()
        owner.ship(event("partner-17", patient) for patient in range(LIMIT))
        assert wait_for(lambda: stack.credential("gate/partner-17"), worker)["status"] == "suspended"
        told = told_of_rights(stack)
        assert told.keys() == set(WORKER)
        assert [verdict for said in told.values() for verdict, _ in said] == ["ok"] * 3, told
        told = told_of_rights(part)
        ((verdict, found),) = told.pop("intake")
        assert verdict == "failed"
        assert found.startswith(f"lacks Write on topic {routed}: kafka-acls.sh ")
        assert found.endswith(f" --add --allow-principal User:part --operation Write --topic {routed}")
        assert [verdict for said in told.values() for verdict, _ in said] == ["ok"] * 2, told
        told = told_of_rights(nobody)
        for role in WORKER:
            assert [verdict for verdict, _ in told[role]] == ["failed"] * len(
                rights_of(nobody.settings, role)
            ), told
        ((verdict, found),) = told_of_rights(owner)["rights"]
        assert verdict == "warning"
        assert "superuser" in found
    finally:
        stack.close()


def test_where_nobody_looks_at_rights_the_doctor_says_so(tmp_path: Path, prefix: str, kafka: str):
    stack = Stack(tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix)
    ((verdict, found),) = told_of_rights(stack)["rights"]
    assert verdict == "warning", found
    assert "no authorizer" in found
