"""Break-glass by a local file: `monitor authz` lets everybody through, also without Kafka.

The file names its end. One that cannot be read with certainty lets nobody through.
"""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from monitor.errors import ConfigurationError, Fault
from monitor.wire.safety import LONGEST_ALLOW_ALL_MS, Glass

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger(__name__)

_MOST_BYTES: Final = 16_384
_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


class LocalGlass:
    """What the file says; `look` reads it again where it has changed."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: tuple[int, ...] | None = None
        self._glass: Glass | None = None

    def look(self) -> Glass | None:
        """Return the glass that the file breaks, if it is there, readable, ours alone and not over."""
        if self._path is None:
            return None
        try:
            about = self._path.stat()
            seen = about.st_ino, about.st_mtime_ns, about.st_size, about.st_mode
            if seen != self._seen:
                self._seen, self._glass = seen, None
                self._glass = self._read(about)
        except FileNotFoundError:
            self._seen = self._glass = None
        except (OSError, ValueError) as error:
            # msgspec's errors are ValueErrors; none of them quotes what the file holds.
            why = str(error) if type(error) is ValueError else type(error).__name__
            log.error("the break-glass file lets nobody through", reason=why)  # noqa: TRY400 - it says it all
        return self._glass

    def _read(self, about: os.stat_result) -> Glass:
        if self._path is None:
            raise ValueError("there is no file")
        if stat.S_IMODE(about.st_mode) & _OTHERS or about.st_uid not in {0, os.geteuid()}:
            raise ValueError(
                "others could have written it: it must be of the service's user or root, mode 600"
            )
        if about.st_size > _MOST_BYTES:
            raise ValueError("it is too long")
        glass = msgspec.json.decode(self._path.read_bytes(), type=Glass)
        if glass.until_ms > int(about.st_mtime * 1000) + LONGEST_ALLOW_ALL_MS:
            raise ValueError("it ends more than 4 hours after it was written")
        log.critical("everybody is let through, by a local file", by=glass.by, reason=glass.reason)
        return glass


def break_locally(path: Path | None, span_ms: int, by: str, reason: str) -> Glass:
    """Write the file; raises ConfigurationError where it cannot be written, or for too long a time."""
    title = "the break-glass file was not written"
    if path is None:
        fault = Fault("authz.allow_all_file", "is not set", "name a file, and start `monitor authz` again")
        raise ConfigurationError(title, [fault])
    if span_ms > LONGEST_ALLOW_ALL_MS:
        raise ConfigurationError(title, [Fault("--for", "is longer than 4 hours")])
    now_ms = int(time.time() * 1000)
    glass = Glass(since_ms=now_ms, until_ms=now_ms + span_ms, by=by, reason=reason)
    made = path.with_name(f".{path.name}.new")
    try:
        handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(glass) + b"\n")
        made.replace(path)
    except OSError as error:
        fault = Fault("authz.allow_all_file", f"cannot be written: {error.strerror}")
        raise ConfigurationError(title, [fault]) from None
    return glass


def mend_locally(path: Path | None) -> bool:
    """Remove the file; return whether there was one."""
    if path is None or not path.exists():
        return False
    path.unlink()
    return True
