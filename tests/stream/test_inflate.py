"""A compressed batch inflates to a limit and no further, in the very decoders that read batches."""

from __future__ import annotations

import asyncio
import gzip
import sys
import zlib
from typing import TYPE_CHECKING, Any

import aiokafka.codec
import cramjam
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record import default_records
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import ConfigurationError
from monitor.stream.inflate import limit_inflation
from tests.integration.stack import DEADLINE_SECONDS, Stack
from tests.rig.broker import create_topic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CODECS = ("gzip", "lz4", "snappy", "zstd")
LIMIT = 1 << 20
ENCODE = {name: getattr(aiokafka.codec, f"{name}_encode") for name in CODECS}


@pytest.fixture(autouse=True)
def limited() -> Iterator[None]:
    limit_inflation(LIMIT)
    yield
    limit_inflation(64 << 20)


def decode(name: str, payload: bytes) -> bytes:
    """What the module that reads batches does with a payload: aiokafka's compiled one, where there is one."""
    module: Any = sys.modules[default_records.DefaultRecordBatch.__module__]
    found: bytes = getattr(module, f"{name}_decode")(memoryview(payload) if name == "gzip" else payload)
    return found


@pytest.mark.parametrize("name", CODECS)
def test_a_bomb_is_refused_before_its_memory_is_taken(name: str) -> None:
    for size in (LIMIT + 1, 300 << 20):
        with pytest.raises(ConfigurationError, match="inflates to more than 1,048,576 bytes"):
            decode(name, ENCODE[name](bytes(size)))


@pytest.mark.parametrize("name", CODECS)
def test_what_is_within_the_limit_is_as_it_was(name: str) -> None:
    for data in (b"", b"x", bytes(LIMIT), b"0123456789" * 50_000):
        assert decode(name, ENCODE[name](data)) == data


@pytest.mark.parametrize("name", CODECS)
@given(data=st.binary(max_size=5000))
def test_any_bytes_survive(name: str, data: bytes) -> None:
    assert decode(name, ENCODE[name](data)) == data


@pytest.mark.parametrize("name", CODECS)
def test_garbage_is_an_error_of_another_kind(name: str) -> None:
    with pytest.raises((OSError, cramjam.DecompressionError, zlib.error)):
        decode(name, b"\x01garbage" * 20)


def test_snappy_in_several_blocks_counts_them_together() -> None:
    data = bytes(LIMIT + 40_000)
    assert decode("snappy", aiokafka.codec.snappy_encode(data[:-40_000])) == data[:-40_000]
    with pytest.raises(ConfigurationError):
        decode("snappy", aiokafka.codec.snappy_encode(data))


def test_gzip_is_read_as_the_standard_library_writes_it() -> None:
    assert decode("gzip", gzip.compress(b"abc")) == b"abc"


@pytest.mark.kafka
def test_a_worker_that_meets_one_ends_with_what_a_person_must_do(
    tmp_path: Path, kafka: str, prefix: str
) -> None:
    """A bomb in a source's topic costs no memory; the next start meets it again until it is passed."""
    create_topic(kafka, f"{prefix}gate")
    stack = Stack(
        tmp_path, broker="cluster", bootstrap=kafka, prefix=prefix, kafka={"max_inflated_batch_bytes": LIMIT}
    )
    try:
        assert stack.run("init", "--from", "earliest").returncode == 0
        asyncio.run(bomb(kafka, f"{prefix}gate"))
        worker = stack.spawn("worker", "--roles", "intake,enforce")
        assert worker.process.wait(DEADLINE_SECONDS) == 78, worker.said
        assert "kafka.max_inflated_batch_bytes" in worker.said
    finally:
        stack.close()


async def bomb(kafka: str, topic: str) -> None:
    size = 16 << 20
    async with AIOKafkaProducer(
        bootstrap_servers=kafka, compression_type="gzip", max_batch_size=size * 2, max_request_size=size * 2
    ) as producer:
        await producer.send_and_wait(topic, bytes(size))
