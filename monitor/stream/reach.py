"""Reaching a cluster at start: waits while the brokers are away, then says so and gives up."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from monitor.errors import BrokerUnavailableError
from monitor.stream.kafka import librdkafka_options

if TYPE_CHECKING:
    from monitor.settings import KafkaSettings

log = structlog.get_logger(__name__)

_ATTEMPT_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.5


def admin_client(kafka: KafkaSettings, reasons: list[str] | None = None) -> AdminClient:
    """Return a client for administration; it connects when it is first used.

    It adds to `reasons` why connections fail: address and cause, never a secret.
    """

    def keep(error: KafkaError) -> None:
        if reasons is not None and error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - it has no other name
            reasons.append(error.str())

    # Level 0: librdkafka would print each failed connection on stderr.
    options: dict[str, Any] = {**librdkafka_options(kafka), "error_cb": keep, "log_level": 0}
    return AdminClient(options)


async def wait_for_broker(kafka: KafkaSettings) -> None:
    """Return as soon as the cluster answers.

    Raises BrokerUnavailableError where it does not within `kafka.connect_timeout_seconds`.
    """
    given_up = threading.Event()
    try:
        await asyncio.to_thread(_wait, kafka, given_up)
    except asyncio.CancelledError:
        # A thread cannot be cancelled, and the process does not end before it.
        given_up.set()
        raise


def _wait(kafka: KafkaSettings, given_up: threading.Event) -> None:
    servers = ",".join(kafka.bootstrap_servers)
    deadline = time.monotonic() + kafka.connect_timeout_seconds
    reasons: list[str] = []
    admin = admin_client(kafka, reasons)
    told = False
    while True:
        left = deadline - time.monotonic()
        try:
            admin.list_topics(timeout=max(0.1, min(_ATTEMPT_SECONDS, left)))
        except KafkaException as error:
            admin.poll(0)  # hands over why connections failed
            reason = reasons[-1] if reasons else error.args[0].str()
            if time.monotonic() + _PAUSE_SECONDS >= deadline:
                msg = (
                    f"kafka.bootstrap_servers: no broker answered at {servers} within"
                    f" {kafka.connect_timeout_seconds:g} s: {reason}. Is Kafka running, and are the"
                    " address, kafka.security_protocol and the credentials right?"
                )
                raise BrokerUnavailableError(msg) from None
            if not told:
                log.warning("waiting for Kafka", servers=servers, reason=reason, seconds=round(left))
                told = True
            if given_up.wait(_PAUSE_SECONDS):
                return
        else:
            if told:
                log.info("Kafka answers", servers=servers)
            return
