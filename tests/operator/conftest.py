"""People, and an API that they can reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import pytest

from monitor.observe.metrics import Metrics
from monitor.response.operators.api import OperatorApi
from monitor.wire.statements import Signed
from tests.operator.service import Service
from tests.operator.stage import StandIn, hire, sign_in
from tests.rig.configuration import settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from monitor.settings import Settings
    from tests.operator.stage import Staff


@pytest.fixture(scope="session")
def staff(tmp_path_factory: pytest.TempPathFactory) -> Staff:
    """Return people with keys: made once, they are nobody's secret."""
    return hire(tmp_path_factory.mktemp("staff"))


@pytest.fixture
def server_settings(tmp_path: Path, staff: Staff) -> Settings:
    """Return the settings of a worker with an operator API, and no broker."""
    return settings_for(
        tmp_path, broker="cluster", bootstrap="127.0.0.1:1", prefix="x.", operator=staff.settings
    )


@pytest.fixture
def service(server_settings: Settings, staff: Staff, tmp_path: Path) -> Iterator[Service]:
    """Return an API for commands, which find it with an empty configuration."""
    config = tmp_path / "laptop.yaml"
    config.write_text("{}")
    made = Service(server_settings, staff, config)
    yield made
    made.stop()


@dataclass
class Reached:
    """A running API, the enforcer behind it, and a client."""

    api: OperatorApi
    responder: StandIn
    http: aiohttp.ClientSession
    metrics: Metrics
    active: bool = True
    elsewhere: str | None = None

    async def get(self, path: str, token: str | None = None) -> tuple[int, Any]:
        """Return status and JSON of a page."""
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        async with self.http.get(path, headers=headers) as response:
            return response.status, await response.json()

    async def post(self, path: str, body: Signed | bytes) -> tuple[int, Any]:
        """Return status and JSON of what was asked."""
        data = msgspec.json.encode(body) if isinstance(body, Signed) else body
        async with self.http.post(path, data=data) as response:
            return response.status, await response.json()

    async def token(self, key: Path) -> str:
        """Return a token to read with."""
        _, challenge = await self.get("/v1/challenge")
        status, token = await self.post("/v1/session", sign_in(challenge["challenge"], key))
        assert status == 200, token
        return str(token["token"])


@pytest.fixture
async def reached(server_settings: Settings) -> AsyncIterator[Reached]:
    """Return an API with a stand-in for the enforcer behind it."""
    responder, metrics = StandIn(), Metrics()
    here: list[Reached] = []

    async def elsewhere() -> str | None:
        return here[0].elsewhere

    api = OperatorApi(server_settings, metrics, lambda: responder if here[0].active else None, elsewhere)
    await api.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{api.port}") as http:
        here.append(Reached(api, responder, http, metrics))
        yield here[0]
    await api.stop()
