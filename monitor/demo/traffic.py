"""Who asks the API through the gateway: integrations that do their work, and one that does not."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import aiohttp
import orjson

from monitor.demo.gateway import KEY_HEADER

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Sequence

#: What a gateway answers to a credential that it does not let through.
REFUSALS: Final = frozenset({401, 403, 429})
_OK: Final = 200
#: No answer: the connection failed, or the gateway took too long.
NO_ANSWER: Final = 0
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
_IN_FLIGHT: Final = 64
#: How many appointments an integration looks at, again and again: the day's list of its practices.
_DAY_LIST: Final = 24
_PAUSE_SECONDS: Final = 1.2


@dataclass(frozen=True, slots=True)
class Answer:
    """One request and what came of it; times in epoch ms, `status` 0 for no answer."""

    sent_ms: float
    answered_ms: float
    status: int
    object: int | None = None
    patient: str | None = None


@dataclass(slots=True)
class Tally:
    """What one credential did so far, in the order of the answers."""

    client: str
    answers: list[Answer] = field(default_factory=list)
    patients: set[str] = field(default_factory=set)
    objects: set[int] = field(default_factory=set)
    refused: int = 0
    failed: int = 0

    def __repr__(self) -> str:
        return f"Tally({self.client}, {len(self.answers)} answers)"

    def add(self, answer: Answer) -> None:
        """Count an answer."""
        self.answers.append(answer)
        if answer.status in REFUSALS:
            self.refused += 1
        elif answer.status != _OK:
            self.failed += 1
        if answer.patient is not None:
            self.patients.add(answer.patient)
        if answer.object is not None:
            self.objects.add(answer.object)


class Client:
    """One credential's way through the gateway."""

    def __init__(self, session: aiohttp.ClientSession, gateway: str, key: str, tally: Tally) -> None:
        self._session = session
        self._gateway = gateway
        self._headers = {KEY_HEADER: key}
        self.tally = tally
        #: Requests under way, whose answers are not in the tally yet.
        self.in_flight = 0

    def __repr__(self) -> str:
        return f"Client({self.tally.client})"

    async def read(self, appointment: int) -> Answer:
        """Read one appointment."""
        sent_ms = time.time() * 1000
        status, body = await self._get(f"/appointments/{appointment}")
        answered_ms = time.time() * 1000
        if status == _OK:
            answer = Answer(sent_ms, answered_ms, status, appointment, orjson.loads(body)["patient"]["id"])
        else:
            answer = Answer(sent_ms, answered_ms, status)
        self.tally.add(answer)
        return answer

    async def list_of(self, practice: str) -> list[int]:
        """Return the ids of a practice's calendar; empty where the gateway refused."""
        sent_ms = time.time() * 1000
        status, body = await self._get(f"/practices/{practice}/appointments")
        self.tally.add(Answer(sent_ms, time.time() * 1000, status))
        return [entry["id"] for entry in orjson.loads(body)] if status == _OK else []

    async def _get(self, path: str) -> tuple[int, bytes]:
        self.in_flight += 1
        try:
            async with self._session.get(
                self._gateway + path, headers=self._headers, timeout=_TIMEOUT
            ) as response:
                return response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError):
            return NO_ANSWER, b""
        finally:
            self.in_flight -= 1


def new_session() -> aiohttp.ClientSession:
    """Return a session for all clients; the caller closes it."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


async def work_normally(
    client: Client, practices: Sequence[str], rng: random.Random, open_hours: asyncio.Event
) -> None:
    """Look at the day's appointments of one's own practices, again and again, until cancelled.

    About a request a second, of a bounded set of patients: far below any limit, for hours. No
    request is begun while `open_hours` is not set.
    """
    await asyncio.sleep(rng.random() * _PAUSE_SECONDS)
    while True:
        lists = []
        for practice in practices:
            await open_hours.wait()
            lists.append(await client.list_of(practice))
        share = _DAY_LIST // len(practices)
        today = [appointment for listed in lists for appointment in listed[:share]]
        rng.shuffle(today)
        for appointment in today:
            await open_hours.wait()
            await client.read(appointment)
            await asyncio.sleep(rng.uniform(0.5, 1.5) * _PAUSE_SECONDS)
        await asyncio.sleep(_PAUSE_SECONDS)


async def enumerate_appointments(
    client: Client, ids: Iterable[int], rate: float, on_answer: Callable[[Answer], None] = lambda _: None
) -> None:
    """Read one appointment after the other, `rate` a second, until one is refused or all are read.

    It does not wait for an answer before the next request, as an attacker would not. Returns when
    all answers are in.
    """
    stop = asyncio.Event()
    slots = asyncio.Semaphore(_IN_FLIGHT)
    began = time.monotonic()

    async def read(appointment: int) -> None:
        try:
            answer = await client.read(appointment)
            on_answer(answer)
            if answer.status in REFUSALS:
                stop.set()
        finally:
            slots.release()

    async with asyncio.TaskGroup() as group:
        for index, appointment in enumerate(ids):
            pause = began + index / rate - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
            await slots.acquire()
            if stop.is_set():
                slots.release()
                break
            group.create_task(read(appointment))


async def try_again(client: Client, ids: Iterable[int], pause_seconds: float) -> list[Answer]:
    """Read some more, one at a time; return the answers."""
    answers = []
    for appointment in ids:
        answers.append(await client.read(appointment))
        await asyncio.sleep(pause_seconds)
    return answers
