"""A Kafka that lets nobody in without a password or a certificate: SASL_SSL with SCRAM, and mutual TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.integration.stack import Stack, wait_for
from tests.integration.test_loop import LIMIT, event
from tests.rig.broker import create_topic, free_ports
from tests.rig.certificates import make_certificates
from tests.rig.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.kafka

PASSWORD: Final = "only-for-this-test"


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
            },
            format_options=("--add-scram", f"SCRAM-SHA-512=[name=monitor,password={PASSWORD}]"),
        )
        self.cluster.ports = [self.plain]
        self.cluster.start()
        self.cluster.wait()

    def settings(self, way: str) -> dict[str, Any]:
        """Return how a client comes in, as `kafka` in monitor.yaml says it."""
        if way == "scram":
            return {
                "bootstrap_servers": [f"127.0.0.1:{self.scram}"],
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": "SCRAM-SHA-512",
                "sasl_username": "monitor",
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
