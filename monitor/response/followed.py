"""The credential directory as the enforcer follows it: its file may change while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from monitor.errors import ConfigurationError
from monitor.rulebook.directory import Directory, read_directory

if TYPE_CHECKING:
    from pathlib import Path

    from monitor.observe.metrics import Metrics

log = structlog.get_logger(__name__)


class FollowedDirectory:
    """Reads the directory again where its file has changed; one that cannot be read keeps the one before."""

    def __init__(self, path: Path | None, metrics: Metrics) -> None:
        self._path = path
        self._metrics = metrics
        self._seen: tuple[int, int] | None = None

    def read(self) -> Directory:
        """Return the directory; raises ConfigurationError with all faults where it cannot be used."""
        self._seen = self._state()
        directory = read_directory(self._path)
        self._metrics.directory_readable.set(1)
        return directory

    def read_if_changed(self, before: Directory) -> Directory:
        """Return the directory of the file as it is now, or the one before where that cannot be used."""
        if self._path is None or self._state() == self._seen:
            return before
        try:
            directory = self.read()
        except ConfigurationError as error:
            self._metrics.directory_readable.set(0)
            log.error(  # noqa: TRY400 - what is wrong stands in the faults
                "the credential directory cannot be used; the one before stays",
                faults=[str(fault.where) for fault in error.faults[:5]],
            )
            return before
        log.info("credential directory read", credentials=len(directory.entries))
        return directory

    def _state(self) -> tuple[int, int] | None:
        if self._path is None:
            return None
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size
