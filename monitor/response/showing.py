"""When what can be seen of the book is made anew: at once, and in a storm not after every change."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from monitor.stream.fatal import guarded_task

if TYPE_CHECKING:
    from collections.abc import Callable

#: What takes no longer than this is made anew after every change, in seconds.
_CHEAP_SECONDS: Final = 0.005
#: How much longer than it took the pause after it is: it has a tenth of the time at most.
_PAUSE: Final = 9


class Showing:
    """Calls `show` after changes. It looks at all credentials, and ten thousand may change in a minute.

    An error of a call that was put off goes to `on_fatal`, any other to the caller of `changed`.
    """

    def __init__(self, show: Callable[[], None], on_fatal: Callable[[BaseException], None]) -> None:
        self._show = show
        self._on_fatal = on_fatal
        self._not_before = 0.0
        self._later: asyncio.Task[None] | None = None

    def changed(self) -> None:
        """Show now, or soon where the last time was a moment ago and took long."""
        if self._later is not None:
            return
        if asyncio.get_running_loop().time() >= self._not_before:
            self._now()
        else:
            self._later = guarded_task(self._soon, self._on_fatal)

    def stop(self) -> None:
        """Show nothing any more."""
        if self._later is not None:
            self._later.cancel()

    async def _soon(self) -> None:
        await asyncio.sleep(self._not_before - asyncio.get_running_loop().time())
        self._later = None
        self._now()

    def _now(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._show()
        took = loop.time() - began
        self._not_before = loop.time() + (took * _PAUSE if took > _CHEAP_SECONDS else 0.0)
