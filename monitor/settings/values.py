"""The kinds of values that settings have beside plain text and numbers."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BeforeValidator, ConfigDict, PlainSerializer
from pydantic_settings import NoDecode

#: What every section has: no room for a setting that does not exist.
STRICT: Final = ConfigDict(extra="forbid", frozen=True, validate_default=True)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\Z")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LARGEST_PORT = 65535


def parse_duration(value: Any) -> timedelta:
    """Return the duration of ``500ms``, ``3s``, ``10m``, ``24h``, ``30d`` or a number of seconds.

    Raises ValueError where it is none of these, or negative.
    """
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        text = str(value).strip()
        found = _DURATION.match(text)
        if found:
            seconds = float(found[1]) * _UNIT_SECONDS[found[2]]
        else:
            try:
                seconds = float(text)
            except ValueError:
                raise ValueError("expected a duration such as 500ms, 3s, 10m, 24h or 30d") from None
    if not 0 <= seconds < float(366 * 86400):
        raise ValueError("expected a duration of 0 to 366 days")
    return timedelta(seconds=seconds)


def format_duration(value: timedelta) -> str:
    """Return the shortest text that `parse_duration` reads as the same duration."""
    milliseconds = round(value.total_seconds() * 1000)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


class Listen(NamedTuple):
    """Where a server listens; port 0 takes any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return ``host:port``, an IPv6 host in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_listen(value: Any) -> Listen:
    """Return the address of ``host:port`` or ``[::1]:port``; raises ValueError otherwise."""
    if isinstance(value, Listen):
        return value
    host, colon, port = str(value).rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not host or not port.isdigit() or int(port) > _LARGEST_PORT:
        raise ValueError("expected host:port, such as 127.0.0.1:9190 or [::1]:9190")
    return Listen(host, int(port))


def split_servers(value: Any) -> Any:
    """Return the list of a text of servers with commas between them, or of a JSON list."""
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            return json.loads(value)
        return [server.strip() for server in value.split(",") if server.strip()]
    return value


Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration)]
# NoDecode: in the environment it is plain text, not JSON.
Address = Annotated[Listen, NoDecode, BeforeValidator(parse_listen), PlainSerializer(str)]
