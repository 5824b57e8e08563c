"""The recipes of deploy/ in real gateways: Caddy, Envoy, HAProxy and nginx, each with keys and ports of a test."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from monitor.demo.gateway import GatewayPlan, gateway_command, write_gateway
from monitor.demo.processes import Processes, free_ports, until
from tests.gateways.debian import answers, program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
GATEWAYS: Final = ("envoy", "haproxy", "nginx")


@dataclass
class Edge:
    """A running gateway; `log` holds its canonical events, `keys` is client → key."""

    kind: str
    port: int
    log: Path
    keys: Mapping[str, str]
    http: aiohttp.ClientSession
    socket: Path
    refused_map: Path
    skipped: int = 0

    async def get(self, path: str, client: str | None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Ask for a path with a client's key."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if client is not None:
            sent["x-api-key"] = self.keys.get(client, client)
        async with self.http.get(f"http://127.0.0.1:{self.port}{path}", headers=sent) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.read()

    async def status(self, path: str, client: str) -> int:
        """Return the status of an answer."""
        return (await self.get(path, client))[0]

    async def forget(self) -> None:
        """Leave out what is logged so far."""
        self.skipped += len(self.lines)

    async def logged(self, count: int) -> list[dict[str, Any]]:
        """Return the events once there are at least `count`."""
        assert await until(lambda: len(self.lines) >= count, within_seconds=20), self.lines
        return [json.loads(line) for line in self.lines]

    @property
    def lines(self) -> list[bytes]:
        """The lines that are events."""
        written = self.log.read_bytes().splitlines() if self.log.exists() else []
        return [line for line in written if line.startswith(b"{")][self.skipped :]


def filled(recipe: Path, **values: Any) -> str:
    """Return a recipe with other values; each must stand in it."""
    text = recipe.read_text(encoding="utf-8")
    for old, new in values.items():
        assert old in text, f"{recipe}: {old}"
        text = text.replace(old, str(new))
    return text


def haproxy_config(folder: Path, port: int, api_port: int, keys: Mapping[str, str]) -> str:
    """Return the recipe of deploy/haproxy, and write its maps."""
    lines = (f"{hashlib.sha256(key.encode()).hexdigest()} {client}\n" for client, key in keys.items())
    (folder / "keys.map").write_text("".join(lines), encoding="utf-8")
    (folder / "refused.map").touch()
    return filled(
        DEPLOY / "haproxy" / "haproxy.cfg",
        **{
            "/run/haproxy/admin.sock": folder / "admin.sock",
            "/etc/haproxy/keys.map": folder / "keys.map",
            "/etc/haproxy/refused.map": folder / "refused.map",
            "127.0.0.1:8080": f"127.0.0.1:{port}",
            "127.0.0.1:8000": f"127.0.0.1:{api_port}",
        },
    )


def nginx_config(
    folder: Path, port: int, api_port: int, authz_ports: Sequence[int], keys: Mapping[str, str]
) -> str:
    """Return the recipe of deploy/nginx, and write its keys."""
    keys_file = folder / "keys.map"
    keys_file.write_text("".join(f'"{key}" {client};\n' for client, key in keys.items()), encoding="utf-8")
    first, second = authz_ports[0], authz_ports[-1]
    text = filled(
        DEPLOY / "nginx" / "nginx.conf",
        **{
            "/run/nginx.pid": folder / "nginx.pid",
            "/var/log/nginx/error.log": folder / "nginx-error.log",
            "/var/log/nginx/access.json": folder / "access.json",
            "/etc/nginx/keys.map": keys_file,
            "127.0.0.1:8080": f"127.0.0.1:{port}",
            "127.0.0.1:8000": f"127.0.0.1:{api_port}",
            "127.0.0.1:9191": f"127.0.0.1:{first}",
            "127.0.0.1:9193": f"127.0.0.1:{second}",
            # A machine that runs all tests at once is no finding.
            "proxy_connect_timeout 250ms": "proxy_connect_timeout 10s",
            "proxy_read_timeout 500ms": "proxy_read_timeout 10s",
        },
    )
    # Only what a test's user may not do: the rest is the recipe.
    temporary = "".join(
        f"  {name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    return user + text.replace("http {\n", f"http {{\n{temporary}", 1)


def caddy_config(
    folder: Path, port: int, api_port: int, authz_ports: Sequence[int], keys: Mapping[str, str]
) -> str:
    """Return the recipe of deploy/caddy that asks, and write its keys."""
    lines = (f"{key} {client}\n" for client, key in keys.items())
    (folder / "api-keys.map").write_text("".join(lines), encoding="utf-8")
    return filled(
        DEPLOY / "caddy" / "authz.Caddyfile",
        **{
            ":8080 {": f"http://127.0.0.1:{port} {{",
            "127.0.0.1:8000": f"127.0.0.1:{api_port}",
            "127.0.0.1:9191": f"127.0.0.1:{authz_ports[0]}",
            "127.0.0.1:9193": f"127.0.0.1:{authz_ports[-1]}",
            "output file access.log": f"output file {folder / 'caddy-access.log'}",
            # A machine that runs all tests at once is no finding.
            "dial_timeout 250ms": "dial_timeout 10s",
            "response_header_timeout 500ms": "response_header_timeout 10s",
        },
    )


@asynccontextmanager
async def running_edge(
    kind: str,
    folder: Path,
    processes: Processes,
    *,
    api_port: int,
    authz_ports: Sequence[int],
    keys: Mapping[str, str],
) -> AsyncIterator[Edge]:
    """Run a gateway in front of an API; it asks the decision services that it can ask."""
    port, admin = free_ports(2)
    log = folder / f"{kind}.json"
    if kind == "envoy":
        config = folder / "envoy-config.json"
        second = authz_ports[1] if len(authz_ports) > 1 else None
        write_gateway(config, GatewayPlan(port, admin, api_port, authz_ports[0], keys, second))
        text = config.read_text(encoding="utf-8")
        for impatient, patient in (("0.5s", "20s"), ("0.25s", "10s"), ("0.2s", "5s")):
            assert f'"{impatient}"' in text
            text = text.replace(f'"{impatient}"', f'"{patient}"')
        config.write_text(text, encoding="utf-8")
        command = gateway_command(config)
    elif kind == "haproxy":
        config = folder / "haproxy.cfg"
        config.write_text(haproxy_config(folder, port, api_port, keys), encoding="utf-8")
        command = [program("haproxy"), "-db", "-f", str(config)]
    elif kind == "caddy":
        config = folder / "Caddyfile"
        config.write_text(caddy_config(folder, port, api_port, authz_ports, keys), encoding="utf-8")
        places = [f"XDG_{name}_HOME={folder}" for name in ("DATA", "CONFIG")]
        caddy = [program("caddy"), "run", "--adapter", "caddyfile", "--config", str(config)]
        command = ["/usr/bin/env", f"HOME={folder}", *places, *caddy]
        log = folder / "caddy-access.log"
    else:
        config = folder / "nginx.conf"
        config.write_text(nginx_config(folder, port, api_port, authz_ports, keys), encoding="utf-8")
        command = [program("nginx"), "-c", str(config), "-p", str(folder), "-g", "daemon off;"]
        log = folder / "access.json"
    child = processes.start(kind, command, stdout=folder / f"{kind}.json")
    if kind == "envoy":
        await answers(processes, child, admin, "/ready")
    await answers(processes, child, port)
    async with aiohttp.ClientSession() as http:
        yield Edge(kind, port, log, keys, http, folder / "admin.sock", folder / "refused.map")
