"""Recorded access events for benchmarks: canonical JSON, about 353 bytes each, the same for every run.

Events are 5 ms of event time apart (200 a second), so that a million span 83 minutes: windows of ten
minutes fill, slide and empty while they are read. One in twenty is late by up to two seconds.
"""

from __future__ import annotations

import argparse
import random
import sys
from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_MS: Final = 1_750_000_000_000
EVENTS_PER_SECOND: Final = 200
CREDENTIALS: Final = 5_000
PATIENTS: Final = 100_000
DISORDER_MS: Final = 2_000
LATE, FOUND = 0.05, 0.97
#: name: (credentials, how skewed they are: the exponent over a uniform draw, share of one hot credential)
LOADS: Final[dict[str, tuple[int, float, float]]] = {
    "skewed": (CREDENTIALS, 3.0, 0.0),
    "uniform": (1_000_000, 1.0, 0.0),
    "hot": (CREDENTIALS, 3.0, 0.5),
}


def events(count: int, begin_ms: int = START_MS, load: str = "skewed") -> Iterator[tuple[str, bytes]]:
    """Yield (credential, JSON) of each event."""
    rng = random.Random(1)
    credentials, skew, hot = LOADS[load]
    for number in range(count):
        late = rng.randrange(DISORDER_MS) if rng.random() < LATE else 0
        principal = f"partner-{int(rng.random() ** skew * credentials)}"
        if hot and rng.random() < hot:
            principal = "partner-hot"
        event = {
            "time": begin_ms + number * 1000 // EVENTS_PER_SECOND - late,
            "id": f"{rng.getrandbits(128):032x}",
            "realm": "gateway-1",
            "principal": principal,
            "principal_kind": "api_key",
            "authenticated": True,
            "status": 200 if rng.random() < FOUND else 404,
            "method": "GET",
            "route": "/appointments/{id}",
            "object": f"appointment-{rng.randrange(1_000_000)}",
            "patient": f"patient-{rng.randrange(PATIENTS)}",
            "tenant": f"practice-{rng.randrange(40)}",
            "client_ip": f"192.0.2.{rng.randrange(256)}",
            "bytes": rng.randrange(200, 20_000),
            "records": 1,
            "gateway": "gw-1",
        }
        yield principal, orjson.dumps(event)


def write_events(path: Path, count: int, begin_ms: int = START_MS, load: str = "skewed") -> None:
    """Write events to a file, one to a line."""
    with path.open("wb") as file:
        for _, value in events(count, begin_ms, load):
            file.write(value + b"\n")


def main() -> None:
    """Write events to the standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=100_000)
    parser.add_argument("--load", choices=LOADS, default="skewed")
    arguments = parser.parse_args()
    for _, value in events(arguments.count, load=arguments.load):
        sys.stdout.buffer.write(value + b"\n")


if __name__ == "__main__":
    main()
