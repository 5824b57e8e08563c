"""A gateway's webhook receiver that can be down, slow, failing, or gone once it has done what it was told."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

if TYPE_CHECKING:
    from typing import Self

SECRET: Final = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes, no!").decode()
#: Longer than the worker waits for an answer.
SLOW_SECONDS: Final = 1.5


@dataclass(frozen=True, slots=True)
class Call:
    """One call that arrived whole; `done` says whether the receiver acted on it."""

    at: float
    webhook_id: str
    body: bytes
    mode: str
    done: bool

    @property
    def data(self) -> dict[str, Any]:
        """What the call says of its credential."""
        found: dict[str, Any] = json.loads(self.body)["data"]
        return found


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    receiver: Receiver

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that is killed in mid-call is what the suite is about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        answer = self.server.receiver.take(dict(self.headers.items()), body)
        if answer is None:
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(answer)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Say nothing."""


class Receiver:
    """Listens on one port while its context is entered; `mode` says how it behaves.

    ``ok`` | ``failing`` (500, does nothing) | ``slow`` (acts, answers too late) | ``dropping`` (acts, then
    drops the connection) | ``down`` (refuses connections).
    """

    def __init__(self) -> None:
        self._webhook = Webhook(SECRET)
        self._server: _Server | None = None
        self._port = 0
        self._lock = threading.Lock()
        self.mode = "ok"
        self.calls: list[Call] = []
        self.forged = 0
        #: What holds per credential: the newest version that it was told, and its status.
        self.holds: dict[str, tuple[int, str]] = {}
        #: When a suspension ends by itself, by credential.
        self.until: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def url(self) -> str:
        """Where it wants to be called."""
        return f"http://127.0.0.1:{self._port}/hook"

    def behave(self, mode: str) -> None:
        """Change how it behaves."""
        self.mode = mode
        if mode == "down":
            self._close()
        elif self._server is None:
            self._listen()

    def refuses(self, principal: str) -> bool:
        """Return whether a credential may not be used at present."""
        return self.holds.get(principal, (0, "active"))[1] != "active"

    def take(self, headers: dict[str, str], body: bytes) -> int | None:
        """Act on a call; return the status to answer, or None to answer nothing."""
        mode = self.mode
        try:
            self._webhook.verify(body, {name.lower(): value for name, value in headers.items()})
        except WebhookVerificationError:
            self.forged += 1
            return 401
        call = Call(time.time(), headers["webhook-id"], body, mode, mode not in {"failing", "down"})
        with self._lock:
            self.calls.append(call)
            if call.done:
                data = call.data
                if data["version"] > self.holds.get(data["id"], (0, ""))[0]:
                    self.holds[data["id"]] = data["version"], data["status"]
                    self.until[data["id"]] = data["until"] or ""
        if mode == "failing":
            return 500
        if mode == "slow":
            time.sleep(SLOW_SECONDS)
        return None if mode in {"dropping", "down"} else 204

    def _listen(self) -> None:
        server = self._server = _Server(("127.0.0.1", self._port), _Handler)
        server.receiver = self
        self._port = server.server_port
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def _close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
