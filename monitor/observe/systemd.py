"""What systemd is told of a unit of `Type=notify`: ready, alive, stopping. Elsewhere nothing happens."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_MICROSECONDS: Final = 1_000_000


def tell(*lines: str) -> None:
    """Send lines such as ``READY=1`` to whoever started this process as a unit, if anyone did."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    # A supervisor that is gone is no reason to stop.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
        out.sendto("\n".join(lines).encode(), address)


def watchdog_seconds() -> float | None:
    """Return how often systemd wants a sign of life from this process, or None where it does not."""
    owner = os.environ.get("WATCHDOG_PID", "")
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or (owner and owner != str(os.getpid())):
        return None
    return int(microseconds) / _MICROSECONDS or None


async def feed_watchdog(alive: Callable[[], tuple[bool, str]]) -> None:
    """Give a sign of life, three times in each interval, for as long as `alive` holds.

    It comes from the loop that does the work, so one that is blocked gives none either.
    """
    seconds = watchdog_seconds()
    if seconds is None:
        return
    while True:
        holds, reason = alive()
        tell(*(["WATCHDOG=1"] if holds else []), f"STATUS={reason}")
        await asyncio.sleep(seconds / 3)
