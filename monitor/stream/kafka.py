"""How each Kafka client is told about a cluster: one translation of `KafkaSettings` per library."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import faust

from monitor.stream.inflate import limit_inflation

if TYPE_CHECKING:
    from monitor.settings import KafkaSettings


def ssl_context(kafka: KafkaSettings) -> ssl.SSLContext | None:
    """Return the TLS context of a cluster, or None where it is reached in plain text."""
    if kafka.security_protocol not in {"SSL", "SASL_SSL"}:
        return None
    context = ssl.create_default_context(cafile=_text(kafka.ssl_ca_file))
    if kafka.ssl_certificate_file is not None:
        password = kafka.ssl_key_password
        context.load_cert_chain(
            str(kafka.ssl_certificate_file),
            _text(kafka.ssl_key_file),
            password.get_secret_value() if password else None,
        )
    return context


def sasl_password(kafka: KafkaSettings) -> str | None:
    """Return the SASL password, from the setting or from its file."""
    if kafka.sasl_password is not None:
        return kafka.sasl_password.get_secret_value()
    if kafka.sasl_password_file is not None:
        return kafka.sasl_password_file.read_text(encoding="utf-8").strip()
    return None


def aiokafka_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return the options that `AIOKafkaConsumer` and `AIOKafkaProducer` share."""
    options: dict[str, Any] = {
        "bootstrap_servers": list(kafka.bootstrap_servers),
        "client_id": kafka.client_id,
        "request_timeout_ms": int(kafka.request_timeout_seconds * 1000),
        "security_protocol": kafka.security_protocol,
        "ssl_context": ssl_context(kafka),
    }
    if kafka.sasl_mechanism is not None:
        options["sasl_mechanism"] = kafka.sasl_mechanism
        options["sasl_plain_username"] = kafka.sasl_username
        options["sasl_plain_password"] = sasl_password(kafka)
    return options


def consumer_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return `aiokafka_options` and what only consumers take.

    The embedded broker gives its control batches a wrong checksum, so there it is not checked; and
    it answers a fetch that found nothing only when the longest wait is over, so there that is short. From
    now on no batch of this process is inflated beyond the limit of this cluster.
    """
    limit_inflation(kafka.max_inflated_batch_bytes)
    embedded = kafka.broker == "embedded"
    return {
        **aiokafka_options(kafka),
        "fetch_max_wait_ms": 5 if embedded else 500,
        "enable_auto_commit": False,
        "isolation_level": "read_committed",
        "check_crcs": not embedded,
    }


def librdkafka_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return the configuration of a confluent-kafka client (administration only)."""
    options: dict[str, Any] = {
        "bootstrap.servers": ",".join(kafka.bootstrap_servers),
        "client.id": kafka.client_id,
        "security.protocol": kafka.security_protocol.lower(),
        "socket.timeout.ms": int(kafka.request_timeout_seconds * 1000),
    }
    if kafka.sasl_mechanism is not None:
        options["sasl.mechanisms"] = kafka.sasl_mechanism
        options["sasl.username"] = kafka.sasl_username
        options["sasl.password"] = sasl_password(kafka)
    if kafka.ssl_ca_file is not None:
        options["ssl.ca.location"] = str(kafka.ssl_ca_file)
    if kafka.ssl_certificate_file is not None:
        options["ssl.certificate.location"] = str(kafka.ssl_certificate_file)
        options["ssl.key.location"] = _text(kafka.ssl_key_file)
        if kafka.ssl_key_password is not None:
            options["ssl.key.password"] = kafka.ssl_key_password.get_secret_value()
    return options


def faust_credentials(kafka: KafkaSettings) -> Any:
    """Return what Faust's own producer and consumer authenticate with, or None."""
    context = ssl_context(kafka)
    if kafka.sasl_mechanism is not None:
        return faust.SASLCredentials(
            username=kafka.sasl_username,
            password=sasl_password(kafka),
            mechanism=kafka.sasl_mechanism,
            ssl_context=context,
        )
    if context is not None:
        return faust.SSLCredentials(context=context)
    return None


def _text(path: object) -> str | None:
    return None if path is None else str(path)
