"""An embedded broker that misbehaves on request."""

from __future__ import annotations

import ctypes
from functools import cache

from monitor.stream.embedded import EmbeddedBroker, declare, load_library

_Int16, _Int32, _Int, _Size = ctypes.c_int16, ctypes.c_int32, ctypes.c_int, ctypes.c_size_t
_Pointer, _Text = ctypes.c_void_p, ctypes.c_char_p


class FaultyBroker(EmbeddedBroker):
    """The embedded broker, with librdkafka's fault injection; nodes count from 1."""

    def down(self, node: int = 1) -> None:
        """Close the node's connections and refuse new ones."""
        _faults().rd_kafka_mock_broker_set_down(self._running(), node)

    def up(self, node: int = 1) -> None:
        """Accept connections again; topics and records are still there."""
        _faults().rd_kafka_mock_broker_set_up(self._running(), node)

    def rtt(self, milliseconds: int, node: int = 1) -> None:
        """Delay each answer of the node."""
        _faults().rd_kafka_mock_broker_set_rtt(self._running(), node, milliseconds)

    def fail_requests(self, api: int, *errors: int) -> None:
        """Answer the next requests of Kafka API number `api` with these error codes, one each."""
        codes = (ctypes.c_int * len(errors))(*errors)
        _faults().rd_kafka_mock_push_request_errors_array(self._running(), api, len(errors), codes)

    def clear_failures(self, api: int) -> None:
        """Forget what `fail_requests` left over for this API."""
        _faults().rd_kafka_mock_clear_request_errors(self._running(), api)

    def lead(self, topic: str, partition: int, node: int) -> None:
        """Make the node the leader of a partition."""
        _faults().rd_kafka_mock_partition_set_leader(self._running(), topic.encode(), partition, node)

    def coordinate(self, group: str, node: int) -> None:
        """Make the node the coordinator of a group."""
        _faults().rd_kafka_mock_coordinator_set(self._running(), b"group", group.encode(), node)


@cache
def _faults() -> ctypes.CDLL:
    library = load_library()
    declare(
        library,
        {
            "rd_kafka_mock_broker_set_down": (_Int, _Pointer, _Int32),
            "rd_kafka_mock_broker_set_up": (_Int, _Pointer, _Int32),
            "rd_kafka_mock_broker_set_rtt": (_Int, _Pointer, _Int32, _Int),
            "rd_kafka_mock_push_request_errors_array": (None, _Pointer, _Int16, _Size, _Pointer),
            "rd_kafka_mock_clear_request_errors": (None, _Pointer, _Int16),
            "rd_kafka_mock_partition_set_leader": (_Int, _Pointer, _Text, _Int32, _Int32),
            "rd_kafka_mock_coordinator_set": (_Int, _Pointer, _Text, _Text, _Int32),
        },
    )
    return library
