"""Files of lines, packed or not, as blocks of whole lines. Nothing is ever held as a whole."""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
import threading
import zlib
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Final

import cramjam

from monitor.errors import ConfigurationError, Fault, MonitorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

#: Bytes read at a time: the lines of one read are a block.
BLOCK_BYTES: Final = 256 * 1024
#: Of a longer line no more is kept: enough for a format to see that it is too long.
LINE_BYTES: Final = 1024 * 1024
STDIN: Final = "-"

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
#: A frame that only carries notes may come first (RFC 8878, 3.1.2); its first byte varies.
_ZSTD_NOTE: Final = b"\x2a\x4d\x18"
_GZIP_OR_ZLIB_WINDOW: Final = 16 + zlib.MAX_WBITS
#: How much smaller access logs become, where an archive does not say it: for the progress bar alone.
_USUAL_RATIO: Final = 10


def check_files(paths: Sequence[Path]) -> None:
    """Raise ConfigurationError with all files that are not there, cannot be read, or are named twice."""
    faults = []
    for number, path in enumerate(paths):
        if path in paths[:number]:
            faults.append(Fault(str(path), "is named twice", "each event would count twice"))
        elif str(path) == STDIN:
            continue
        elif not path.exists():
            faults.append(Fault(str(path), "no such file"))
        elif path.is_dir():
            faults.append(Fault(str(path), "is a folder", f"name its files: {path}/*"))
        elif not os.access(path, os.R_OK):
            faults.append(Fault(str(path), "cannot be read", "check its owner and mode"))
    if faults:
        raise ConfigurationError("nothing to read", faults)


def total_bytes(paths: Sequence[Path]) -> int | None:
    """Return the bytes of all files as they lie on the disk, or None where one is a pipe."""
    if any(str(path) == STDIN or not path.is_file() for path in paths):
        return None
    return sum(path.stat().st_size for path in paths)


def blocks_of(path: Path, on_read: Callable[[int], None] = lambda _: None) -> Iterator[bytes]:
    """Yield the content of a file (``-`` is stdin) as blocks of whole lines.

    gzip and zstd are known by their first bytes, not by name. Only the last block may lack its
    line break. `on_read` is told of bytes of the file as they are used. Raises MonitorError where
    an archive is damaged or ends too early: counts over a part of it would be wrong.
    """
    if str(path) == STDIN:
        yield from _whole_lines(_content(path, sys.stdin.buffer, on_read))
        return
    try:
        file = path.open("rb")
    except OSError as error:
        fault = Fault(str(path), f"cannot be read: {error.strerror}")
        raise ConfigurationError("nothing to read", [fault]) from None
    with file:
        yield from _whole_lines(_content(path, file, on_read))


def _content(path: Path, file: IO[bytes], on_read: Callable[[int], None]) -> Iterator[bytes]:
    head = file.read(len(_ZSTD))
    try:
        if head.startswith(_GZIP):
            yield from _gunzip(_chunks(head, file, on_read))
        elif head == _ZSTD or head[1:] == _ZSTD_NOTE:
            yield from _unzstd(head, file, on_read)
        else:
            yield from _chunks(head, file, on_read)
    except (zlib.error, EOFError, cramjam.DecompressionError):
        name = "stdin" if str(path) == STDIN else path
        msg = (
            f"{name}: the archive is damaged or ends too early; counts over a part of it would be wrong,"
            " so there is no result"
        )
        raise MonitorError(msg) from None
    except OSError as error:
        msg = f"{path}: cannot be read further: {error.strerror or type(error).__name__}"
        raise MonitorError(msg) from None


def _chunks(head: bytes, file: IO[bytes], on_read: Callable[[int], None]) -> Iterator[bytes]:
    chunk = head
    while chunk:
        on_read(len(chunk))
        yield chunk
        chunk = file.read(BLOCK_BYTES)


