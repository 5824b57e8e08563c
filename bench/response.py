"""From a finding in Kafka to the first refusal at a gateway, per adapter: ``python bench/response.py [COUNT]``.

The enforcer runs here, on the embedded broker; HAProxy, Envoy and nginx are the real ones, the other gateways
their admin APIs on loopback, which refuse at once. So it is what the monitor adds; a gateway's own time to effect
(docs/adapters.md) comes on top.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from monitor.authz.service import AuthzService
from monitor.demo.api import AppointmentsApi
from monitor.demo.appointments import FIRST_ID, make_register
from monitor.demo.processes import Processes
from monitor.settings.values import Listen
from monitor.stream.embedded import EmbeddedBroker
from monitor.stream.topics import create_embedded
from tests.contracts import conftest as contract
from tests.contracts import servers
from tests.gateways.edges import running_edge
from tests.response.stage import Cast, finding, found, until
from tests.rig.configuration import settings_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 60
NAMES = tuple(f"p-{number}" for number in range(COUNT))
OPEN_FUSE: dict[str, Any] = {"fuse": {"ceiling": 10_000, "rule_ceiling": 10_000, "many": 10_000}}


async def measure(kind: str) -> list[float]:
    """Return the seconds of each finding, sorted."""
    servers.LAG_SECONDS = 0.0
    contract.CREDENTIALS = NAMES
    async with AsyncExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="r")))
        broker = exits.enter_context(EmbeddedBroker())
        response: dict[str, Any] = {"mode": "enforce", **OPEN_FUSE}
        asks = kind in {"envoy", "nginx"}
        if not asks:
            told = await contract.open_gateway(kind, folder, exits)
            where = {} if kind == "haproxy" else {"url": told.server.url}
            response["adapters"] = [contract.settings_of(kind, folder, **where)]
        settings = settings_for(
            folder,
            broker="embedded",
            bootstrap=broker.bootstrap_servers,
            prefix="x.",
            response=response,
            authz={"realm": "gate"},
        )
        create_embedded(settings, broker)
        lets_in: Callable[[str], Awaitable[bool]]
        if asks:
            service = AuthzService(settings, Listen("127.0.0.1", 0))
            await service.start()
            exits.push_async_callback(service.stop)
            api = await exits.enter_async_context(AppointmentsApi(make_register(1)))
            processes = await exits.enter_async_context(Processes(folder))
            keys = {name: f"key-of-{name}" for name in NAMES}
            edge = await exits.enter_async_context(
                running_edge(
                    kind, folder, processes, api_port=api.port, authz_ports=[service.port], keys=keys
                )
            )

            async def asked(name: str) -> bool:
                return await edge.status(f"/appointments/{FIRST_ID}", name) == 200

            lets_in = asked
        else:
            lets_in = told.gateway.lets_in
        enforcer = await exits.enter_async_context(Cast(settings).enforcer())
        if asks:
            await until(lambda: service.register.ready)
        of = "oauth_client" if kind == "keycloak" else "api_key"
        took = []
        for number, name in enumerate(NAMES):
            assert await lets_in(name)
            new = (await found(settings, finding(number, name, principal_kind=of)))[-1:]
            began = time.perf_counter()
            deciding = asyncio.create_task(enforcer.apply_findings(new))
            while await lets_in(name):
                await asyncio.sleep(0.001)
                assert time.perf_counter() - began < 30, name
            took.append(time.perf_counter() - began)
            await deciding
        return sorted(took)


def main() -> None:
    """Print the table."""
    print(f"{COUNT} findings each, one after the other; milliseconds from the finding to the first refusal")
    print(f"{'':10} {'p50':>7} {'p95':>7} {'p99':>7}")
    for kind in ("haproxy", "envoy", "nginx", "webhook", "kong", "apisix", "tyk", "keycloak"):
        took = asyncio.run(measure(kind))
        p50, p95, p99 = (1000 * took[min(len(took) - 1, int(len(took) * q))] for q in (0.5, 0.95, 0.99))
        print(f"{kind:10} {p50:7.1f} {p95:7.1f} {p99:7.1f}", flush=True)


if __name__ == "__main__":
    main()
