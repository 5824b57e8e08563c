"""Lines of files and pipes, wherever chunks end and files are rotated."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import ConfigurationError
from monitor.intake.lines import FileLines, Line, LineSplitter, PipeLines, Position, position_after

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LIMIT = 100


@given(st.lists(st.binary(max_size=5)), st.integers(1, 4))
def test_lines_do_not_depend_on_chunks(chunks: list[bytes], limit: int) -> None:
    whole = b"".join(chunks).replace(b"a", b"\n")
    splitter = LineSplitter(limit)
    got: list[tuple[bytes, int]] = []
    for chunk in chunks:
        got += splitter.feed(chunk.replace(b"a", b"\n"))
    got += splitter.end()
    expected = whole.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert [text for text, _ in got] == [text[: limit + 1] for text in expected]
    assert sum(length for _, length in got) == len(whole)


async def test_a_file_is_read_to_its_end_and_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\n\ntwo\nlast")
    lines = await _all(FileLines(path, None, LIMIT, follow=False))
    assert [(line.text, line.number, line.end) for line in lines] == [
        (b"one", 1, 4),
        (b"", 2, 5),
        (b"two", 3, 9),
        (b"last", 4, 13),
    ]
    position = position_after(path, "s", lines[1])
    assert position is not None
    assert [line.text for line in await _all(FileLines(path, position, LIMIT, follow=False))] == [
        b"two",
        b"last",
    ]


@pytest.mark.parametrize("change", ["head", "inode", "shorter"])
async def test_another_file_of_that_name_is_read_from_its_start(tmp_path: Path, change: str) -> None:
    """An inode may be given out again, so the file's head is compared too."""
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\n")
    position = position_after(path, "s", (await _all(FileLines(path, None, LIMIT, follow=False)))[0])
    assert position is not None
    if change == "head":
        path.write_bytes(b"ONE\ntwo\n")
    elif change == "shorter":
        path.write_bytes(b"on\n")
    else:
        position = Position("s", position.inode + 1, position.offset, 1, position.head_bytes, position.head)
    lines = await _all(FileLines(path, position, LIMIT, follow=False))
    assert lines[0].number == 1
    assert lines[0].end == len(lines[0].text) + 1


async def test_a_followed_file_is_followed_through_rotation_and_truncation(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntw")
    stop = asyncio.Event()
    got: list[bytes] = []
    task = asyncio.ensure_future(_collect(FileLines(path, None, LIMIT, follow=True), stop, got))
    await _until(lambda: got == [b"one"])
    with path.open("ab") as file:
        file.write(b"o\n")
    await _until(lambda: got == [b"one", b"two"])
    path.rename(tmp_path / "log.1")
    with (tmp_path / "log.1").open("ab") as file:
        file.write(b"late")
    path.write_bytes(b"three\n")
    await _until(lambda: got == [b"one", b"two", b"late", b"three"])
    path.write_bytes(b"4\n")
    await _until(lambda: got[4:] == [b"4"])
    stop.set()
    await task


async def test_a_pipe_gives_each_line_at_once(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    stop = asyncio.Event()
    got: list[bytes] = []
    with os.fdopen(reader, "rb") as stream:
        task = asyncio.ensure_future(_collect(PipeLines(stream, LIMIT), stop, got))
        delays = []
        for number in range(20):
            began = time.perf_counter()
            os.write(writer, b"%d\nx" % number)
            await _until(lambda number=number: len(got) == number + 1, step=0)
            delays.append(time.perf_counter() - began)
        os.close(writer)
        await task
    assert got == [b"0", *(b"x%d" % number for number in range(1, 20)), b"x"]
    assert sorted(delays)[10] < 0.005


async def test_a_silent_pipe_can_be_left(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    stop = asyncio.Event()
    with os.fdopen(reader, "rb") as stream:
        task = asyncio.ensure_future(_collect(PipeLines(stream, LIMIT), stop, []))
        await asyncio.sleep(0)
        stop.set()
        await asyncio.wait_for(task, 5)
        os.close(writer)


async def test_a_file_that_cannot_be_read_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        await _all(FileLines(tmp_path / "gone", None, LIMIT, follow=False))


async def _all(lines: FileLines) -> list[Line]:
    return [line async for batch in lines.read(asyncio.Event()) for line in batch]


async def _collect(lines: FileLines | PipeLines, stop: asyncio.Event, into: list[bytes]) -> None:
    batches: AsyncIterator[list[Line]] = lines.read(stop)
    async for batch in batches:
        into += [line.text for line in batch]


async def _until(condition: object, step: float = 0.002) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        await asyncio.sleep(step)
