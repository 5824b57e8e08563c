"""One enforcer takes over from another that dies in the middle of a response.

Nothing is decided twice, nobody is forgotten, and what is told late never undoes what was told since.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from monitor.stream.steps import VARIABLE
from tests.integration.conftest import SOURCE_PARTITIONS
from tests.integration.stack import Process, Stack, wait_for
from tests.integration.test_loop import LIMIT, event
from tests.response.stage import webhook
from tests.rig.broker import create_topic

if TYPE_CHECKING:
    from collections.abc import Iterator

WHO = ("partner-1", "partner-2", "partner-3")
#: What docs/response.md says for a gateway whose `timeout` is 10 s.
BOUND_SECONDS = 14.0
#: Within which a group of two gives a partition to one of them, on a machine that does other things beside;
#: the next scheduled look at a gateway would be minutes away.
REBALANCE_SECONDS = 30.0


class Gateway:
    """A receiver of webhooks that keeps what it was told, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        #: The calls to come that are on their way until `arrive` is set, and how many of them are.
        self._to_delay = 0
        self.delayed = 0
        self.arrive = threading.Event()
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                gateway.take(self.headers["webhook-id"], body["data"])
                self.send_response(204)
                with suppress(OSError):  # nobody waits for the answer to what was delayed
                    self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - so named there
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def delays(self, calls: int) -> None:
        """Let the next calls be on their way until `arrive` is set."""
        self._to_delay = calls

    def take(self, message: str, data: dict[str, Any]) -> None:
        """Do what a call says, whatever its version, once it arrives."""
        if self.delayed < self._to_delay:
            self.delayed += 1
            self.arrive.wait()
        self.calls.append((message, data))

    def is_active(self, who: str) -> bool:
        """Whether a credential is let in again: by the call that came last."""
        told = self.of(who)
        return bool(told) and told[-1]["status"] == "active"

    def reinstated(self, who: str) -> int:
        """How often it was told to let a credential in again."""
        return sum(data["status"] == "active" for data in self.of(who))

    def of(self, who: str) -> list[dict[str, Any]]:
        """Return what it was told of a credential."""
        return [data for _, data in self.calls if data["id"] == who]

    def close(self) -> None:
        self.arrive.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """Return a gateway that accepts everything."""
    made = Gateway()
    yield made
    made.close()


def installed(folder: Path, kafka: str, prefix: str, gateway: Gateway, timeout: str = "10s") -> Stack:
    """Return an installation whose suspensions end after a few seconds."""
    create_topic(kafka, f"{prefix}gate", SOURCE_PARTITIONS)
    rules = folder / "rules.yml"
    text = Path(__file__).with_name("rules.yml").read_text(encoding="utf-8")
    rules.write_text(text.replace("  ttl: 24h\n", ""), encoding="utf-8")
    stack = Stack(
        folder,
        broker="cluster",
        bootstrap=kafka,
        prefix=prefix,
        rules={"paths": [str(rules)]},
        response={
            "mode": "enforce",
            "default_ttl": "8s",
            "adapters": [webhook(folder, gateway.url, timeout=timeout)],
        },
    )
    assert stack.run("init", "--from", "earliest").returncode == 0
    return stack


def check_once(stack: Stack, gateway: Gateway) -> None:
    """Nothing was decided twice, nobody was forgotten, and each version has one id."""
    for kind in ("requested", "expired"):
        assert sorted(entry["id"] for entry in stack.decisions(kind)) == sorted(WHO), f"{kind} once"
    for who in WHO:
        versions = [data["version"] for data in gateway.of(who)]
        assert versions == sorted(versions), "what is told late undoes nothing"
        assert gateway.of(who)[-1]["status"] == "active"
        assert len(versions) <= len([e for e in stack.decisions("attempted") if e["id"] == who])
        record = stack.credential(f"gate/{who}")
        assert record is not None
        assert (record["state"], record["version"]) == ("expired", 2)
    by_id = {message: (data["id"], data["version"]) for message, data in gateway.calls}
    assert len(by_id) == 2 * len(WHO), "one id for each version, however often it is told"


