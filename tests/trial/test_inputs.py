"""Whole lines come out of files, packed or not, and a damaged archive is never half a result."""

from __future__ import annotations

import gzip
import io
import os
import threading
from typing import TYPE_CHECKING

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import ConfigurationError, MonitorError
from monitor.trial.inputs import BLOCK_BYTES, LINE_BYTES, _whole_lines, blocks_of, check_files, total_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONTENT = b"".join(b"line %d of a log\n" % number for number in range(60_000))


def zstd(data: bytes) -> bytes:
    return bytes(cramjam.zstd.compress(data))


PACKERS = pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstd"])


def read(path: Path) -> bytes:
    return b"".join(blocks_of(path))


@given(st.lists(st.binary(max_size=12).map(lambda data: data.replace(b"x", b"\n")), max_size=30))
def test_lines_are_never_cut(chunks: list[bytes]):
    blocks = list(_whole_lines(iter(chunks)))
    assert b"".join(blocks) == b"".join(chunks)
    assert all(block.endswith(b"\n") for block in blocks[:-1])


def test_an_endless_line_is_cut_short_and_those_after_it_are_whole():
    long = b"a" * (5 * LINE_BYTES)
    content = b"first\n" + long + b"\nsecond\n" + long
    chunks = (content[at : at + BLOCK_BYTES] for at in range(0, len(content), BLOCK_BYTES))
    blocks = list(_whole_lines(chunks))
    lines = b"".join(blocks).split(b"\n")
    assert [lines[0], lines[2]] == [b"first", b"second"]
    assert LINE_BYTES < len(lines[1]) <= LINE_BYTES + BLOCK_BYTES
    assert LINE_BYTES < len(lines[3]) <= LINE_BYTES + BLOCK_BYTES


@PACKERS
def test_an_archive_is_known_by_its_bytes_not_its_name(tmp_path: Path, pack: Callable[[bytes], bytes]):
    path = tmp_path / "access.log"
    path.write_bytes(pack(CONTENT))
    assert read(path) == CONTENT


def test_a_plain_file_may_be_called_an_archive(tmp_path: Path):
    path = tmp_path / "access.log.gz"
    path.write_bytes(CONTENT)
    assert read(path) == CONTENT


@PACKERS
def test_archives_that_were_put_together_are_read_to_the_end(tmp_path: Path, pack: Callable[[bytes], bytes]):
    path = tmp_path / "both"
    path.write_bytes(pack(CONTENT) + pack(b"more\n"))
    assert read(path) == CONTENT + b"more\n"


@PACKERS
@pytest.mark.parametrize("kept", [0.01, 0.5, 0.999])
def test_an_archive_that_ends_too_early_is_an_error_with_its_name(
    tmp_path: Path, pack: Callable[[bytes], bytes], kept: float
):
    path = tmp_path / "cut.log"
    packed = pack(CONTENT)
    path.write_bytes(packed[: int(len(packed) * kept)])
    with pytest.raises(MonitorError, match=r"cut\.log: the archive is damaged or ends too early"):
        read(path)


@PACKERS
def test_a_damaged_archive_is_an_error(tmp_path: Path, pack: Callable[[bytes], bytes]):
    path = tmp_path / "bad.log"
    packed = bytearray(pack(CONTENT))
    middle = len(packed) // 2
    packed[middle : middle + 40] = bytes(40)
    path.write_bytes(packed)
    with pytest.raises(MonitorError, match="damaged"):
        read(path)


@PACKERS
def test_what_follows_an_archive_and_is_none_is_an_error(tmp_path: Path, pack: Callable[[bytes], bytes]):
    path = tmp_path / "tail.log"
    path.write_bytes(pack(CONTENT) + b"no archive")
    with pytest.raises(MonitorError, match="damaged"):
        read(path)


def test_gzip_may_be_padded_with_zeros(tmp_path: Path):
    path = tmp_path / "tape.gz"
    path.write_bytes(gzip.compress(CONTENT) + bytes(1000))
    assert read(path) == CONTENT


@PACKERS
def test_progress_ends_at_the_size_on_the_disk(tmp_path: Path, pack: Callable[[bytes], bytes]):
    path = tmp_path / "access.log"
    path.write_bytes(pack(CONTENT))
    seen: list[int] = []
    assert b"".join(blocks_of(path, seen.append)) == CONTENT
    assert sum(seen) == path.stat().st_size == total_bytes([path])
    assert min(seen) >= 0


@PACKERS
def test_leaving_early_leaves_no_thread(tmp_path: Path, pack: Callable[[bytes], bytes]):
    path = tmp_path / "access.log"
    path.write_bytes(pack(CONTENT * 20))
    blocks = blocks_of(path)
    assert next(blocks).startswith(b"line 0")
    blocks.close()  # type: ignore[attr-defined]
    assert "unzstd" not in {thread.name for thread in threading.enumerate()}


class _Pipe(io.BufferedReader):
    """A stream that cannot seek, as a pipe."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))

    def seekable(self) -> bool:
        return False


@PACKERS
def test_stdin_may_be_packed(tmp_path: Path, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch):
    class Stdin:
        buffer = _Pipe(pack(CONTENT))

    monkeypatch.setattr("sys.stdin", Stdin)
    assert read(type(tmp_path)("-")) == CONTENT


def test_all_faults_of_the_names_come_at_once(tmp_path: Path):
    there = tmp_path / "there.log"
    there.write_bytes(b"")
    closed = tmp_path / "closed.log"
    closed.write_bytes(b"")
    closed.chmod(0)
    paths = [tmp_path / "gone.log", tmp_path, there, there, *([closed] if os.geteuid() else [])]
    with pytest.raises(ConfigurationError) as caught:
        check_files(paths)
    problems = " ".join(fault.problem for fault in caught.value.faults)
    assert "no such file" in problems
    assert "is a folder" in problems
    assert "is named twice" in problems
    assert len(caught.value.faults) == len(paths) - 1
