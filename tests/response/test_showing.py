"""What is seen of the book: at once while that is cheap, never late for good, and not all the time in a storm."""

from __future__ import annotations

import asyncio
import time

from monitor.response.showing import Showing
from tests.response.stage import until

#: Longer than what counts as cheap.
COSTLY_SECONDS = 0.01


class Screen:
    """Counts how often it is made anew, and what was so when it last was."""

    def __init__(self, cost: float = 0.0) -> None:
        self.cost, self.times, self.state, self.shown = cost, 0, 0, 0

    def show(self) -> None:
        self.times, self.shown = self.times + 1, self.state
        began = time.monotonic()
        while time.monotonic() - began < self.cost:
            pass


async def test_what_is_cheap_is_shown_after_every_change():
    screen = Screen()
    showing = Showing(screen.show, _fail)
    for _ in range(100):
        screen.state += 1
        showing.changed()
        assert screen.shown == screen.state


async def test_what_is_costly_is_shown_at_once_then_seldom_and_at_the_end_as_it_is():
    screen = Screen(COSTLY_SECONDS)
    showing = Showing(screen.show, _fail)
    for _ in range(100):
        screen.state += 1
        showing.changed()
        await asyncio.sleep(0)
    assert screen.shown >= 1
    assert screen.times < 10
    await until(lambda: screen.shown == screen.state)


async def test_nothing_is_shown_after_the_end():
    screen = Screen(COSTLY_SECONDS)
    showing = Showing(screen.show, _fail)
    showing.changed()
    showing.changed()
    [later] = asyncio.all_tasks() - {asyncio.current_task()}
    showing.stop()
    await asyncio.wait([later])
    assert later.cancelled()
    assert screen.times == 1


async def test_an_error_of_what_was_put_off_ends_the_process():
    screen, fatal = Screen(COSTLY_SECONDS), list[BaseException]()

    def show() -> None:
        if screen.times:
            raise ValueError
        screen.show()

    showing = Showing(show, fatal.append)
    showing.changed()
    showing.changed()
    await until(lambda: fatal)
    assert isinstance(fatal[0], ValueError)


def _fail(error: BaseException) -> None:
    raise AssertionError from error