@pytest.mark.kafka
@pytest.mark.parametrize(
    "step", ["enforce.in-transaction:3", "enforce.status-queued:1", "enforce.after-call:2"]
)
def test_the_next_enforcer_goes_on_where_the_last_one_stopped(  # noqa: PLR0917 - what it needs
    step: str,
    tmp_path: Path,
    kafka: str,
    prefix: str,
    gateway: Gateway,
    monkeypatch: pytest.MonkeyPatch,
):
    stack = installed(tmp_path, kafka, prefix, gateway)
    try:
        first, second = attacked(stack, monkeypatch, f"{step}:KILL")
        # Suspended, and let in again when the time is over: all by whoever is the enforcer by then.
        wait_for(lambda: all(gateway.of(who) and gateway.of(who)[-1]["version"] == 2 for who in WHO), second)
        assert first.process.wait(timeout=60) == -signal.SIGKILL
        assert second.terminate() == 0
        check_once(stack, gateway)
    finally:
        stack.close()


@pytest.mark.kafka
@pytest.mark.parametrize("timeout", ["1s", "10s"])
def test_an_enforcer_that_wakes_up_after_it_was_replaced(  # noqa: PLR0917 - what it needs
    timeout: str,
    tmp_path: Path,
    kafka: str,
    prefix: str,
    gateway: Gateway,
    monkeypatch: pytest.MonkeyPatch,
):
    """Two of its calls were on their way to the socket, the third was about to go there.

    With 1 s their time is over: it calls nobody. With 10 s it is not: they arrive late, and undo nothing.
    """
    stack = installed(tmp_path, kafka, prefix, gateway, timeout)
    try:
        first, second = attacked(stack, monkeypatch, "enforce.before-call:3:STOP")
        wait_for(lambda: all(gateway.is_active(who) for who in WHO), second)
        assert stands_still(first)
        told = len(gateway.calls)
        first.process.send_signal(signal.SIGCONT)
        # It is fenced, gives up what it held, and joins its group again behind the one that took over.
        wait_for(lambda: "the role is back" in first.said, first)
        if timeout == "1s":
            assert all(data["version"] == 2 for _, data in gateway.calls[told:]), "only the second speaks"
        began = time.monotonic()
        wait_for(lambda: all(gateway.reinstated(who) > 1 and gateway.is_active(who) for who in WHO), second)
        assert time.monotonic() - began < most_seconds(first, second)
        assert second.terminate() == 0
        for kind in ("requested", "expired"):
            assert sorted(entry["id"] for entry in stack.decisions(kind)) == sorted(WHO)
    finally:
        stack.close()


@pytest.mark.kafka
def test_a_call_that_arrives_after_its_enforcer_was_replaced_does_not_have_the_last_word(
    tmp_path: Path, kafka: str, prefix: str, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    """Three calls are in the network when their enforcer stops; they come in after the reinstatement."""
    stack = installed(tmp_path, kafka, prefix, gateway)
    try:
        gateway.delays(len(WHO))
        first, second = attacked(stack, monkeypatch, "enforce.before-call:4:STOP")
        wait_for(lambda: gateway.delayed == len(WHO), first)
        stack.ship(event("partner-4", patient) for patient in range(LIMIT))
        wait_for(lambda: stands_still(first), second)
        wait_for(lambda: all(gateway.is_active(who) for who in WHO), second)
        gateway.arrive.set()
        wait_for(lambda: not any(gateway.is_active(who) for who in WHO), second)
        first.process.send_signal(signal.SIGCONT)
        # It took over before it reinstated, so all of the bound is ahead at the most.
        began = time.monotonic()
        wait_for(lambda: all(gateway.is_active(who) for who in WHO), second)
        assert time.monotonic() - began < most_seconds(first, second)
        assert second.terminate() == 0
    finally:
        stack.close()


def attacked(stack: Stack, monkeypatch: pytest.MonkeyPatch, fault: str) -> tuple[Process, Process]:
    """Start an enforcer with a fault armed, then a whole worker, then the attacks; return both."""
    monkeypatch.setenv(VARIABLE, fault)
    first = stack.spawn("worker", "--roles", "enforce")
    monkeypatch.delenv(VARIABLE)
    first.wait_ready()
    second = stack.worker()
    stack.ship(event(who, patient) for patient in range(LIMIT) for who in WHO)
    return first, second


def most_seconds(first: Process, second: Process) -> float:
    """Return how long after the first enforcer went on a gateway may have a wrong state.

    The group may give the partition to whoever came back: a takeover more, and the bound begins anew.
    """
    takeovers = f"{first.said}{second.said}".count("enforcer active")
    return BOUND_SECONDS * max(1, takeovers - 2) + REBALANCE_SECONDS


def stands_still(worker: Process) -> bool:
    """Return whether a process was stopped by a signal."""
    said = Path("/proc", str(worker.process.pid), "stat").read_text(encoding="ascii")
    return said.rsplit(")", 1)[1].split()[0] == "T"
