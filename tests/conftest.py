"""Fixtures that every test may use: brokers, and names that no other test has."""

from __future__ import annotations

import os
import re
import secrets
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, settings

from monitor import engine
from monitor.core.detector import Detector
from monitor.stream.embedded import EmbeddedBroker
from tests.core.samples import detectors_of
from tests.rig import broker as rig
from tests.rig.native import native

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A slow machine is no finding. In CI the examples are the same each time; by hand they are new.
settings.register_profile("hand", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("hand"), derandomize=True)
# For code that was made wrong on purpose (`tests/mutants`): whether a test fails is all that matters.
settings.register_profile(
    "mutants",
    settings.get_profile("ci"),
    max_examples=150,
    database=None,
    phases=(Phase.explicit, Phase.generate),
)
settings.load_profile("ci" if os.environ.get("CI") else "hand")


@pytest.fixture(scope="module", params=["pure", "native"])
def both_detectors(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run a module's tests once for each; where the native one is missing, that is a failure in CI."""
    kind = Detector
    if request.param == "native":
        native(engine.store)
        from monitor.engine.native import NativeDetector

        kind = NativeDetector
    with detectors_of(kind):
        yield


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return ``host:port`` of a real Kafka, one for the whole run; skips (in CI: fails) without Java."""
    reason = rig.why_not()
    if reason:
        message = f"real Kafka: {reason}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return rig.shared(_run_folder(tmp_path_factory), rig.run_owner())


@pytest.fixture
def embedded() -> Iterator[EmbeddedBroker]:
    """Return an embedded broker of the test's own, without topics."""
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture(params=["embedded", pytest.param("cluster", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> str:
    """Return which broker the test runs on, as `kafka.broker` says it; see `bootstrap`."""
    return str(request.param)


@pytest.fixture
def bootstrap(broker: str, request: pytest.FixtureRequest) -> str:
    """Return ``host:port`` of the embedded broker, then of a real Kafka: the test runs on both."""
    if broker == "embedded":
        return str(request.getfixturevalue("embedded").bootstrap_servers)
    return str(request.getfixturevalue("kafka"))


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """Return a prefix for topics and groups that no other test uses."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40]
    return f"{name}-{secrets.token_hex(4)}."


def _run_folder(factory: pytest.TempPathFactory) -> Path:
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
