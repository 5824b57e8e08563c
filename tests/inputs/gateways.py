"""Real gateways, each run with the recipe of deploy/ with ports, keys and paths of the test's own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from monitor.demo.gateway import GatewayPlan, gateway_command, write_gateway
from tests.inputs.traffic import CLIENTS

if TYPE_CHECKING:
    from collections.abc import Callable

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
SBIN: Final = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
_UP_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Gateway:
    """How one is run. `start` writes its files and returns (command, its log, whether stdout is the log)."""

    name: str
    format: str
    program: str
    ids: bool
    files: Callable[[Path, int, int], tuple[list[str], Path, bool]]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def changed(text: str, *changes: tuple[str, str]) -> str:
    """A recipe with what its reader is told to change; each of it must be there."""
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def _nginx(folder: Path, port: int, api: int) -> tuple[list[str], Path, bool]:
    log = folder / "access.log"
    keys = folder / "keys.map"
    keys.write_text("".join(f'"{key}" "{client}";\n' for client, key in CLIENTS.items()), encoding="utf-8")
    recipe = changed(
        (DEPLOY / "nginx" / "access-monitor.conf").read_text(encoding="utf-8"),
        ("/etc/nginx/api-keys.map", str(keys)),
        ("listen 8080;", f"listen 127.0.0.1:{port};"),
        ("/var/log/nginx/access-monitor.log", str(log)),
        ("127.0.0.1:8000", f"127.0.0.1:{api}"),
    )
    paths = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; worker_processes 2; pid {folder}/pid; error_log stderr error;\n"
        f"events {{ worker_connections 256; }}\nhttp {{\n{paths}{recipe}\n}}\n",
        encoding="utf-8",
    )
    return ["nginx", "-c", str(config), "-e", "stderr"], log, False


def _haproxy(folder: Path, port: int, api: int) -> tuple[list[str], Path, bool]:
    keys = folder / "keys.map"
    keys.write_text(
        "".join(f"{hashlib.sha256(key.encode()).hexdigest()} {client}\n" for client, key in CLIENTS.items()),
        encoding="utf-8",
    )
    config = folder / "haproxy.cfg"
    config.write_text(
        changed(
            (DEPLOY / "haproxy" / "access-log.cfg").read_text(encoding="utf-8"),
            ("/etc/haproxy/keys.map", str(keys)),
            ("bind :8080", f"bind 127.0.0.1:{port}"),
            ("127.0.0.1:8000", f"127.0.0.1:{api}"),
        ),
        encoding="utf-8",
    )
    return ["haproxy", "-f", str(config)], folder / "access.log", True


def _caddy(folder: Path, port: int, api: int) -> tuple[list[str], Path, bool]:
    log = folder / "access.log"
    (folder / "api-keys.map").write_text(
        "".join(f"{key} {client}\n" for client, key in CLIENTS.items()), encoding="utf-8"
    )
    config = folder / "Caddyfile"
    config.write_text(
        changed(
            (DEPLOY / "caddy" / "Caddyfile").read_text(encoding="utf-8"),
            (":8080 {", f"http://127.0.0.1:{port} {{"),
            ("127.0.0.1:8000", f"127.0.0.1:{api}"),
            ("output file access.log", f"output file {log}"),
        ),
        encoding="utf-8",
    )
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(config)], log, False


def _envoy(folder: Path, port: int, api: int) -> tuple[list[str], Path, bool]:
    config = folder / "envoy.json"
    write_gateway(config, GatewayPlan(port, free_port(), api, None, CLIENTS))
    # The recipe has the routes of the demo's API; what it says to change is done here for ours.
    plain = json.loads(config.read_text(encoding="utf-8"))
    manager = plain["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["route_config"]["virtual_hosts"][0]["routes"] = [
        {"name": "any", "match": {"prefix": "/"}, "route": {"cluster": "api"}}
    ]
    config.write_text(json.dumps(plain), encoding="utf-8")
    return gateway_command(config), folder / "access.log", True


GATEWAYS: Final = {
    one.name: one
    for one in (
        Gateway("nginx", "nginx", "nginx", True, _nginx),
        Gateway("haproxy", "haproxy", "haproxy", True, _haproxy),
        Gateway("caddy", "caddy", "caddy", False, _caddy),
        Gateway("envoy", "envoy", "", True, _envoy),
    )
}


class Running:
    """A gateway that runs; it is ended with the test."""

    def __init__(self, gateway: Gateway, folder: Path, api: int) -> None:
        self.port = free_port()
        command, self.log, to_stdout = gateway.files(folder, self.port, api)
        self.log.touch()
        self._errors = folder / "gateway.err"
        environment = {**os.environ, "PATH": SBIN, "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
        with self.log.open("ab") as log, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log if to_stdout else errors,
                stderr=errors,
                env=environment,
                cwd=folder,
                start_new_session=True,
            )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + _UP_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                said = self._errors.read_text(encoding="utf-8", errors="replace")[-2000:]
                assert self._process.poll() is None, said
                assert time.monotonic() < deadline, said
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def why_not(program: str) -> str:
    """Why a program cannot be run here, or nothing where it can."""
    return (
        "" if not program or shutil.which(program, path=SBIN) else f"no {program}: run `make debian` as root"
    )