def _gunzip(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what gzip packed, also in several members (``cat a.gz b.gz``), padded with zeros or not."""
    unzip = None
    for chunk in chunks:
        rest = chunk
        while rest:
            if unzip is None:
                rest = rest.lstrip(b"\0")
                if not rest:
                    break
                unzip = zlib.decompressobj(_GZIP_OR_ZLIB_WINDOW)
            data = unzip.decompress(rest, BLOCK_BYTES)
            if data:
                yield data
            if unzip.eof:
                rest, unzip = unzip.unused_data, None
            else:
                rest = unzip.unconsumed_tail
    if unzip is not None:
        # What is left inside comes out before the end is found to be missing.
        while data := unzip.decompress(b"", BLOCK_BYTES):
            yield data
        if not unzip.eof:
            raise EOFError


def _unzstd(head: bytes, file: IO[bytes], on_read: Callable[[int], None]) -> Iterator[bytes]:
    """Yield what zstd packed.

    cramjam unpacks from memory to a file without a lock: the memory is the mapped archive, the file
    a pipe that we read. An archive from a pipe is put by, packed, in a file without a name first.
    """
    with tempfile.TemporaryFile() as stored:
        if not file.seekable():
            stored.write(head)
            while chunk := file.read(BLOCK_BYTES):
                stored.write(chunk)
            stored.flush()
            file = stored
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as packed:
            size = len(packed)
            ratio = max(1.0, (_content_size(packed) or size * _USUAL_RATIO) / size)
            reported = unpacked = 0
            for chunk in _through_a_pipe(packed):
                unpacked += len(chunk)
                used = min(size, int(unpacked / ratio)) - reported
                reported += used
                on_read(used)
                yield chunk
            on_read(size - reported)


def _through_a_pipe(packed: mmap.mmap) -> Iterator[bytes]:
    reading, writing = os.pipe()
    failed: list[Exception] = []

    def unpack() -> None:
        # The pipe ends when both its writers are gone: ours, and the one that cramjam opens.
        target = None
        try:
            target = cramjam.File(f"/dev/fd/{writing}", read=False, write=True)
            cramjam.zstd.decompress_into(packed, target)
        except Exception as error:  # noqa: BLE001 - it is raised where the pipe is read
            # Its traceback would keep cramjam's writer open.
            failed.append(error.with_traceback(None))
        finally:
            del target
            os.close(writing)

    thread = threading.Thread(target=unpack, name="unzstd", daemon=True)
    thread.start()
    try:
        while chunk := os.read(reading, BLOCK_BYTES):
            yield chunk
    finally:
        # Where nobody wants the rest, the thread's next write fails.
        with suppress(OSError):
            os.close(reading)
        thread.join()
    if failed:
        raise failed[0]


def _content_size(packed: mmap.mmap) -> int | None:
    """Return what a zstd frame says about its unpacked size, if it does (RFC 8878, 3.1.1.1)."""
    flags = packed[4] if len(packed) > 4 and packed[:4] == _ZSTD else 0  # noqa: PLR2004 - after the magic
    single, code = flags >> 5 & 1, flags >> 6
    width = (single, 2, 4, 8)[code]
    if not width:
        return None
    at = 5 + (1 - single) + (0, 1, 2, 4)[flags & 3]
    return int.from_bytes(packed[at : at + width], "little") + (256 if code == 1 else 0)


def _whole_lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Cut chunks where lines end; of a line that is too long, keep only enough to see that."""
    parts: list[bytes] = []
    kept = 0
    for chunk in chunks:
        end = chunk.rfind(b"\n") + 1
        if end:
            first = chunk.find(b"\n")
            room = LINE_BYTES + 1 - kept
            if first > room:
                # The end of a line that has been too long for some chunks.
                parts.append(chunk[:room])
                parts.append(chunk[first:end])
            else:
                parts.append(chunk[:end])
            yield b"".join(parts)
            parts, kept = [], 0
        rest = chunk[end : end + LINE_BYTES + 1 - kept]
        if rest:
            parts.append(rest)
            kept += len(rest)
    if parts:
        yield b"".join(parts)
