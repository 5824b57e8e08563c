"""What the demo shows while it runs."""

from __future__ import annotations

import io

from rich.console import Console

from monitor.demo.processes import until
from monitor.demo.scene import Scene
from monitor.demo.traffic import Answer, Tally


def tally(client: str, read: int) -> Tally:
    made = Tally(client)
    for number in range(read):
        made.add(Answer(0.0, 0.0, 200, number, f"p-{number}"))
    return made


async def test_lines_with_their_time_where_there_is_no_terminal():
    out = io.StringIO()
    scene = Scene(Console(file=out, width=40))
    scene.open()
    scene.say("a sentence that is longer than forty columns, and is not broken into two")
    scene.close()
    (line,) = out.getvalue().splitlines()
    assert line.endswith("  a sentence that is longer than forty columns, and is not broken into two")
    assert line[:12].replace(":", "").replace(".", "").isdecimal()


async def test_a_table_and_the_timeline_on_a_terminal():
    out = io.StringIO()
    scene = Scene(Console(file=out, width=110, force_terminal=True, color_system=None))
    scene.open()
    scene.show(tally("agenda-sync", 3), limit=50)
    scene.show(tally("thief", 51), limit=50)
    scene.becomes("thief", "refused")
    scene.becomes("thief", "suspended")  # this news was slower
    scene.say("gateway: thief is refused")
    assert await until(lambda: "is refused" in out.getvalue(), within_seconds=10)
    scene.close()
    last = out.getvalue().rpartition("credential  ")[2]
    thief = next(line for line in last.splitlines() if line.startswith("thief"))
    assert thief.split() == ["thief", "51", "51", "51", "50", "refused"]
    assert "works" in last
    assert "gateway: thief is refused" in last


async def test_closing_twice_is_closing():
    scene = Scene(Console(file=io.StringIO()))
    scene.open()
    scene.close()
    scene.close()
    scene.say("said afterwards")
