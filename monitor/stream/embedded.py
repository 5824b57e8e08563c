"""A Kafka broker inside this process, for the demo and for tests: no Java, nothing to install.

It is librdkafka's mock cluster, which the wheel of confluent-kafka carries. It keeps records in
memory (the last 5 MB or so of a partition) and knows producing, fetching, groups, offsets and the
protocol of transactions. It does not compact, fence, create topics on request or describe them:
docs/adr/0004-embedded-broker.md.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Final, Self

import confluent_kafka

from monitor.errors import BrokerUnavailableError

_PRODUCER: Final = 0  # rd_kafka_type_t
_Pointer = ctypes.c_void_p
_Text = ctypes.c_char_p
_Int = ctypes.c_int

# Each function of librdkafka that we call: what it returns, then what it takes.
_FUNCTIONS: Final[dict[str, tuple[object, ...]]] = {
    "rd_kafka_conf_new": (_Pointer,),
    "rd_kafka_conf_set_log_cb": (None, _Pointer, _Pointer),
    "rd_kafka_new": (_Pointer, _Int, _Pointer, _Text, ctypes.c_size_t),
    "rd_kafka_destroy": (None, _Pointer),
    "rd_kafka_mock_cluster_new": (_Pointer, _Pointer, _Int),
    "rd_kafka_mock_cluster_destroy": (None, _Pointer),
    "rd_kafka_mock_cluster_bootstraps": (_Text, _Pointer),
    "rd_kafka_mock_topic_create": (_Int, _Pointer, _Text, _Int, _Int),
    "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, _Pointer, ctypes.c_int32),
}


class EmbeddedBroker:
    """A cluster of `brokers` nodes on loopback ports of its own, alive while the context is entered.

    `bootstrap_servers` is ``host:port`` of each node, joined by commas. Every topic is gone when
    the context ends.
    """

    def __init__(self, brokers: int = 1) -> None:
        self._brokers = brokers
        self._handle: int | None = None
        self._cluster: int | None = None
        self.bootstrap_servers = ""

    def __enter__(self) -> Self:
        """Start the cluster; raises BrokerUnavailableError where this machine cannot."""
        library = load_library()
        error = ctypes.create_string_buffer(512)
        conf = library.rd_kafka_conf_new()
        # The handle has no servers to connect to, which librdkafka would warn about on stderr.
        library.rd_kafka_conf_set_log_cb(conf, None)
        self._handle = library.rd_kafka_new(_PRODUCER, conf, error, len(error))
        if self._handle is None:
            msg = f"embedded broker: librdkafka did not start: {error.value.decode()}"
            raise BrokerUnavailableError(msg)
        self._cluster = library.rd_kafka_mock_cluster_new(self._handle, self._brokers)
        if self._cluster is None:
            self.close()
            msg = "embedded broker: no cluster could be made; are loopback ports free to listen on?"
            raise BrokerUnavailableError(msg)
        # A group would otherwise wait 3 s for more members before its first assignment.
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self.bootstrap_servers = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the cluster and drop all that it holds."""
        self.close()

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Create a topic of `partitions` (at least 1) partitions; raises BrokerUnavailableError."""
        code = load_library().rd_kafka_mock_topic_create(self._running(), name.encode(), partitions, 1)
        if code:
            msg = f"embedded broker: topic {name} was not created (error {code}); does it exist already?"
            raise BrokerUnavailableError(msg)

    def close(self) -> None:
        """Stop the cluster; does nothing where it is stopped."""
        library = load_library()
        if self._cluster is not None:
            library.rd_kafka_mock_cluster_destroy(self._cluster)
            self._cluster = None
        if self._handle is not None:
            library.rd_kafka_destroy(self._handle)
            self._handle = None
        self.bootstrap_servers = ""

    def _running(self) -> int:
        if self._cluster is None:
            msg = "embedded broker: it is not running; enter its context first"
            raise BrokerUnavailableError(msg)
        return self._cluster


@cache
def load_library() -> ctypes.CDLL:
    """Return librdkafka from the wheel; raises BrokerUnavailableError where it has no mock cluster."""
    remedy = "install confluent-kafka from its wheel (Linux x86-64 or arm64), or use kafka.broker: cluster"
    bundled = Path(confluent_kafka.__file__).parent.with_name("confluent_kafka.libs")
    path = next(iter(sorted(bundled.glob("librdkafka*"))), None)
    if path is None:
        msg = f"embedded broker: confluent-kafka brings no librdkafka here; {remedy}"
        raise BrokerUnavailableError(msg)
    try:
        library = ctypes.CDLL(str(path))
        declare(library, _FUNCTIONS)
    except (OSError, AttributeError) as error:
        msg = f"embedded broker: this librdkafka has no mock cluster ({error}); {remedy}"
        raise BrokerUnavailableError(msg) from error
    return library


def declare(library: ctypes.CDLL, functions: dict[str, tuple[object, ...]]) -> None:
    """Tell ctypes what each function returns and takes; raises AttributeError for one it lacks."""
    for name, (result, *arguments) in functions.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
