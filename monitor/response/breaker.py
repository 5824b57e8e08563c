"""When to stop calling a gateway for every credential, and how long to wait between two calls."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

FIRST_RETRY_SECONDS: Final = 0.2
#: Doublings after which every ceiling is reached; `2.0**n` overflows at 1,024.
_MOST_DOUBLINGS: Final = 30
#: Failures in a row, about so many different credentials, after which the gateway itself is taken for dead.
_FAILURES: Final = 5
_CREDENTIALS: Final = 3


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long pauses become, and after how long a status is given up. In seconds."""

    ceiling: float
    give_up: float


class Breaker:
    """Open where a gateway does not take calls about *several* credentials.

    One credential that fails again and again says nothing about the gateway: it must not delay others.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._about: set[str] = set()

    @property
    def is_open(self) -> bool:
        """Whether only single calls should be tried."""
        return self._failures >= _FAILURES and len(self._about) >= _CREDENTIALS

    @property
    def failures(self) -> int:
        """Failures since the last success."""
        return self._failures

    def failed(self, subject: str) -> None:
        """Note a call that was not taken."""
        self._failures += 1
        if len(self._about) < _CREDENTIALS:
            self._about.add(subject)

    def succeeded(self) -> None:
        """Note a call that was taken: the gateway lives."""
        self._failures = 0
        self._about.clear()


def pause_seconds(retry: int, ceiling: float) -> float:
    """Return the seconds to wait before a retry: doubling from 0.2 s to the ceiling, with jitter."""
    pause = min(FIRST_RETRY_SECONDS * 2.0 ** min(retry, _MOST_DOUBLINGS), ceiling)
    return pause * random.uniform(0.75, 1.25)
