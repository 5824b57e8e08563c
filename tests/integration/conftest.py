"""One installation per test, on the embedded broker and on a real Kafka."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from monitor.stream.topics import create_embedded
from tests.integration.stack import Stack
from tests.rig.broker import create_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SOURCE_PARTITIONS = 3


@pytest.fixture
def new_stack(
    tmp_path: Path, broker: str, bootstrap: str, prefix: str, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Stack]]:
    """Return a function that makes the installation, with settings of the test's own."""
    made: list[Stack] = []

    def make(**sections: Any) -> Stack:
        stack = Stack(tmp_path, broker=broker, bootstrap=bootstrap, prefix=prefix, **sections)
        made.append(stack)
        if broker == "embedded":
            embedded = request.getfixturevalue("embedded")
            create_embedded(stack.settings, embedded, source_partitions=SOURCE_PARTITIONS)
        else:
            create_topic(bootstrap, f"{prefix}gate", SOURCE_PARTITIONS)
        return stack

    yield make
    for stack in made:
        stack.close()


@pytest.fixture
def stack(new_stack: Callable[..., Stack]) -> Stack:
    """Return an installation after `monitor init`."""
    installed = new_stack()
    done = installed.run("init", "--from", "earliest")
    assert done.returncode == 0, done.stderr
    return installed
