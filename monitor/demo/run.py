"""The demo as a command: its folder, its signals, its exit code."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson
from rich.console import Console

from monitor.demo.scenario import play
from monitor.demo.scene import Scene
from monitor.demo.tell import print_hints, print_report
from monitor.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitor.demo.report import Report
    from monitor.demo.scenario import DemoOptions
    from monitor.demo.stack import Stack

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_SIGNALLED: Final = 128


def run_demo(options: DemoOptions, *, as_json: bool) -> int:
    """Run the demo and return the exit code: 0 where every link held, or 128 + the signal.

    With `as_json` the report is one JSON object on stdout and everything else goes to stderr.
    Raises a MonitorError where a part did not come up or ended; its folder then stays.
    """
    console = Console(stderr=as_json, highlight=False)
    folder = Path(tempfile.mkdtemp(prefix="monitor-demo-"))
    reports: list[Report] = []

    def on_report(report: Report, stack: Stack) -> None:
        reports.append(report)
        print_report(console, report)
        if as_json:
            sys.stdout.buffer.write(orjson.dumps(report.as_json(), option=orjson.OPT_APPEND_NEWLINE))
            sys.stdout.buffer.flush()
        if options.keep:
            print_hints(console, stack)

    kept = True
    try:
        stopped_by = asyncio.run(_play(folder, options, Scene(console), on_report))
        held = bool(reports) and reports[0].held
        kept = options.keep or (bool(reports) and not held)
    finally:
        if kept:
            console.print(f"Settings and logs stay in {folder}", soft_wrap=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if reports:
        return ExitCode.OK if held else ExitCode.FAILED
    return _SIGNALLED + stopped_by


async def _play(
    folder: Path, options: DemoOptions, scene: Scene, on_report: Callable[[Report, Stack], None]
) -> int:
    """Play until the end or the first signal; return the signal's number, or 0."""
    task = asyncio.current_task()
    stopped_by: list[int] = []

    def stop(number: int) -> None:
        # Once: what follows is taking everything down, and that must not be cut short.
        if not stopped_by and task is not None:
            stopped_by.append(number)
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop, number)
    try:
        await play(folder, options, scene, on_report)
    except asyncio.CancelledError:
        if not stopped_by:
            raise
    return stopped_by[0] if stopped_by else 0
