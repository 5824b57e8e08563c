"""What the demo shows: rows of credentials and a timeline, live on a terminal, else line by line."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from monitor.demo.traffic import Tally

_REFRESH_SECONDS: Final = 0.1
_PROGRESS_SECONDS: Final = 2.0
_SHOWN: Final = 14
#: The states of a row in the order in which they may come.
_STYLES: Final = {
    "": "",
    "works": "green",
    "enumerates": "yellow",
    "found": "bold yellow",
    "suspended": "bold magenta",
    "refused": "bold red",
    "has them all": "bold red",
}


class Scene:
    """The live view of one run; it can be told things before it is opened and after it is closed."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._rows: list[Tally] = []
        self._states: dict[str, str] = {}
        self._limits: dict[str, int] = {}
        self._timeline: list[tuple[str, str]] = []
        self._live: Live | None = None
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to show; needs a running event loop."""
        if self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=False, vertical_overflow="crop")
            self._live.start()
            self._task = asyncio.create_task(self._refresh(self._live))
        else:
            self._task = asyncio.create_task(self._tell_progress())

    def close(self) -> None:
        """Leave the last picture and stop; does nothing where it is closed."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)
            self._live.stop()
            self._live = None

    def say(self, text: str) -> None:
        """Add a sentence to the timeline."""
        at = datetime.now().astimezone().strftime("%H:%M:%S.%f")[:-3]
        self._timeline.append((at, text))
        if self._live is None:
            self._print(f"{at}  {text}")

    def show(self, tally: Tally, *, limit: int | None = None) -> None:
        """Give a credential a row; `limit` is how many patients it may read."""
        self._rows.append(tally)
        if limit is not None:
            self._limits[tally.client] = limit

    def becomes(self, client: str, state: str) -> None:
        """Move a row to a state; news from different places may cross, so it never goes back."""
        order = list(_STYLES)
        if order.index(state) >= order.index(self._states.get(client, "")):
            self._states[client] = state

    async def _refresh(self, live: Live) -> None:
        while True:
            live.update(self._picture(), refresh=True)
            await asyncio.sleep(_REFRESH_SECONDS)

    async def _tell_progress(self) -> None:
        shown = ""
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            busy = [tally for tally in self._rows if tally.answers]
            text = ", ".join(f"{tally.client} {len(tally.answers):,}" for tally in busy)
            if text and text != shown:
                self.say(f"requests so far: {text}")
            shown = text

    def _print(self, text: str) -> None:
        # Not rich's: it would wrap at 80 columns where there is no terminal.
        self.console.file.write(f"{text}\n")
        self.console.file.flush()

    def _picture(self) -> RenderableType:
        lines = Text("\n").join(
            Text.assemble((f"{at}  ", "dim"), text) for at, text in self._timeline[-_SHOWN:]
        )
        return Group(self._table(), lines) if self._rows else lines

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("credential", min_width=16)
        for heading in ("requests", "appointments", "patients", "limit", "refused"):
            table.add_column(heading, justify="right")
        table.add_column("state")
        for tally in self._rows:
            state = self._states.get(tally.client, "works" if tally.answers else "")
            limit = self._limits.get(tally.client)
            table.add_row(
                tally.client,
                f"{len(tally.answers):,}",
                f"{len(tally.objects):,}",
                f"{len(tally.patients):,}",
                f"{limit:,}" if limit else "",
                f"{tally.refused:,}" if tally.refused else "",
                Text(state, style=_STYLES[state]),
            )
        return table
