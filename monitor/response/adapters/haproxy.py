"""HAProxy: a map of refused credentials, in memory (runtime API) and in the file that it starts from.

The runtime API alone would be forgotten at the next reload, the file alone takes effect only then. The file
is written first: a reload between the two loses nothing.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from monitor.response.adapters.protocol import Accepted, DesiredState, Outcome, Refused, Retry, Seen, Traits
from monitor.response.in_time import check_in_time

if TYPE_CHECKING:
    from monitor.settings.adapters import HaproxySettings

_MAP: Final = re.compile(r"^(\d+) \((.*?)\) ")
#: HAProxy allows ten at a time unless `stats maxconn` says more; people want some of them.
_CONNECTIONS: Final = 4
_MOST_BYTES: Final = 1 << 20
#: A word of the file, and of a command: no spaces, no comment, nothing that HAProxy would take for more.
_WORD: Final = re.compile(r"[!-~]+")
_ESCAPED: Final = re.compile(r"([\\;\"'<#])")


class _RuntimeError(Exception):
    """HAProxy did not do it; the text says why, for a person."""


class HaproxyAdapter:
    """Keeps one map of one HAProxy: credential id → ``suspended:INC-0142``."""

    traits = Traits(
        kinds=frozenset({"api_key", "oauth_client", "session", "account"}),
        time_to_effect_seconds=0.1,
        scope="the credential",
    )

    def __init__(self, settings: HaproxySettings) -> None:
        self.name = settings.name
        self._socket = settings.socket
        self._path = settings.map_file
        self._timeout = settings.timeout.total_seconds()
        #: Changes that wait to be written: key → value, None to take it out.
        self._waiting: dict[str, str | None] = {}
        self._writing = asyncio.Lock()
        self._places = asyncio.Semaphore(_CONNECTIONS)

    def __repr__(self) -> str:
        return f"HaproxyAdapter({self.name})"

    async def tell(self, wanted: DesiredState) -> Outcome:
        """Change the file, then the map in memory."""
        key = wanted.id
        if not _WORD.fullmatch(key) or key.startswith("#"):
            return Refused("the credential's id is no word that a map of HAProxy can hold")
        value = f"{wanted.status.value}:{wanted.incident or '-'}" if wanted.refused else None
        try:
            await self._write(key, value)
            number = await self._map()
            known = await self._get(number, key)
            if value is not None:
                await self._change(f"{'set' if known else 'add'} map #{number} {_escaped(key)} {value}")
            elif known:
                await self._change(f"del map #{number} {_escaped(key)}")
        except _RuntimeError as error:
            return Retry(str(error))
        except (OSError, TimeoutError) as error:
            return Retry(f"the map was not changed ({type(error).__name__})")
        return Accepted()

    async def read_back(self, wanted: DesiredState) -> Seen | None:
        """Return what both the memory and the file say; where they differ, what is not wanted."""
        try:
            said = {
                await self._get(await self._map(), wanted.id),
                wanted.id in await asyncio.to_thread(_keys, self._path),
            }
        except (_RuntimeError, OSError, TimeoutError):
            return None
        refused = said == {True} if wanted.refused else True in said
        return Seen.REFUSED if refused else Seen.ACTIVE

    async def probe(self) -> list[str]:
        """Return what is missing: the socket, the map in HAProxy, the level admin, the right to write."""
        problems = []
        try:
            number = await self._map()
            # Deleting what is not there changes nothing, and needs the same level as all changes.
            await self._change(f"del map #{number} access-monitor-probe")
        except _RuntimeError as error:
            problems.append(str(error))
        except (OSError, TimeoutError) as error:
            problems.append(
                f"the runtime API does not answer ({type(error).__name__}): is `stats socket` set?"
            )
        folder = self._path.parent
        if not os.access(folder, os.W_OK) or not os.access(self._path, os.R_OK):
            problems.append("the map file cannot be replaced: we need to write to its folder")
        return problems

    async def close(self) -> None:
        """Nothing is kept open: HAProxy ends each connection."""

    async def _map(self) -> int:
        """Return the number by which HAProxy knows the map of our file."""
        for line in (await self._ask("show map")).splitlines():
            found = _MAP.match(line)
            if found and _same(Path(found[2]), self._path):
                return int(found[1])
        raise _RuntimeError("HAProxy has no map of that file: its configuration must name the same path")

    async def _get(self, number: int, key: str) -> bool:
        said = await self._ask(f"get map #{number} {_escaped(key)}")
        if "found=" not in said:
            raise _RuntimeError(_reason(said))
        return "found=yes" in said

    async def _change(self, command: str) -> None:
        said = (await self._ask(command)).strip()
        if said and "not found" not in said:
            raise _RuntimeError(_reason(said))

    async def _ask(self, command: str) -> str:
        async with self._places, asyncio.timeout(self._timeout):
            if self._socket.startswith("/"):
                reader, writer = await asyncio.open_unix_connection(self._socket)
            else:
                host, _, port = self._socket.rpartition(":")
                reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            try:
                check_in_time()
                writer.write(f"{command}\n".encode())
                await writer.drain()
                said = bytearray()
                while chunk := await reader.read(65536):
                    said += chunk
                    if len(said) > _MOST_BYTES:
                        raise _RuntimeError("HAProxy's answer is too long")
                return said.decode(errors="replace")
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()

    async def _write(self, key: str, value: str | None) -> None:
        """Return once the file says it; several calls at a time share one write."""
        self._waiting[key] = value
        async with self._writing:
            changes, self._waiting = self._waiting, {}
            if changes:
                try:
                    await asyncio.to_thread(_rewrite, self._path, changes)
                except BaseException:
                    self._waiting = {**changes, **self._waiting}
                    raise


def _rewrite(path: Path, changes: dict[str, str | None]) -> None:
    """Replace the file with one that has the changes; lines that are not ours stay as they are."""
    with path.with_name(f".{path.name}.lock").open("a") as lock:
        # `monitor drill` may change the same file.
        fcntl.flock(lock, fcntl.LOCK_EX)
        about = path.stat()
        before = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in before if (line.split(maxsplit=1) or [""])[0] not in changes]
        lines = kept + [f"{key} {value}" for key, value in changes.items() if value is not None]
        if lines == before:
            return
        made = path.with_name(f".{path.name}.new")
        with made.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        made.chmod(about.st_mode & 0o7777)
        with suppress(PermissionError):
            os.chown(made, about.st_uid, about.st_gid)
        check_in_time()
        made.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _keys(path: Path) -> set[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return {words[0] for line in lines if (words := line.split(maxsplit=1)) and not line.startswith("#")}


def _same(one: Path, other: Path) -> bool:
    return one == other or (one.is_absolute() and one.exists() and one.samefile(other))


def _escaped(word: str) -> str:
    return _ESCAPED.sub(r"\\\1", word)


def _reason(said: str) -> str:
    """Return what HAProxy said, where it is a sentence of its own and not of our data."""
    if "ermission" in said:
        return "HAProxy does not permit it: `stats socket … level admin` does"
    if "Unknown map" in said:
        return "HAProxy does not know the map"
    return "HAProxy did not take the command"
