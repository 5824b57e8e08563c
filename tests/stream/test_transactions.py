"""Transactions one after the other: what one waits for the one before."""

from __future__ import annotations

from aiokafka.errors import ConcurrentTransactions
from aiokafka.producer.sender import AddPartitionsToTxnHandler
from aiokafka.structs import TopicPartition

from monitor.stream import producers


class _Manager:
    txn_partitions = frozenset[TopicPartition]()


class _Sender:
    _txn_manager = _Manager()
    _retry_backoff = 0.1


class _Response:
    errors = (("topic", [(0, ConcurrentTransactions.errno)]),)


def test_a_transaction_that_follows_at_once_asks_again_within_milliseconds():
    """The pause is a constant of aiokafka, which is pinned: 20 ms, five to a decision."""
    handler = AddPartitionsToTxnHandler(_Sender(), [TopicPartition("topic", 0)])
    assert handler.handle_response(_Response()) == producers.MARKERS_SECONDS < 0.005
