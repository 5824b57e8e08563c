"""Settings with topics on a broker, and receivers that are gone when the test ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from monitor.stream.topics import create_embedded, create_topics
from tests.response.stage import Cast, Receiver
from tests.rig.configuration import settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from monitor.settings import Settings
    from monitor.stream.embedded import EmbeddedBroker

    Install = Callable[..., Cast]


@pytest.fixture
def install(tmp_path: Path, embedded: EmbeddedBroker, prefix: str) -> Install:
    """Return what makes an installation on the embedded broker; arguments go to `response`.

    `webhooks` are its adapters, called ``webhook-0`` and so on.
    """
    created: list[bool] = []

    def make(webhooks: Sequence[dict[str, Any]] = (), **response: Any) -> Cast:
        adapters = [{**plain, "name": f"webhook-{index}"} for index, plain in enumerate(webhooks)]
        settings = settings_for(
            tmp_path,
            broker="embedded",
            bootstrap=embedded.bootstrap_servers,
            prefix=prefix,
            response={"mode": "enforce", "retry_ceiling": "20ms", "adapters": adapters, **response},
        )
        if not created:
            create_embedded(settings, embedded)
            created.append(True)
        return Cast(settings)

    return make


@pytest.fixture
def settings(
    request: pytest.FixtureRequest, tmp_path: Path, broker: str, bootstrap: str, prefix: str
) -> Settings:
    """Return the settings of an installation on the embedded broker, then on a real Kafka."""
    made = settings_for(tmp_path, broker=broker, bootstrap=bootstrap, prefix=prefix)
    if broker == "embedded":
        create_embedded(made, request.getfixturevalue("embedded"))
    else:
        create_topics(made)
    return made


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Return a receiver that is up and accepts."""
    made = Receiver()
    await made.up()
    yield made
    await made.down()


@pytest.fixture
async def other() -> AsyncIterator[Receiver]:
    """Return another receiver."""
    made = Receiver()
    await made.up()
    yield made
    await made.down()
