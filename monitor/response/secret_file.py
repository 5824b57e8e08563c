"""A secret in a file: read again when it was replaced, refused where others could read it."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = structlog.get_logger(__name__)

_OTHERS: Final = stat.S_IRWXO | stat.S_IWGRP
_MOST_BYTES: Final = 64 * 1024

T = TypeVar("T")


class SecretError(Exception):
    """A secret that cannot be used; the text says why, and nothing of the secret."""


class SecretFile(Generic[T]):
    """What `parse` makes of a file's text, always of its newest content.

    `parse` raises ValueError, whose text must hold nothing of the secret.
    """

    def __init__(self, path: Path, parse: Callable[[str], T]) -> None:
        self._path = path
        self._parse = parse
        self._seen: tuple[int, ...] | None = None
        self._value: T | None = None
        self._bad: tuple[int, ...] | None = None

    def __repr__(self) -> str:
        return f"SecretFile({self._path.name})"

    def load(self) -> T:
        """Return the secret; raises SecretError where the file cannot be used now."""
        try:
            return self._load()
        except OSError as error:
            raise SecretError(f"cannot be read ({type(error).__name__}): check path and rights") from None
        except UnicodeDecodeError:
            raise SecretError("is not text") from None
        except ValueError as error:
            raise SecretError(str(error)) from None

    def newest(self) -> T:
        """Return the secret, the one before where the newest cannot be used.

        A secret that somebody is just replacing must not keep a credential from being refused.
        """
        try:
            return self.load()
        except SecretError as error:
            if self._value is None:
                raise
            if self._bad != self._seen:
                self._bad = self._seen
                log.error(  # noqa: TRY400 - the text says it all
                    "a replaced secret cannot be used; the one before stays in use",
                    file=self._path.name,
                    reason=str(error),
                )
            return self._value

    def _load(self) -> T:
        handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            about = os.fstat(file.fileno())
            seen = about.st_ino, about.st_mtime_ns, about.st_size, about.st_mode
            if self._value is not None and seen == self._seen:
                return self._value
            if stat.S_IMODE(about.st_mode) & _OTHERS:
                raise ValueError("others may read or change it: chmod 600")
            text = file.read(_MOST_BYTES).decode()
        value = self._parse(text)
        self._seen, self._value = seen, value
        return value


def one_line(text: str) -> str:
    """Return the one secret of a file, such as a token; raises ValueError where there is none."""
    secret = text.strip()
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ValueError("must hold one secret: a line of printable characters without spaces")
    return secret
