"""`monitor ship`: lines of a file or of stdin into a source's topic."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.errors import ConfigurationError, ExitCode, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from monitor.intake.ship import Shipped
    from monitor.settings import Settings, SourceSettings


@click.command()
@click.option("--source", "name", required=True, help="The source of monitor.yaml whose topic to write to.")
@click.option("--follow", is_flag=True, help="Go on as the file grows and is rotated (like tail -F).")
@click.option(
    "--position",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to remember how far it has come. Default: FILE.ship-position",
)
@click.option("-c", "--config", type=click.Path(path_type=Path), help="Default: ./monitor.yaml")
@click.argument("file", default="-", type=click.Path(path_type=Path, dir_okay=False))
def command(name: str, file: Path, position: Path | None, config: Path | None, *, follow: bool) -> None:
    """Ship the lines of FILE (or stdin: -) to Kafka, one record per line, as they are.

    Records are keyed by principal where one can be read. A file is gone on with where the last
    run ended; the position is kept after Kafka has acknowledged. Lines that are no events are
    shipped too: intake rejects them, with a reason. Lines over 1 MB are left out and counted,
    and the exit code is then 1.
    """
    from monitor.settings import load_settings

    settings = load_settings(config)
    source = _find(settings, name)
    is_pipe = str(file) == "-"
    if not is_pipe and not file.is_file():
        raise ConfigurationError("nothing to ship", [Fault(str(file), "no such file")])
    if is_pipe and (follow or position):
        raise click.UsageError("--follow and --position are for files")
    shipped = asyncio.run(_ship(settings, source, None if is_pipe else file, position, follow=follow))
    _summarise(shipped, source)
    if shipped.refused:
        raise click.exceptions.Exit(ExitCode.FAILED)


async def _ship(
    settings: Settings, source: SourceSettings, file: Path | None, position: Path | None, *, follow: bool
) -> Shipped:
    from monitor.intake.inputs import Input
    from monitor.intake.lines import FileLines, PipeLines
    from monitor.intake.ship import MAX_LINE_BYTES, PositionFile, Shipping, connect
    from monitor.stream.kafka import aiokafka_options

    form = Input.of(source, settings.formats).find()
    remembered = None
    reader: FileLines | PipeLines
    if file is None:
        reader = PipeLines(sys.stdin.buffer, MAX_LINE_BYTES)
    else:
        beside = position or file.with_name(file.name + ".ship-position")
        remembered = PositionFile(beside, source.name)
        reader = FileLines(file, remembered.load(), MAX_LINE_BYTES, follow=follow)
    # Its own lines would repeat, less clearly, what is said here.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    kafka = source.kafka or settings.kafka
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    timeout = float(kafka.connect_timeout_seconds)
    producer = await connect(aiokafka_options(kafka), source.topic, timeout, _say)
    try:
        with _progress(file) as on_progress:
            shipping = Shipping(producer, source.topic, form.message_key, on_progress)
            return await shipping.run(reader.read(stop), file, remembered)
    finally:
        await producer.stop()


def _find(settings: Settings, name: str) -> SourceSettings:
    for source in settings.sources:
        if source.name == name:
            return source
    known = ", ".join(source.name for source in settings.sources)
    raise ConfigurationError(
        "nothing to ship to", [Fault(f"--source {name}", "no such source", f"there is: {known}")]
    )


@contextmanager
def _progress(file: Path | None) -> Iterator[Callable[[Shipped], None]]:
    """Show a bar on a terminal while a file is shipped; otherwise nothing."""
    if file is None or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[lines]:,} lines"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(file.name, total=file.stat().st_size, lines=0)
        yield lambda shipped: bar.update(task, completed=shipped.read_to, lines=shipped.lines)


def _say(text: str) -> None:
    click.echo(f"monitor ship: {text}", err=True)


def _summarise(shipped: Shipped, source: SourceSettings) -> None:
    _say(f"{shipped.lines:,} lines ({shipped.bytes:,} bytes) to topic {source.topic}")
    if shipped.refused:
        numbers = ", ".join(str(number) for number in shipped.refused_lines)
        more = ", …" if shipped.refused > len(shipped.refused_lines) else ""
        _say(f"{shipped.refused:,} lines over 1 MB were left out: line {numbers}{more}")
