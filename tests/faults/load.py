"""Traffic of a run: normal credentials, attackers that stop at nothing, and what a log holds beside them."""

from __future__ import annotations

import json
import random
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import Producer

if TYPE_CHECKING:
    from collections.abc import Callable

NORMAL: Final = 30
ATTACKERS: Final = 8
_TICK_SECONDS: Final = 0.02
#: The share of events that are answers to a search, and how many patients each holds.
_SEARCHES: Final = 0.004
_FOUND: Final = 250
#: So many records of 900 kB in a run: the embedded broker drops the oldest of a partition past 5 MB.
_MOST_HUGE: Final = 3
#: What is sent now and then that is no event, or is one of a strange kind.
POISON: Final = ("broken", "null", "huge", "future", "wrong", "unknown", "forged")


class Load:
    """Sends `rate` events a second for `seconds`, over all partitions of a topic.

    What counts is what the topic holds at the end, not what was tried. `poison` and `late` are the shares
    of records that are no events, and of those that come up to a minute and a half late. Attackers come round to
    the same patients after `patients` of them. `refused` says whether a credential is refused at present, as a
    gateway would know.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        *,
        partitions: int,
        rate: float,
        seconds: float,
        seed: str,
        refused: Callable[[str], bool],
        poison: float = 0.01,
        late: float = 0.03,
        patients: int = 1_000_000,
    ) -> None:
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "linger.ms": 5, "enable.idempotence": True, "log_level": 0}
        )
        self._topic, self._partitions = topic, partitions
        self._rate, self._seconds = rate, seconds
        self._random = random.Random(seed)
        self._refused = refused
        self._poison, self._late, self._patients = poison, late, patients
        self._steps = [0] * ATTACKERS
        self._huge = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._stop = threading.Event()
        self.sent = 0

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()
        self._thread.join()

    @property
    def over(self) -> bool:
        """Whether everything is sent."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        began = time.monotonic()
        while not self._stop.is_set():
            passed = time.monotonic() - began
            while self.sent < min(passed, self._seconds) * self._rate:
                value = self._record()
                partition = self._random.randrange(self._partitions)
                try:
                    self._producer.produce(self._topic, value, partition=partition)
                except BufferError:
                    self._producer.poll(_TICK_SECONDS)
                    continue
                self.sent += 1
            self._producer.poll(0)
            if passed >= self._seconds:
                break
            time.sleep(_TICK_SECONDS)
        self._producer.flush(60)

    def _record(self) -> bytes | None:
        draw = self._random
        if draw.random() < self._poison:
            return self._strange(draw.choice(POISON))
        return json.dumps(self._event()).encode()

    def _event(self) -> dict[str, Any]:
        draw = self._random
        if draw.random() < _SEARCHES:
            return self._search()
        if draw.random() < 0.5:
            number = draw.randrange(ATTACKERS)
            # Each at a pace of its own, so that limits are passed all through the run.
            principal = f"attacker-{number}"
            if draw.random() < (number + 1) / ATTACKERS:
                self._steps[number] += 1
            patient = self._steps[number] % self._patients
        else:
            principal, patient = f"partner-{draw.randrange(NORMAL)}", draw.randrange(15)
        # Some requests pass while the gateway learns of it.
        refused = self._refused(principal) and draw.random() < 0.8
        age_ms = draw.randrange(90_000) if draw.random() < self._late else draw.randrange(200)
        return {
            "time": int(time.time() * 1000) - age_ms,
            "principal": principal,
            "authenticated": True,
            "status": 403 if refused else draw.choice((200, 200, 200, 200, 404)),
            "method": "GET",
            "route": "/appointments/{id}",
            "object": f"appointment-{patient}",
            "patient": f"patient-{patient}",
            "tenant": f"practice-{patient % 7}",
            "records": draw.choice((1, 1, 1, 25)),
        }

    def _search(self) -> dict[str, Any]:
        """Return the answer to a search: one offset of very many rows, and a state of several pages."""
        found = self._random.sample(range(8_000), _FOUND)
        return {
            "time": int(time.time() * 1000),
            "principal": "search",
            "authenticated": True,
            "status": 200,
            "route": "/patients",
            "patients": [
                {"patient": f"found-{number}", "tenant": f"practice-{number % 7}"} for number in found
            ],
            "records": _FOUND,
        }

    def _strange(self, kind: str) -> bytes | None:
        event = self._event()
        event.pop("patients", None)
        if kind == "null":
            return None
        if kind == "broken":
            return b'{"time": 1, '
        if kind == "huge" and self._huge < _MOST_HUGE:
            self._huge += 1
            event["path"] = "x" * 900_000
        elif kind == "future":
            event["time"] += 3_600_000
        elif kind == "wrong":
            event["status"] = "200"
        elif kind == "unknown":
            event["surprise"] = 1
        else:
            event["authenticated"] = False
        return json.dumps(event).encode()
