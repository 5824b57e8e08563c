"""Lines of a file or a pipe as they come, with the position after each.

A file can be followed like `tail -F`: where it is rotated or cut short, reading goes on in the
new one. Nothing here looks into a line.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from monitor.errors import ConfigurationError, Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from typing import BinaryIO

_READ_BYTES: Final = 256 * 1024
#: A followed file is looked at this often.
_POLL_SECONDS: Final = 0.02
_HEAD_BYTES: Final = 1024
_PIPE_CHUNKS: Final = 16


class Position(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where to go on in a file: everything before `offset` is acknowledged.

    `inode` and the hash of the file's first `head_bytes` tell it from a new file of that name;
    an inode alone may be given out again.
    """

    source: str
    inode: int
    offset: int
    lines: int
    head_bytes: int
    head: str
    version: int = 1


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its line break.

    `number` counts from 1 in its file. `end` is the offset after it, and `inode` the file it is
    of; both are 0 for a pipe.
    """

    text: bytes
    number: int
    end: int = 0
    inode: int = 0


class LineSplitter:
    """Cuts chunks into lines; time is linear in the bytes, also for one endless line.

    Of a line longer than `limit` only the first `limit` + 1 bytes are kept, which is enough to
    see that it is too long.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._kept = 0
        self._length = 0

    def feed(self, chunk: bytes) -> list[tuple[bytes, int]]:
        """Return the lines that a chunk completes, each with its bytes in the input."""
        *complete, rest = chunk.split(b"\n")
        lines = []
        for part in complete:
            self._keep(part)
            lines.append((b"".join(self._parts), self._length + 1))
            self._clear()
        if rest:
            self._keep(rest)
        return lines

    def end(self) -> list[tuple[bytes, int]]:
        """Return the line that was not closed by a line break, if there is one."""
        lines = [(b"".join(self._parts), self._length)] if self._length else []
        self._clear()
        return lines

    def _keep(self, part: bytes) -> None:
        room = self._limit + 1 - self._kept
        if room > 0:
            kept = part[:room]
            self._parts.append(kept)
            self._kept += len(kept)
        self._length += len(part)

    def _clear(self) -> None:
        self._parts, self._kept, self._length = [], 0, 0


class FileLines:
    """The lines of a file from a position on."""

    def __init__(self, path: Path, start: Position | None, limit: int, *, follow: bool) -> None:
        self.path = path
        self._limit = limit
        self._follow = follow
        self._start = start

    async def read(self, stop: asyncio.Event) -> AsyncIterator[list[Line]]:
        """Yield lines until the end of the file, or until `stop` where it is followed.

        Raises ConfigurationError where the file cannot be opened.
        """
        file = _open(self.path)
        offset, number = resume_at(file, self._start)
        while True:
            splitter = LineSplitter(self._limit)
            inode = os.fstat(file.fileno()).st_ino
            file.seek(offset)
            with file:
                replaced = False
                while not stop.is_set():
                    chunk = file.read(_READ_BYTES)
                    closed = not chunk and (replaced or not self._follow)
                    lines = []
                    for text, length in splitter.end() if closed else splitter.feed(chunk):
                        offset += length
                        number += 1
                        lines.append(Line(text, number, offset, inode))
                    if lines:
                        yield lines
                    if closed:
                        break
                    if not chunk:
                        # Once more to its end after it was replaced: a writer may be late.
                        replaced = _replaced(self.path, file, inode)
                        if not replaced:
                            await _pause(stop)
            if stop.is_set() or not self._follow:
                return
            file, offset, number = _open(self.path), 0, 0


class PipeLines:
    """The lines of a stream that is not a file, such as stdin fed by a gateway."""

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self._stream = stream
        self._limit = limit

    async def read(self, stop: asyncio.Event) -> AsyncIterator[list[Line]]:
        """Yield lines as soon as they are there, until the stream ends or `stop`."""
        chunks: asyncio.Queue[bytes] = asyncio.Queue()
        room = threading.Semaphore(_PIPE_CHUNKS)
        # A daemon of its own: a read of a silent pipe cannot be cancelled.
        arguments = (asyncio.get_running_loop(), chunks, room)
        threading.Thread(target=self._pump, args=arguments, name="ship-stdin", daemon=True).start()
        splitter = LineSplitter(self._limit)
        stopping = asyncio.ensure_future(stop.wait())
        number = 0
        try:
            while True:
                getting = asyncio.ensure_future(chunks.get())
                await asyncio.wait((getting, stopping), return_when=asyncio.FIRST_COMPLETED)
                if not getting.done():
                    getting.cancel()
                    return
                chunk = getting.result()
                room.release()
                lines = []
                for text, _ in splitter.feed(chunk) if chunk else splitter.end():
                    number += 1
                    lines.append(Line(text, number))
                if lines:
                    yield lines
                if not chunk:
                    return
        finally:
            stopping.cancel()

    def _pump(
        self, loop: asyncio.AbstractEventLoop, chunks: asyncio.Queue[bytes], room: threading.Semaphore
    ) -> None:
        chunk = b"-"
        while chunk:
            room.acquire()
            try:
                chunk = os.read(self._stream.fileno(), _READ_BYTES)
            except (OSError, ValueError):
                chunk = b""
            try:
                loop.call_soon_threadsafe(chunks.put_nowait, chunk)
            except RuntimeError:  # the loop has ended before the pipe
                return


def resume_at(file: BinaryIO, position: Position | None) -> tuple[int, int]:
    """Return (offset, lines before it) to go on at; (0, 0) where the file is another one."""
    if position is None:
        return 0, 0
    about = os.fstat(file.fileno())
    same = about.st_ino == position.inode and about.st_size >= position.offset
    if same and head_of(file, position.head_bytes) == position.head:
        return position.offset, position.lines
    return 0, 0


def head_of(file: BinaryIO, length: int) -> str:
    """Return the hash of a file's first bytes."""
    return hashlib.sha256(os.pread(file.fileno(), length, 0)).hexdigest()


def position_after(path: Path, source: str, line: Line) -> Position | None:
    """Return the position after a line, or None where the file is no longer the line's."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_ino != line.inode:
                return None
            length = min(line.end, _HEAD_BYTES)
            return Position(source, line.inode, line.end, line.number, length, head_of(file, length))
    except OSError:
        return None


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        fault = Fault(str(path), f"cannot be read: {error.strerror}")
        raise ConfigurationError("nothing to ship", [fault]) from None


def _replaced(path: Path, file: BinaryIO, inode: int) -> bool:
    """Return whether the path now names another file, or this one was cut short."""
    try:
        about = path.stat()
    except OSError:
        return False  # being rotated: the new one is not there yet
    return about.st_ino != inode or about.st_size < file.tell()


async def _pause(stop: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_POLL_SECONDS):
            await stop.wait()
    except TimeoutError:
        return
