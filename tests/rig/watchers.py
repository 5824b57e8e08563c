"""The programs that on-call relies on, run for a test: Prometheus, Alertmanager and who receives its calls."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import pytest
import yaml
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

ROOT: Final = Path(__file__).parents[2]
DEADLINE_SECONDS: Final = 60.0


def program(*names: str) -> str:
    """Return the path of a program; without it the test is skipped, in CI it fails."""
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    message = f"{names[0]} is not here: run `make debian`"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program while the context is entered."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Receiver:
    """Takes what Alertmanager's receivers are sent, by path."""

    def __init__(self) -> None:
        #: (receiver, when it came, the alert, the group key), one for each alert of each notification.
        self.alerts: list[tuple[str, float, dict[str, Any], str]] = []
        #: (receiver, how many alerts) of each notification.
        self.notifications: list[tuple[str, int]] = []
        self.port = 0

    def of(self, receiver: str, **labels: str) -> list[dict[str, Any]]:
        """Return the alerts that a receiver was sent, those with these labels."""
        return [
            alert
            for name, _, alert, _ in self.alerts
            if name == receiver and labels.items() <= alert["labels"].items()
        ]

    async def take(self, request: web.Request) -> web.Response:
        """Take one notification."""
        body, name = await request.json(), request.path.strip("/")
        self.notifications.append((name, len(body["alerts"])))
        self.alerts += [(name, time.time(), alert, body["groupKey"]) for alert in body["alerts"]]
        return web.Response()


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    """Run a receiver."""
    receiving = Receiver()
    app = web.Application()
    app.router.add_post("/{name}", receiving.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiving.port = runner.addresses[0][1]
    try:
        yield receiving
    finally:
        await runner.cleanup()


def alertmanager_config(port: int, **changes: Any) -> str:
    """Return the configuration that we ship, with its receivers here; `changes` replace global values."""
    text = (ROOT / "deploy" / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8")
    plain = yaml.safe_load(text.replace("127.0.0.1:9099", f"127.0.0.1:{port}"))
    plain["global"] |= changes
    return yaml.safe_dump(plain, sort_keys=False)


@contextmanager
def alertmanager(folder: Path, config: str, port: int) -> Iterator[str]:
    """Run an Alertmanager; yield its address."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "alertmanager.yml").write_text(config, encoding="utf-8")
    command = [
        program("prometheus-alertmanager", "alertmanager"),
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with running(command, folder / "alertmanager.log"):
        yield f"http://127.0.0.1:{port}"


def prometheus_config(
    targets: Mapping[str, Sequence[str]], rules: Sequence[Path], alertmanager_port: int
) -> str:
    """Return a configuration as the one that we ship, for these targets and once a second."""
    plain = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    plain["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    plain["rule_files"] = [str(rule) for rule in rules]
    plain["alerting"]["alertmanagers"] = [
        {"static_configs": [{"targets": [f"127.0.0.1:{alertmanager_port}"]}]}
    ]
    for job in plain["scrape_configs"]:
        job["static_configs"] = [{"targets": list(targets[job["job_name"]])}]
    return yaml.safe_dump(plain, sort_keys=False)


@contextmanager
def prometheus(folder: Path, config: str, port: int) -> Iterator[str]:
    """Run a Prometheus; yield its address."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(config, encoding="utf-8")
    command = [
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with running(command, folder / "prometheus.log"):
        yield f"http://127.0.0.1:{port}"


async def get(url: str, **parameters: str) -> Any:
    """Return the JSON (or text) of an answer, None where there is none."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
            session.get(url, params=parameters) as answer,
        ):
            if not answer.ok:
                return None
            return await answer.json() if "json" in answer.content_type else await answer.text()
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None


async def query(url: str, expression: str, since: float, until_: float) -> list[dict[str, Any]]:
    """Return the series that an expression has between two times, those with a number at least once."""
    found = await get(
        f"{url}/api/v1/query_range",
        query=expression,
        start=f"{since:.3f}",
        end=f"{until_:.3f}",
        step="1",
    )
    if found is None:
        message = f"Prometheus does not take: {expression}"
        raise AssertionError(message)
    return [
        series
        for series in found["data"]["result"]
        if any(value not in {"NaN", "+Inf", "-Inf"} for _, value in series["values"])
    ]


async def until(holds: Callable[[], Any], what: str, seconds: float = DEADLINE_SECONDS) -> Any:
    """Return what `holds` (which may be a coroutine function) returns once that is true."""
    deadline = time.monotonic() + seconds
    while True:
        found = holds()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        if time.monotonic() > deadline:
            message = f"not within {seconds:.0f} s: {what}"
            raise AssertionError(message)
        await asyncio.sleep(0.05)
