"""A hardened cluster's settings reach every client alike: aiokafka, Faust, librdkafka."""

from __future__ import annotations

import ssl
import subprocess
from typing import TYPE_CHECKING, Any

import faust
import pytest
from pydantic import SecretStr

from monitor.settings import KafkaSettings
from monitor.stream.chunks import RoleApp
from monitor.stream.kafka import aiokafka_options, consumer_options, faust_credentials, librdkafka_options

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return a self-signed certificate; its key is beside it as ``key.pem``."""
    names = ["-subj", "/CN=test", "-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *names]
    subprocess.run(command, check=True, capture_output=True)
    return tmp_path / "cert.pem"


def test_sasl_over_tls_reaches_every_client(certificate: Path, tmp_path: Path):
    (tmp_path / "password").write_text("s3cret\n")
    kafka = KafkaSettings(
        bootstrap_servers=["a:1", "b:2"],
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="monitor",
        sasl_password_file=tmp_path / "password",
        ssl_ca_file=certificate,
        ssl_certificate_file=certificate,
        ssl_key_file=tmp_path / "key.pem",
    )
    ours = aiokafka_options(kafka)
    assert ours["bootstrap_servers"] == ["a:1", "b:2"]
    assert ours["security_protocol"] == "SASL_SSL"
    assert isinstance(ours["ssl_context"], ssl.SSLContext)
    assert ours["ssl_context"].verify_mode is ssl.CERT_REQUIRED
    assert (ours["sasl_plain_username"], ours["sasl_plain_password"]) == ("monitor", "s3cret")
    admin = librdkafka_options(kafka)
    assert admin["bootstrap.servers"] == "a:1,b:2"
    assert admin["security.protocol"] == "sasl_ssl"
    assert (admin["sasl.mechanisms"], admin["sasl.password"]) == ("SCRAM-SHA-512", "s3cret")
    assert admin["ssl.ca.location"] == str(certificate)
    assert admin["ssl.key.location"] == str(tmp_path / "key.pem")
    theirs: Any = faust_credentials(kafka)
    assert isinstance(theirs, faust.SASLCredentials)
    assert (theirs.username, theirs.password) == ("monitor", "s3cret")
    app = RoleApp("detect", kafka, group="g", instance="pod-0", on_fatal=lambda _: None)
    assert app.instance == "pod-0-detect"
    assert app.conf.broker_credentials is not None


def test_tls_alone_is_no_sasl(certificate: Path):
    kafka = KafkaSettings(bootstrap_servers=["a:1"], security_protocol="SSL", ssl_ca_file=certificate)
    assert "sasl_mechanism" not in aiokafka_options(kafka)
    assert isinstance(faust_credentials(kafka), faust.SSLCredentials)


def test_plain_text_has_no_context_and_no_credentials():
    kafka = KafkaSettings(bootstrap_servers=["a:1"])
    assert aiokafka_options(kafka)["ssl_context"] is None
    assert faust_credentials(kafka) is None
    assert consumer_options(kafka)["isolation_level"] == "read_committed"


def test_a_password_is_in_no_repr():
    kafka = KafkaSettings(
        bootstrap_servers=["a:1"],
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_username="monitor",
        sasl_password=SecretStr("s3cret"),
    )
    assert "s3cret" not in repr(kafka)
    assert librdkafka_options(kafka)["sasl.password"] == "s3cret"
