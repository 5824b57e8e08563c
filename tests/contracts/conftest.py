"""Every adapter with a gateway of its kind: the real HAProxy, the others' admin APIs on loopback."""

from __future__ import annotations

import base64
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import aiohttp
import pytest
from pydantic import TypeAdapter

from monitor.response.adapters import Endpoint, build_endpoints
from monitor.response.adapters.protocol import DesiredState
from monitor.settings import AdapterSettings
from tests.contracts import servers
from tests.gateways.debian import haproxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from monitor.core.events import CredentialStatus
    from monitor.response.adapters.protocol import Adapter

ADAPTERS: Final = ("webhook", "kong", "kong-by-key", "apisix", "tyk", "keycloak", "haproxy")
CREDENTIALS: Final = tuple(f"partner-{number}" for number in range(25))
#: What HAProxy does with the map; deploy/haproxy has it whole.
_HAPROXY: Final = """
global
  stats socket {socket} mode 600 level admin
defaults
  mode http
  timeout client 10s
  timeout server 10s
  timeout connect 5s
frontend edge
  bind 127.0.0.1:{port}
  http-request return status 403 if {{ req.hdr(x-client-id),map({map}) -m found }}
  http-request return status 200
"""


class Gateway(Protocol):
    """A gateway, as the contract sees it."""

    async def lets_in(self, credential: str) -> bool:
        """Return whether a request with this credential would be answered now."""

    async def forget(self, credential: str) -> None:
        """Lose what was told about a credential."""

    async def down(self) -> None:
        """Stop answering."""

    async def up(self) -> None:
        """Answer again."""


@dataclass
class Told:
    """An adapter and its gateway; `ids` are credentials that the gateway knows."""

    kind: str
    endpoint: Endpoint
    gateway: Gateway
    ids: tuple[str, ...]
    token_file: Path | None = None
    server: Any = None

    @property
    def adapter(self) -> Adapter:
        """The adapter."""
        return self.endpoint.adapter

    def wanted(
        self, status: CredentialStatus, version: int = 1, id_: str | None = None, **changes: Any
    ) -> DesiredState:
        """Return what the adapter is told."""
        kind = min(self.adapter.traits.kinds)
        return desired(self.ids[0] if id_ is None else id_, status, version, **{"kind": kind, **changes})


def desired(id_: str, status: CredentialStatus, version: int = 1, **changes: Any) -> DesiredState:
    """Return what an adapter is told about a credential."""
    plain = {
        "realm": "gate",
        "id": id_,
        "kind": "api_key",
        "status": status,
        "version": version,
        "since_ms": 1_790_000_000_000,
        "until_ms": None,
        "incident": "INC-0142",
        "finding": "f" * 32,
        "rule_id": "r",
        "rule_title": "Many patients",
        "reason": "A credential read 200 patients in 10 minutes.",
        "message": f"msg_{id_}_{version}",
    }
    return DesiredState(**{**plain, **changes})


class OfServer:
    """A gateway whose admin API is one of ours."""

    def __init__(self, server: Any) -> None:
        self._server = server

    async def lets_in(self, credential: str) -> bool:
        return bool(self._server.lets_in(credential))

    async def forget(self, credential: str) -> None:
        self._server.forget(credential)

    async def down(self) -> None:
        await self._server.down()

    async def up(self) -> None:
        await self._server.up()


class OfHaproxy:
    """The real HAProxy."""

    def __init__(self, process: Any, folder: Path) -> None:
        self._process = process
        self._map = folder / "refused.map"

    async def lets_in(self, credential: str) -> bool:
        address = f"http://127.0.0.1:{self._process.port}/"
        async with (
            aiohttp.ClientSession() as http,
            http.get(address, headers={"x-client-id": credential}) as answer,
        ):
            assert answer.status in {200, 403}
            return answer.status == 200

    async def forget(self, credential: str) -> None:
        await self.down()
        self._map.write_text("")
        await self.up()

    async def down(self) -> None:
        await self._process.down()

    async def up(self) -> None:
        await self._process.up()


def settings_of(kind: str, folder: Path, **changes: Any) -> dict[str, Any]:
    """Return the settings of an adapter as a person writes them, without where its gateway is."""
    token = folder / "token"
    token.write_text(f"{servers.TOKEN}\n", encoding="utf-8")
    token.chmod(0o600)
    plain: dict[str, Any] = {"type": kind, "name": kind, "realms": ["gate"], "timeout": "5s"}
    if kind in {"kong", "apisix", "tyk"}:
        plain["token_file"] = str(token)
    if kind == "keycloak":
        plain |= {"realm": "clinics", "client_id": "access-monitor", "secret_file": str(token)}
    if kind == "webhook":
        token.write_text(SECRET, encoding="utf-8")
        plain["secret_file"] = str(token)
    if kind == "haproxy":
        plain |= {"socket": str(folder / "admin.sock"), "map_file": str(folder / "refused.map")}
    else:
        plain["private_addresses"] = True
    return {**plain, **changes}


SECRET: Final = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes, no!").decode()


def endpoint_of(plain: dict[str, Any]) -> Endpoint:
    """Return the adapter that settings describe."""
    made: AdapterSettings = TypeAdapter(AdapterSettings).validate_python(plain)
    [endpoint] = build_endpoints([made])
    return endpoint


@pytest.fixture(params=ADAPTERS)
async def told(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Told]:
    """Return each adapter in turn, with a gateway that knows the credentials."""
    kind = str(request.param)
    async with AsyncExitStack() as exits:
        made = await open_gateway(kind, tmp_path, exits)
        exits.push_async_callback(made.adapter.close)
        yield made


async def open_gateway(kind: str, folder: Path, exits: AsyncExitStack) -> Told:
    """Start a gateway and make its adapter."""
    if kind == "haproxy":
        process = await exits.enter_async_context(haproxy(folder, _HAPROXY))
        return Told(kind, endpoint_of(settings_of(kind, folder)), OfHaproxy(process, folder), CREDENTIALS)
    made: dict[str, Any] = {
        "webhook": lambda: servers.Receiver(SECRET),
        "kong": lambda: servers.Kong(*CREDENTIALS),
        "kong-by-key": lambda: servers.Kong(*CREDENTIALS),
        "apisix": lambda: servers.Apisix(*CREDENTIALS),
        "tyk": lambda: servers.Tyk(*CREDENTIALS),
        "keycloak": lambda: servers.Keycloak(*CREDENTIALS),
    }
    server = await exits.enter_async_context(made[kind]())
    by_key = kind == "kong-by-key"
    extra = {"identifies": "key-auth"} if by_key else {}
    plain = settings_of("kong" if by_key else kind, folder, url=server.url, **extra)
    ids = tuple(f"key-of-{name}" for name in CREDENTIALS) if by_key else CREDENTIALS
    return Told(kind, endpoint_of(plain), OfServer(server), ids, folder / "token", server)
