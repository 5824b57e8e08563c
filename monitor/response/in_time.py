"""Until when a call may leave this process: an enforcer that stood still must not send what it began before.

The time stands in the context of the call, so whoever writes to a gateway need not be told of it, and it is
looked at in the last moment before the write. A task that is made within the block has it too.
"""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_LATEST: Final[ContextVar[float]] = ContextVar("latest", default=math.inf)


class TooLateError(ConnectionAbortedError):
    """The time of a call is over: another enforcer may be active, and nothing was sent."""


@contextmanager
def send_no_later_than(latest: float) -> Iterator[None]:
    """Let what is sent within be sent until `latest`, in seconds of the monotonic clock."""
    token = _LATEST.set(latest)
    try:
        yield
    finally:
        _LATEST.reset(token)


def check_in_time() -> None:
    """Raise TooLateError where the time of this call is over."""
    if time.monotonic() > _LATEST.get():
        raise TooLateError("the time of the call was over")
